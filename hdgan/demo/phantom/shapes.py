"""Shapes and smooth random fields that every piece of the phantom draws from. All lengths in micrometres."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
TEXTURE_SIZE = 1024


@dataclass(frozen=True)
class Waves:
    """A smooth random field: a sum of plane waves, the same wherever and in whichever order it is evaluated.

    `ky`, `kx` are (n,) wave numbers in rad/um, `phase` (n,); the field has mean 0 and standard deviation `amplitude`.
    """

    ky: Points
    kx: Points
    phase: Points
    amplitude: float

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, shortest: float, longest: float, amplitude: float, count: int = 32
    ) -> Waves:
        """Waves in all directions, with lengths between `shortest` and `longest` um."""
        length = np.exp(rng.uniform(np.log(shortest), np.log(longest), count))
        angle = rng.uniform(0, 2 * np.pi, count)
        k = 2 * np.pi / length
        return cls(k * np.sin(angle), k * np.cos(angle), rng.uniform(0, 2 * np.pi, count), amplitude)

    def grid(self, ys: Points, xs: Points) -> Field:
        """Values on the grid of rows `ys` (h,) and columns `xs` (w,): (h, w); a matrix product, hence fast."""
        a = self.ky[:, None] * ys + self.phase[:, None]
        b = self.kx[:, None] * xs
        left = np.concatenate([np.cos(a), np.sin(a)]).astype(np.float32)
        right = np.concatenate([np.cos(b), -np.sin(b)]).astype(np.float32)
        return np.asarray((left * np.float32(self._scale)).T @ right, np.float32)

    def at(self, y: Points, x: Points) -> Points:
        """Values at single points: (n,)."""
        waves = np.cos(np.outer(y, self.ky) + np.outer(x, self.kx) + self.phase)
        values: Points = waves.sum(axis=1) * self._scale
        return values

    @property
    def _scale(self) -> float:
        return self.amplitude * float(np.sqrt(2 / len(self.ky)))


@dataclass(frozen=True)
class Blob:
    """A capsule (a disc when `half_length` is 0) whose outline undulates: `harmonics` are (order, amplitude, phase)."""

    y: float
    x: float
    radius: float
    half_length: float
    angle: float
    harmonics: tuple[tuple[int, float, float], ...]

    @classmethod
    def draw(
        cls, rng: np.random.Generator, y: float, x: float, *, radius: float, half_length: float, roughness: float
    ) -> Blob:
        """A blob at (y, x), turned at random, with an outline that departs by about `roughness` of its radius."""
        harmonics = tuple(
            (order, roughness * float(rng.normal()) / order, float(rng.uniform(0, 2 * np.pi))) for order in range(2, 7)
        )
        return cls(y, x, radius, half_length, float(rng.uniform(0, np.pi)), harmonics)

    @property
    def reach(self) -> float:
        """No point of the blob lies further from its centre."""
        return self.half_length + self.radius * (1 + sum(abs(amplitude) for _, amplitude, _ in self.harmonics))

    @property
    def area(self) -> float:
        """Area in um2, the undulation left out."""
        return np.pi * self.radius**2 + 4 * self.radius * self.half_length

    def depth(self, y: Field, x: Field) -> tuple[Field, Field]:
        """Depth below the outline (positive inside) and the angle around the centre, at each point."""
        dy, dx = y - np.float32(self.y), x - np.float32(self.x)
        sine, cosine = np.float32(np.sin(self.angle)), np.float32(np.cos(self.angle))
        along, across = dx * cosine + dy * sine, dy * cosine - dx * sine
        theta = np.arctan2(across, along)
        outline = np.full_like(theta, self.radius)
        for order, amplitude, phase in self.harmonics:
            outline += np.float32(self.radius * amplitude) * np.cos(np.float32(order) * theta + np.float32(phase))
        distance = np.hypot(np.maximum(np.abs(along) - np.float32(self.half_length), 0), across)
        return outline - distance, theta


def path_distance(path: Points, y: Field, x: Field) -> Field:
    """Distance of every point from a polyline (n, 2) of (y, x); one vertex alone is a point."""
    segments = list(pairwise(path)) or [(path[0], path[0])]
    nearest: Field | None = None
    for start, end in segments:
        dy, dx = y - np.float32(start[0]), x - np.float32(start[1])
        step = end - start
        squared = float(step @ step)
        if squared > 0:
            t = np.clip((dy * np.float32(step[0]) + dx * np.float32(step[1])) / np.float32(squared), 0, 1)
            dy -= t * np.float32(step[0])
            dx -= t * np.float32(step[1])
        distance = dy * dy + dx * dx
        nearest = distance if nearest is None else np.minimum(nearest, distance)
    assert nearest is not None
    return np.sqrt(nearest)


def soft(depth: Field, width: float = 1.0) -> Field:
    """1 inside, 0 outside, a linear ramp of `width` um across the outline."""
    ramp: Field = np.clip(depth * np.float32(1 / width) + np.float32(0.5), 0, 1)
    return ramp


def band(depth: Field, low: float, high: float, width: float = 1.0) -> Field:
    """1 where `depth` lies between `low` and `high`, with soft edges."""
    return soft(np.minimum(depth - np.float32(low), np.float32(high) - depth), width)


def draw_textures(rng: np.random.Generator, sigmas: Iterable[float]) -> list[Field]:
    """Periodic (1024, 1024) noises of mean 0 and standard deviation 1, smoothed by a Gaussian of `sigma` px each."""
    ky = np.fft.fftfreq(TEXTURE_SIZE)[:, None]
    kx = np.fft.rfftfreq(TEXTURE_SIZE)[None]
    textures = []
    for sigma in sigmas:
        spectrum = np.fft.rfft2(rng.normal(size=(TEXTURE_SIZE, TEXTURE_SIZE)))
        spectrum *= np.exp(-2 * (np.pi * sigma) ** 2 * (ky**2 + kx**2))
        noise = np.fft.irfft2(spectrum, s=(TEXTURE_SIZE, TEXTURE_SIZE))
        textures.append(((noise - noise.mean()) / noise.std()).astype(np.float32))
    return textures
