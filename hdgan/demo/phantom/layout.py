"""Where everything of the phantom lies: cores, glomeruli, vessels, tubules. All lengths in micrometres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import Delaunay, cKDTree

from hdgan.demo.phantom.shapes import Blob, Field, Points, Waves
from hdgan.labels import KIDNEY

GLOMERULUS, ARTERIOLE, ARTERY = (KIDNEY.index(name) for name in ("glomerulus", "arteriole", "artery"))
TUBULE_SPACING = 53.0
_COARSE = 8.0
_BLANK_MARGIN = 45.0


@dataclass(frozen=True)
class Tissue:
    """Cores across the slide, detached fragments, and tears; :meth:`depth` tells how deep inside a point lies."""

    middles: tuple[float, ...]
    half_widths: tuple[float, ...]
    ends: tuple[tuple[float, float], ...]
    bends: tuple[Waves, ...]
    swells: tuple[Waves, ...]
    fragments: tuple[Blob, ...]
    tears: tuple[Blob, ...]
    ragged: Waves

    def depth(self, ys: Points, xs: Points) -> Field:
        """Depth below the tissue's edge on a grid: (h, w), negative on the glass."""
        zero = np.zeros(1)
        depth = np.full((len(ys), len(xs)), -1e3, np.float32)
        for middle, half, (left, right), bend, swell in zip(
            self.middles, self.half_widths, self.ends, self.bends, self.swells, strict=True
        ):
            line = middle + bend.grid(zero, xs)
            across = half + swell.grid(zero, xs) - np.abs(ys.astype(np.float32)[:, None] - line)
            along = np.minimum(xs - left, right - xs).astype(np.float32)[None]
            # An end is rounded off: the corner is cut by a circle of half the core's width.
            corner = np.float32(half) - np.hypot(
                np.maximum(np.float32(half) - across, 0), np.maximum(np.float32(half) - along, 0)
            )
            depth = np.maximum(depth, np.minimum(across, corner))
        y, x = (a.astype(np.float32) for a in np.meshgrid(ys, xs, indexing="ij", sparse=True))
        for blob in self.fragments:
            if _near(blob, ys, xs):
                depth = np.maximum(depth, blob.depth(y, x)[0])
        for blob in self.tears:
            if _near(blob, ys, xs):
                depth = np.minimum(depth, -blob.depth(y, x)[0])
        return depth + self.ragged.grid(ys, xs)


def _near(blob: Blob, ys: Points, xs: Points) -> bool:
    margin = blob.reach + _BLANK_MARGIN
    return bool(ys[0] - margin < blob.y < ys[-1] + margin and xs[0] - margin < blob.x < xs[-1] + margin)


@dataclass(frozen=True)
class Structure:
    """A glomerulus or a vessel: its outline, and what is drawn inside.

    `lobules` are (n, 3) rows of y, x, radius; `loops` are capillaries as polylines; `wall` is the vessel's wall or,
    in a glomerulus, the width of the urinary space; `solid` is a sclerosed glomerulus.
    """

    label: int
    blob: Blob
    wall: float
    solid: bool = False
    lobules: Points = field(default_factory=lambda: np.zeros((0, 3)))
    loops: tuple[Points, ...] = ()


@dataclass(frozen=True)
class Tubule:
    """One tubule: the line it follows in the section, its width against its neighbours, its wall and its kind."""

    path: Points
    weight: float
    wall: float
    distal: bool
    tint: float


@dataclass(frozen=True)
class Layout:
    """The whole phantom as a list of objects and smooth fields, from which any region can be drawn alone."""

    extent: float
    tissue: Tissue
    structures: tuple[Structure, ...]
    tubules: tuple[Tubule, ...]
    warp: tuple[Waves, Waves]
    fibrosis: Waves
    inflammation: Waves


