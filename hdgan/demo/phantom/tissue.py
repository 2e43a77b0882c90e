"""What of the slide is tissue: cores, detached fragments, tears. All lengths in micrometres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hdgan.demo.phantom.shapes import Blob, Field, Points, Waves


@dataclass(frozen=True)
class Core:
    """A needle core that runs from `left` to `right`; `bend` moves its middle line, `swell` its edges."""

    middle: float
    half_width: float
    left: float
    right: float
    slant: float
    bend: Waves
    swell: Waves

    def depth(self, ys: Points, xs: Points) -> Field:
        """Depth below the core's edge on a grid."""
        middle = self.middle + self.bend.grid(np.zeros(1), xs)
        y = ys.astype(np.float32)[:, None]
        x = xs.astype(np.float32)[None] + np.float32(self.slant) * (y - np.float32(self.middle))
        across = self.half_width + self.swell.grid(np.zeros(1), xs) - np.abs(y - middle)
        along = np.minimum(x - np.float32(self.left), np.float32(self.right) - x)
        turn = np.float32(0.6 * self.half_width)
        corner = turn - np.hypot(np.maximum(turn - across, 0), np.maximum(turn - along, 0))
        depth: Field = np.minimum(across, corner)
        return depth


@dataclass(frozen=True)
class Tissue:
    """Cores and fragments less the tears; `ragged` roughens every edge."""

    cores: tuple[Core, ...]
    fragments: tuple[Blob, ...]
    tears: tuple[Blob, ...]
    ragged: Waves

    def depth(self, ys: Points, xs: Points) -> Field:
        """Depth below the tissue's edge on the grid of rows `ys` and columns `xs`: (h, w), negative on the glass."""
        depth = np.full((len(ys), len(xs)), -1e3, np.float32)
        for core in self.cores:
            depth = np.maximum(depth, core.depth(ys, xs))
        y, x = ys.astype(np.float32)[:, None], xs.astype(np.float32)[None]
        for blob in self.fragments:
            if _near(blob, ys, xs):
                depth = np.maximum(depth, blob.depth(y, x)[0])
        for blob in self.tears:
            if _near(blob, ys, xs):
                depth = np.minimum(depth, -blob.depth(y, x)[0])
        return depth + self.ragged.grid(ys, xs)


def _near(blob: Blob, ys: Points, xs: Points) -> bool:
    margin = blob.reach + 45
    return bool(ys[0] - margin < blob.y < ys[-1] + margin and xs[0] - margin < blob.x < xs[-1] + margin)


def draw_tissue(extent: float, rng: np.random.Generator) -> Tissue:
    """Two cores of 1.25 to 1.4 mm on a slide of 4 mm, more or fewer on others, with fragments and tears."""
    count = max(1, round(extent / 2048))
    pitch = extent / count
    cores = tuple(_core(pitch * (index + 0.5), pitch, extent, rng) for index in range(count))
    fragments, tears = [], []
    for index in range(count + 1):
        for _ in range(int(rng.integers(1, 3))):
            y, x = pitch * (index + rng.uniform(-0.05, 0.05)), rng.uniform(0.05, 0.95) * extent
            radius = rng.uniform(0.012, 0.035) * pitch
            fragments.append(Blob.draw(rng, y, x, radius=radius, half_length=radius * rng.uniform(0, 2), roughness=0.2))
    for core in cores:
        for _ in range(2):
            y, x = core.middle + rng.uniform(-0.25, 0.25) * pitch, rng.uniform(0.08, 0.92) * extent
            width, length = rng.uniform(0.003, 0.009) * pitch, rng.uniform(0.02, 0.07) * pitch
            tears.append(Blob.draw(rng, y, x, radius=width, half_length=length, roughness=0.3))
    ragged = Waves.draw(rng, shortest=30, longest=260, amplitude=5.5, count=64)
    return Tissue(cores, tuple(fragments), tuple(tears), ragged)


def _core(middle: float, pitch: float, extent: float, rng: np.random.Generator) -> Core:
    left, right = rng.uniform(-0.06, 0.05, 2) * extent
    return Core(
        middle=float(middle + pitch * rng.uniform(-0.03, 0.03)),
        half_width=float(pitch * rng.uniform(0.315, 0.345)),
        left=float(left),
        right=float(extent - right),
        slant=float(rng.uniform(-0.3, 0.3)),
        bend=Waves.draw(rng, shortest=extent / 2, longest=2 * extent, amplitude=0.03 * pitch),
        swell=Waves.draw(rng, shortest=extent / 8, longest=extent, amplitude=0.014 * pitch),
    )
