"""Glomeruli and vessels, drawn over the tubulointerstitium."""

from __future__ import annotations

import numpy as np

from hdgan.demo.phantom.canvas import Canvas, Cell
from hdgan.demo.phantom.layout import ARTERY, GLOMERULUS, Structure
from hdgan.demo.phantom.shapes import TEXTURE_SIZE, Field, band, soft
from hdgan.demo.phantom.tubules import nearest_two

_OUTLINE_MARGIN = 14.0


def draw_structure(canvas: Canvas, structure: Structure, texture: Field) -> None:
    """Draw one structure where the canvas holds a part of it; `texture` is a periodic noise for its fibres."""
    part = canvas.around(structure.blob, _OUTLINE_MARGIN)
    if part is None:
        return
    depth, theta = structure.blob.depth(part.y, part.x)
    part.claim(depth, structure.label)
    if structure.label == GLOMERULUS:
        _glomerulus(part, structure, depth, _polar(texture, depth, theta, 2))
    else:
        _vessel(part, structure, depth, theta, texture)


def _polar(texture: Field, depth: Field, theta: Field, turns: int, across: float = 5.0) -> Field:
    """Noise stretched along the outline: `turns` periods round it, `across` texture px per um of depth."""
    along = (theta * np.float32(turns * TEXTURE_SIZE / (2 * np.pi))).astype(np.int32) % TEXTURE_SIZE
    noise: Field = texture[(depth * np.float32(across)).astype(np.int32) % TEXTURE_SIZE, along]
    return noise


def _glomerulus(part: Canvas, glomerulus: Structure, depth: Field, noise: Field) -> None:
    inside = soft(depth)
    part.e += 0.015 * inside
    part.p += band(depth, 0.2, 2.6) * (0.55 + 0.05 * noise)
    part.e += band(depth, 0.2, 2.6) * 0.15
    part.seat((depth > 2) & (depth < 5), Cell.SPINDLE, 0.34, depth - 3.4)

    y, x = part.y - np.float32(glomerulus.blob.y), part.x - np.float32(glomerulus.blob.x)
    tuft = np.full(depth.shape, -1e3, np.float32)
    for lobule_y, lobule_x, radius in glomerulus.lobules.astype(np.float32):
        tuft = np.maximum(tuft, radius - np.hypot(y - lobule_y, x - lobule_x))
    tuft = np.minimum(tuft, depth - 4)
    centre = np.array([glomerulus.blob.y, glomerulus.blob.x])
    loops = [loop + centre for loop in glomerulus.loops]
    weights = [1.6 * np.sin(5.1 * index) for index in range(len(loops))]
    first, second, _ = nearest_two(part, loops, weights, 15)
    room: Field = (second - first) * np.float32(0.5)
    if glomerulus.solid:
        _scar(part, np.minimum(tuft + glomerulus.wall, depth - 3), room, noise)
    else:
        _tuft(part, tuft, np.minimum(np.minimum(room, 6.6 - first), tuft - 0.4))


def _scar(part: Canvas, depth: Field, loop: Field, noise: Field) -> None:
    """A sclerosed tuft: solid matrix, in which the membranes of the collapsed loops lie wrinkled."""
    inside = soft(depth)
    part.e += inside * (0.24 + 0.03 * noise)
    part.p += inside * (0.17 + 0.14 * soft(0.9 - loop, 2.5))
    part.seat(inside > 0.9, Cell.TUFT, 0.2, loop)


def _tuft(part: Canvas, tuft: Field, loop: Field) -> None:
    """Capillary loops: pale lumens within magenta membranes, mesangium between them.

    `tuft` and `loop` are the depths below the outlines of the tuft and of the loop a pixel lies in.
    """
    inside = soft(tuft)
    lumen = soft(loop - 1.9, 1.2)
    membrane = band(loop, 0.4, 2.0)
    mesangium = inside * soft(0.4 - loop)
    part.e += inside * (1 - lumen) * 0.2 + inside * lumen * 0.05
    part.p += inside * (0.30 * membrane + 0.16 * mesangium) + 0.14 * band(tuft, -0.3, 1.4)
    part.h += inside * (1 - lumen) * 0.07
    part.seat((tuft > 0.5) & (loop < 2.6), Cell.TUFT, 0.66, loop)
    part.seat((tuft > 3) & (loop > 3.4), Cell.RED, 0.16, loop)


def _vessel(part: Canvas, vessel: Structure, depth: Field, theta: Field, texture: Field) -> None:
    artery = vessel.label == ARTERY
    noise = _polar(texture, depth, theta, 2 if artery else 1, 6 if artery else 8)
    adventitia = 0.2 * vessel.wall if artery else 1.5
    # The elastic lamina of a contracted artery is thrown into folds, and the lumen's outline follows it.
    folds = round(2 * np.pi * (vessel.blob.radius - vessel.wall) / 13)
    amplitude = (1.4 if artery else 0.5) * (1 + 0.6 * np.sin(2 * theta + np.float32(vessel.blob.x)))
    wave = amplitude * np.sin(folds * theta + 2 * np.sin(2 * theta) + np.sin(5 * theta))
    lumen_depth = depth - np.float32(vessel.wall) + wave
    inside, lumen = soft(depth), soft(lumen_depth)
    wall = inside * (1 - lumen)
    media = wall * soft(depth - adventitia, 2)
    outer = wall - media
    part.e += outer * (0.16 + 0.06 * noise) + media * (0.35 + 0.07 * noise) + inside * lumen * 0.012
    part.p += outer * (0.1 + 0.04 * noise) + media * (0.08 - 0.03 * noise)
    part.h += media * 0.045
    part.p += band(depth, 0, 1.2) * 0.1
    in_media = (depth > adventitia + 2) & (lumen_depth < -3)
    part.seat((depth > 0) & (depth <= adventitia + 2), Cell.SPINDLE, 0.12 if artery else 0.3, depth)
    part.seat(in_media, Cell.SPINDLE, 0.36 if artery else 0.6, depth)
    part.seat((lumen_depth > -3) & (lumen_depth < 0.6), Cell.SPINDLE, 0.45, lumen_depth + 0.8)
    if artery:
        part.p += band(lumen_depth, -3.2, -1.6, 0.9) * 0.5
        part.e += band(lumen_depth, -1.6, 0.2) * 0.1
    else:
        part.p += band(lumen_depth, -1, 0.3) * 0.12
    pool = np.sin(theta + np.float32(vessel.blob.angle * 2)) > 0.2
    part.seat((lumen_depth > 3) & pool, Cell.RED, 0.6 if artery else 0.25, lumen_depth)
