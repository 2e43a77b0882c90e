"""Where everything of the phantom lies: cores, glomeruli, vessels, tubules. All lengths in micrometres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from scipy.spatial import Delaunay, cKDTree

from hdgan.demo.phantom.shapes import Blob, Points, Waves
from hdgan.demo.phantom.tissue import Tissue, draw_tissue
from hdgan.labels import KIDNEY

GLOMERULUS, ARTERIOLE, ARTERY = (KIDNEY.index(name) for name in ("glomerulus", "arteriole", "artery"))
TUBULE_SPACING = 53.0
_COARSE = 8.0


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
    tissue = draw_tissue(extent, rng)
    centres = np.arange(_COARSE / 2, extent, _COARSE)
    inside = tissue.depth(centres, centres) > 0
    structures = _structures(inside, rng)
    fibrosis = Waves.draw(rng, shortest=350, longest=1500, amplitude=1)
    tubules = _tubules(inside, structures, fibrosis, rng)
    warp = tuple(Waves.draw(rng, shortest=35, longest=160, amplitude=2.4, count=48) for _ in range(2))
    inflammation = Waves.draw(rng, shortest=180, longest=700, amplitude=1)
    return Layout(extent, tissue, structures, tubules, (warp[0], warp[1]), fibrosis, inflammation)


class _Darts:
    """Throws blobs into the tissue so that none touches another nor the edge."""

    def __init__(self, inside: npt.NDArray[np.bool_], rng: np.random.Generator) -> None:
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


def _structures(inside: npt.NDArray[np.bool_], rng: np.random.Generator) -> tuple[Structure, ...]:
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
    return Structure(ARTERY, blob, wall=radius * float(rng.uniform(0.38, 0.54)))


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
    count = int(rng.integers(8, 12))
    angles = np.arange(count) * 2 * np.pi / count + rng.normal(0, 0.16, count) + pole
    lobe = tuft * rng.uniform(0.25, 0.42, count)
    ring = (tuft - lobe)[:, None] * np.stack([np.sin(angles), np.cos(angles)], 1) * rng.uniform(0.93, 1.03, (count, 1))
    lobules = np.concatenate([[[0, 0, tuft * 0.74]], np.concatenate([ring, lobe[:, None]], 1)])
    lobules[:, :2] += shift
    seeds = _lattice(tuft + 12, 11.5, 0.36, rng) + shift
    return Structure(GLOMERULUS, blob, space, solid, lobules, tuple(_chains(seeds, 20, (0.35, 0.3, 0.2, 0.15), rng)))


def _lattice(radius: float, spacing: float, jitter: float, rng: np.random.Generator) -> Points:
    """A jittered hexagonal lattice in a disc: (n, 2)."""
    count = int(radius / spacing) + 2
    rows, columns = np.mgrid[-count : count + 1, -count : count + 1]
    points = np.stack([rows * 0.866, columns + 0.5 * (rows % 2)], -1).reshape(-1, 2) * spacing
    points += rng.uniform(-jitter, jitter, points.shape) * spacing
    inside: Points = points[np.hypot(*points.T) < radius]
    return inside


def _chains(
    seeds: Points,
    longest_step: float,
    lengths: tuple[float, ...],
    rng: np.random.Generator,
    passable: Callable[[Points], npt.NDArray[np.bool_]] | None = None,
) -> list[Points]:
    """Join neighbouring seeds into polylines; `lengths` are the shares of chains of 1, 2, 3 ... seeds.

    A link is made only where its middle is `passable`.
    """
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
            if passable is not None:
                near = near[passable((seeds[near] + seeds[last]) / 2)]
            if not len(near):
                break
            chain.append(int(rng.choice(near)))
            free[chain[-1]] = False
        chains.append(seeds[chain])
    return chains


def _rounded(path: Points) -> Points:
    """Cut the corners of a polyline twice (Chaikin 1974, "An algorithm for high-speed curve generation")."""
    for _ in range(2 if len(path) > 2 else 0):
        cut = np.stack([0.75 * path[:-1] + 0.25 * path[1:], 0.25 * path[:-1] + 0.75 * path[1:]], 1)
        path = np.concatenate([path[:1], cut.reshape(-1, 2), path[-1:]])
    return path


def _tubules(
    inside: npt.NDArray[np.bool_], structures: tuple[Structure, ...], fibrosis: Waves, rng: np.random.Generator
) -> tuple[Tubule, ...]:
    """Pack tubules into the tissue that the structures leave free."""
    free = _without(inside, structures)

    def passable(points: Points) -> npt.NDArray[np.bool_]:
        ground: npt.NDArray[np.bool_] = free[tuple((points / _COARSE).astype(int).T)]
        return ground

    # A vessel too small to fill a cell of the packing keeps its place in it, lest a tubule close around it.
    fixed = np.array([[s.blob.y, s.blob.x] for s in structures if s.label == ARTERIOLE]).reshape(-1, 2)
    seeds = _relaxed(np.argwhere(free).astype(np.float64) * _COARSE + _COARSE / 2, fixed, rng)
    tubules = []
    for chain in _chains(seeds, 1.35 * TUBULE_SPACING, (0.46, 0.27, 0.16, 0.11), rng, passable):
        path = _rounded(chain)
        scarred = float(fibrosis.at(path[:1, 0], path[:1, 1])[0]) > 1.35
        distal = bool(rng.uniform() < 0.34)
        wall = float(rng.uniform(8.5, 12) if distal else rng.uniform(14, 20)) * (0.8 if scarred else 1)
        weight = float(rng.normal(-3 if distal else 1, 2))
        tubules.append(Tubule(path, weight, wall, distal, tint=float(rng.normal())))
    return tuple(tubules)


def _without(inside: npt.NDArray[np.bool_], structures: tuple[Structure, ...]) -> npt.NDArray[np.bool_]:
    """The coarse map of tissue less the structures."""
    free = inside.copy()
    rows, columns = (np.arange(n) * _COARSE + _COARSE / 2 for n in inside.shape)
    for blob in (structure.blob for structure in structures):
        y, x = (
            slice(*np.searchsorted(axis, [centre - blob.reach, centre + blob.reach]))
            for axis, centre in ((rows, blob.y), (columns, blob.x))
        )
        free[y, x] &= blob.depth(rows[y, None].astype(np.float32), columns[None, x].astype(np.float32))[0] < 0
    return free


def _relaxed(ground: Points, fixed: Points, rng: np.random.Generator) -> Points:
    """Seeds that share `ground` (n, 2) evenly among themselves and the `fixed` ones, by Lloyd's relaxation."""
    count = max(4, int(len(ground) * _COARSE**2 / (0.866 * TUBULE_SPACING**2)) - len(fixed))
    seeds = ground[rng.choice(len(ground), count, replace=False)] + rng.uniform(-3, 3, (count, 2))
    for _ in range(6):
        owner = cKDTree(np.concatenate([seeds, fixed])).query(ground)[1]
        size = np.bincount(owner, minlength=count)[:count]
        sums = np.stack([np.bincount(owner, ground[:, axis], count)[:count] for axis in range(2)], 1)
        seeds = np.where(size[:, None] > 0, sums / np.maximum(size, 1)[:, None], seeds)
    return seeds