def plan(extent: float, seed: int) -> Layout:
    """Lay out a slide of `extent` by `extent` um."""
    rng = np.random.default_rng([seed, 1])
    tissue = _tissue(extent, rng)
    centres = np.arange(_COARSE / 2, extent, _COARSE)
    inside = tissue.depth(centres, centres) > 0
    structures = _structures(inside, rng)
    fibrosis = Waves.draw(rng, shortest=350, longest=1500, amplitude=1)
    tubules = _tubules(inside, structures, fibrosis, rng)
    warp = tuple(Waves.draw(rng, shortest=35, longest=160, amplitude=2.4, count=48) for _ in range(2))
    inflammation = Waves.draw(rng, shortest=180, longest=700, amplitude=1)
    return Layout(extent, tissue, structures, tubules, (warp[0], warp[1]), fibrosis, inflammation)


def _tissue(extent: float, rng: np.random.Generator) -> Tissue:
    """Two cores on a slide of 4 mm, 1.2 to 1.35 mm wide, more or fewer on others."""
    cores = max(1, round(extent / 2048))
    pitch = extent / cores
    half_widths, middles, ends = [], [], []
    for index in range(cores):
        half_widths.append(float(pitch * rng.uniform(0.305, 0.335)))
        middles.append(float(pitch * (index + 0.5 + rng.uniform(-0.03, 0.03))))
        left, right = rng.uniform(-0.1, 0.05, 2) * extent
        ends.append((float(left), float(extent - right)))
    fragments = []
    for index in range(cores + 1):
        for _ in range(int(rng.integers(1, 3))):
            y = pitch * index + rng.uniform(-0.05, 0.05) * pitch
            x = rng.uniform(0.05, 0.95) * extent
            radius = rng.uniform(0.012, 0.035) * pitch
            fragments.append(Blob.draw(rng, y, x, radius=radius, half_length=radius * rng.uniform(0, 2), roughness=0.2))
    tears = []
    for _ in range(2 * cores):
        y = middles[int(rng.integers(cores))] + rng.uniform(-0.25, 0.25) * pitch
        x = rng.uniform(0.08, 0.92) * extent
        width, length = rng.uniform(0.003, 0.009) * pitch, rng.uniform(0.02, 0.07) * pitch
        tears.append(Blob.draw(rng, y, x, radius=width, half_length=length, roughness=0.3))
    return Tissue(
        tuple(middles),
        tuple(half_widths),
        tuple(ends),
        tuple(Waves.draw(rng, shortest=extent / 2, longest=2 * extent, amplitude=0.03 * pitch) for _ in range(cores)),
        tuple(Waves.draw(rng, shortest=extent / 8, longest=extent, amplitude=0.014 * pitch) for _ in range(cores)),
        tuple(fragments),
        tuple(tears),
        Waves.draw(rng, shortest=30, longest=260, amplitude=5.5, count=64),
    )


class _Darts:
    """Throws blobs into the tissue so that none touches another nor the edge."""

    def __init__(self, inside: np.ndarray, rng: np.random.Generator) -> None:
        self.room = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1] * _COARSE
        self.rng = rng
        self.placed: list[Blob] = []

    def place(self, blob: Blob, gap: float) -> Blob | None:
        """Move `blob` to a free place drawn at random; None when there is none left."""
        ys, xs = np.nonzero(self.room > blob.reach + gap)
        for _ in range(40 if len(ys) else 0):
            pick = int(self.rng.integers(len(ys)))
            y, x = ((index[pick] + self.rng.uniform()) * _COARSE for index in (ys, xs))
            if (moved := self.at(blob, y, x, gap)) is not None:
                return moved
        return None

    def at(self, blob: Blob, y: float, x: float, gap: float) -> Blob | None:
        """Place `blob` at (y, x); None when something is in the way."""
        row, column = int(y / _COARSE), int(x / _COARSE)
        rows, columns = self.room.shape
        if not (0 <= row < rows and 0 <= column < columns) or self.room[row, column] <= blob.reach + gap:
            return None
        moved = Blob(y, x, blob.radius, blob.half_length, blob.angle, blob.harmonics)
        if any(np.hypot(y - b.y, x - b.x) < blob.reach + b.reach + gap for b in self.placed):
            return None
        self.placed.append(moved)
        return moved


# Share of the tissue's area that each structure is to take, after Rizvi et al. 2022, in which glomeruli, arterioles
# and arteries are the minority classes beside the tubulointerstitium.
_SHARES = {ARTERY: 0.052, GLOMERULUS: 0.108, ARTERIOLE: 0.027}


def _structures(inside: np.ndarray, rng: np.random.Generator) -> tuple[Structure, ...]:
    darts = _Darts(inside, rng)
    area = float(inside.sum()) * _COARSE**2
    structures: list[Structure] = []
    draw: dict[int, Callable[[np.random.Generator], Structure]] = {
        ARTERY: _artery,
        GLOMERULUS: _glomerulus,
        ARTERIOLE: _arteriole,
    }
    for label, share in _SHARES.items():
        taken, misses = 0.0, 0
        poles = [s.blob for s in structures if s.label == GLOMERULUS] if label == ARTERIOLE else []
        while taken < share * area and misses < 12:
            structure = draw[label](rng)
            blob = structure.blob
            placed = None
            if poles and rng.uniform() < 0.5:
                pole = poles[int(rng.integers(len(poles)))]
                angle, away = rng.uniform(0, 2 * np.pi), pole.reach + blob.reach + 3
                placed = darts.at(blob, pole.y + away * np.sin(angle), pole.x + away * np.cos(angle), 2)
            placed = placed or darts.place(blob, 3 if label == ARTERIOLE else 9)
            if placed is None:
                misses += 1
                continue
            taken += placed.area
            structures.append(
                Structure(label, placed, structure.wall, structure.solid, structure.lobules, structure.loops)
            )
    return tuple(structures)


def _artery(rng: np.random.Generator) -> Structure:
    radius = float(np.clip(rng.lognormal(np.log(82), 0.25), 60, 125))
    blob = Blob.draw(rng, 0, 0, radius=radius, half_length=radius * rng.uniform(0, 0.35), roughness=0.07)
    return Structure(ARTERY, blob, wall=radius * float(rng.uniform(0.46, 0.6)))


def _arteriole(rng: np.random.Generator) -> Structure:
    radius = float(rng.uniform(13, 24))
    lengthwise = rng.uniform() < 0.35
    half_length = radius * rng.uniform(0.5, 1.6) if lengthwise else radius * rng.uniform(0, 0.3)
    blob = Blob.draw(rng, 0, 0, radius=radius, half_length=half_length, roughness=0.07)
    return Structure(ARTERIOLE, blob, wall=radius * float(rng.uniform(0.58, 0.76)))


def _glomerulus(rng: np.random.Generator) -> Structure:
    solid = bool(rng.uniform() < 0.1)
    radius = float(rng.uniform(62, 80) if solid else rng.uniform(78, 108))
    blob = Blob.draw(rng, 0, 0, radius=radius, half_length=radius * rng.uniform(0, 0.12), roughness=0.05)
    space = float(rng.uniform(5, 12))
    # The tuft hangs from the vascular pole, so the urinary space is a crescent on the other side.
    pole, tuft = rng.uniform(0, 2 * np.pi), radius - space
    shift = np.array([np.sin(pole), np.cos(pole)]) * space * 0.75
    count = int(rng.integers(7, 10))
    angles = np.arange(count) * 2 * np.pi / count + rng.normal(0, 0.12, count) + pole
    lobe = tuft * rng.uniform(0.3, 0.38, count)
    ring = (tuft - lobe)[:, None] * np.stack([np.sin(angles), np.cos(angles)], 1) * rng.uniform(0.93, 1.03, (count, 1))
    lobules = np.concatenate([[[0, 0, tuft * 0.6]], np.concatenate([ring, lobe[:, None]], 1)])
    lobules[:, :2] += shift
    seeds = _lattice(tuft + 12, 11.5, 0.36, rng) + shift
    return Structure(GLOMERULUS, blob, space, solid, lobules, tuple(_chains(seeds, 20, (0.35, 0.3, 0.2, 0.15), rng)))


def _lattice(radius: float, spacing: float, jitter: float, rng: np.random.Generator) -> Points:
    """A jittered hexagonal lattice in a disc: (n, 2)."""
    count = int(radius / spacing) + 2
    rows, columns = np.mgrid[-count : count + 1, -count : count + 1]
    points = np.stack([rows * 0.866, columns + 0.5 * (rows % 2)], -1).reshape(-1, 2) * spacing
    points += rng.uniform(-jitter, jitter, points.shape) * spacing
    return points[np.hypot(*points.T) < radius]


def _chains(seeds: Points, longest_step: float, lengths: tuple[float, ...], rng: np.random.Generator) -> list[Points]:
    """Join neighbouring seeds into polylines; `lengths` are the shares of chains of 1, 2, 3 ... seeds."""
    if len(seeds) < 4:
        return [seed[None] for seed in seeds]
    start, neighbours = Delaunay(seeds).vertex_neighbor_vertices
    free = np.ones(len(seeds), bool)
    chains = []
    for first in rng.permutation(len(seeds)):
        if not free[first]:
            continue
        chain = [int(first)]
        free[first] = False
        for _ in range(int(rng.choice(len(lengths), p=lengths))):
            last = chain[-1]
            near = neighbours[start[last] : start[last + 1]]
            near = near[free[near] & (np.hypot(*(seeds[near] - seeds[last]).T) < longest_step)]
            if not len(near):
                break
            chain.append(int(rng.choice(near)))
            free[chain[-1]] = False
        chains.append(seeds[chain])
    return chains


def _tubules(
    inside: np.ndarray, structures: tuple[Structure, ...], fibrosis: Waves, rng: np.random.Generator
) -> tuple[Tubule, ...]:
    """Pack tubules into the tissue that the structures leave free (Lloyd's relaxation of random seeds)."""
    free = inside.copy()
    rows, columns = (np.arange(n) * _COARSE + _COARSE / 2 for n in inside.shape)
    for structure in structures:
        blob = structure.blob
        y, x = (
            slice(*np.searchsorted(axis, [c - blob.reach, c + blob.reach]))
            for axis, c in ((rows, blob.y), (columns, blob.x))
        )
        grid = (rows[y, None].astype(np.float32), columns[None, x].astype(np.float32))
        free[y, x] &= blob.depth(*grid)[0] < 0
    points = np.stack(np.nonzero(free), 1) * _COARSE + _COARSE / 2
    count = max(4, int(len(points) * _COARSE**2 / (0.866 * TUBULE_SPACING**2)))
    seeds = points[rng.choice(len(points), count, replace=False)] + rng.uniform(-3, 3, (count, 2))
    for _ in range(6):
        owner = cKDTree(seeds).query(points)[1]
        size = np.maximum(np.bincount(owner, minlength=count), 1)
        seeds = np.stack([np.bincount(owner, points[:, axis], count) / size for axis in range(2)], 1)
    tubules = []
    for path in _chains(seeds, 1.35 * TUBULE_SPACING, (0.46, 0.27, 0.16, 0.11), rng):
        middle = path.mean(axis=0, keepdims=True)
        scarred = float(fibrosis.at(middle[:, 0], middle[:, 1])[0]) > 1.35
        distal = bool(rng.uniform() < 0.34)
        wall = rng.uniform(8.5, 12) if distal else rng.uniform(14, 20)
        tubules.append(
            Tubule(path, float(rng.normal(-3 if distal else 1, 2)), float(wall * (0.8 if scarred else 1)), distal,
                   float(rng.normal()))
        )  # fmt: skip
    return tuple(tubules)
