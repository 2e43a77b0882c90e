"""Drawing the phantom region by region and writing it as a pyramidal TIFF with its truth beside it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from scipy.ndimage import gaussian_filter

from hdgan.demo.phantom.canvas import Canvas
from hdgan.demo.phantom.cells import MARGIN, Candidates, draw_cells
from hdgan.demo.phantom.layout import Layout, plan
from hdgan.demo.phantom.shapes import TEXTURE_SIZE, Field, Points, Waves, draw_textures, soft
from hdgan.demo.phantom.structures import draw_structure
from hdgan.demo.phantom.tubules import draw_tubulointerstitium
from hdgan.labels import KIDNEY, Image, LabelMap
from tiling.errors import InputError
from tiling.files import replacing
from tiling.progress import track

CELL = 256
REGION = 1024
_SMALLEST = 1024
_STEP = 4
_THREADS = 2
# Optical density per unit of haematoxylin, eosin and PAS magenta in red, green and blue: the first two after
# Macenko et al. 2009 (ISBI, "A method for normalizing histology slides").
_STAINS = np.array([[0.563, 0.720, 0.406], [0.216, 0.801, 0.558], [0.270, 0.880, 0.440]], np.float32)
_GLASS = np.array([244.0, 242.0, 240.0], np.float32)


@dataclass(frozen=True)
class _Phantom:
    """Everything from which a region is drawn."""

    size: int
    mpp: float
    layout: Layout
    candidates: Candidates
    textures: list[Field]
    stain: tuple[Waves, ...]
    strength: npt.NDArray[np.float32]
    shading: Waves


def make_phantom(slide: Path, truth: Path, *, size: int = 8192, mpp: float = 0.5, seed: int = 0) -> None:
    """Draw a kidney biopsy as a whole-slide image and write it with the class of each of its pixels.

    Needle cores of cortex lie on glass: tubules, glomeruli (some sclerosed), arterioles and arteries, with interstitial
    fibrosis and inflammation in places, stained like PAS with haematoxylin and eosin by the law of Beer and Lambert.
    Nothing in it comes from a patient.

    Parameters
    ----------
    slide
        TIFF to write: (size, size, 3) uint8 in JPEG cells of 256 px, a pyramid in steps of 4; OpenSlide opens it.
    truth
        TIFF to write: (size, size) uint8 class indices of :data:`hdgan.labels.KIDNEY`, losslessly deflated cells.
    size
        Width and height in px, a multiple of 256 from 1024 up.
    mpp
        Micrometres per pixel, 0.2 to 2.
    seed
        The same seed draws the same slide.

    Raises
    ------
    InputError
        If `size` or `mpp` cannot be drawn, or `slide` and `truth` are the same file.
    """
    if size < _SMALLEST or size % CELL:
        raise InputError(f"a phantom's size is a multiple of {CELL} px from {_SMALLEST} up, not {size}")
    if not 0.2 <= mpp <= 2:
        raise InputError(f"a phantom is drawn at 0.2 to 2 um per pixel, not {mpp}")
    if seed < 0:
        raise InputError(f"a seed is 0 or a positive number, not {seed}")
    if slide.absolute() == truth.absolute():
        raise InputError(f"slide and truth are both to be written to {slide}; give them different names")
    phantom = _prepare(size, mpp, seed)
    level = np.empty((size // _STEP, size // _STEP, 3), np.uint8)
    truth_cells: list[bytes] = []
    with replacing(slide) as slide_part, replacing(truth) as truth_part:
        with tifffile.TiffWriter(slide_part) as writer:
            cells = _image_cells(phantom, level, truth_cells)
            _write_level(writer, cells, size, mpp, f"hdgan phantom kidney biopsy, seed {seed}")
            while min(level.shape[:2]) >= CELL // _STEP:
                mpp_here = mpp * size / len(level)
                _write_level(writer, _cut(level), len(level), mpp_here, None)
                level = _reduced(level)
        with tifffile.TiffWriter(truth_part) as writer:
            writer.write(
                iter(truth_cells),
                shape=(size, size),
                dtype=np.uint8,
                tile=(CELL, CELL),
                photometric="minisblack",
                compression="zlib",
                description=", ".join(f"{index}: {name}" for index, name in enumerate(KIDNEY.names)),
                metadata=None,
                **_resolution(mpp),
            )


def _prepare(size: int, mpp: float, seed: int) -> _Phantom:
    rng = np.random.default_rng([seed, 2])
    return _Phantom(
        size,
        mpp,
        plan(size * mpp, seed),
        Candidates.draw(size * mpp, rng),
        # Granules and fibres are 1 to 2 um across whatever the resolution; the last is the sensor's noise.
        draw_textures(rng, (0.7 / mpp, 1.6 / mpp, 2.5, 0.45)),
        tuple(Waves.draw(rng, shortest=400, longest=4000, amplitude=0.07) for _ in range(2)),
        rng.uniform([0.92, 0.95, 0.9], [1.15, 1.15, 1.15]).astype(np.float32),
        Waves.draw(rng, shortest=1500, longest=8000, amplitude=0.004),
    )


def _image_cells(phantom: _Phantom, level: Image, truth_cells: list[bytes]) -> Iterator[Image]:
    """Yield the slide's cells row by row; fill the next `level` and append the deflated cells of the truth."""
    starts = range(0, phantom.size, REGION)
    with ThreadPoolExecutor(_THREADS) as pool:
        for top in track(starts, "drawing the phantom"):
            drawn = list(pool.map(lambda left, top=top: _draw(phantom, top, left), starts))
            image = np.concatenate([region[0] for region in drawn], axis=1)
            labels = np.concatenate([region[1] for region in drawn], axis=1)
            level[top // _STEP : (top + len(image)) // _STEP] = _reduced(image)
            truth_cells += [zlib.compress(cell.tobytes()) for cell in _cut(labels)]
            yield from _cut(image)


def _draw(phantom: _Phantom, top: int, left: int) -> tuple[Image, LabelMap]:
    """Draw one region, at most REGION px wide and high."""
    height, width = (min(REGION, phantom.size - start) for start in (top, left))
    margin = int(np.ceil(MARGIN / phantom.mpp))
    ys: Points = (np.arange(top - margin, top + height + margin, dtype=np.float64) + 0.5) * phantom.mpp
    xs: Points = (np.arange(left - margin, left + width + margin, dtype=np.float64) + 0.5) * phantom.mpp
    layout = phantom.layout
    y, x = (
        wave.grid(ys, xs) + axis.astype(np.float32)
        for wave, axis in zip(layout.warp, (ys[:, None], xs[None]), strict=True)
    )
    canvas = Canvas.blank(ys, xs, y, x)
    edge = layout.tissue.depth(ys, xs)
    granules, fibres, chromatin, noise = (_region(t, top - margin, left - margin, y.shape) for t in phantom.textures)
    if edge.max() > 0:
        canvas.label[edge > 0] = KIDNEY.index("cortical tubulointerstitium")
        draw_tubulointerstitium(canvas, layout, edge, (granules, fibres))
        for structure in layout.structures:
            draw_structure(canvas, structure, phantom.textures[2])
        draw_cells(canvas, phantom.candidates, chromatin)
        for stain in (canvas.h, canvas.e, canvas.p):
            stain *= soft(edge)
    image = _develop(phantom, canvas, noise)
    inner = slice(margin, margin + height), slice(margin, margin + width)
    return image[inner], canvas.label[inner]


def _develop(phantom: _Phantom, canvas: Canvas, noise: Field) -> Image:
    """From stain concentrations to what a scanner's camera gives: absorption, lamp, blur and noise."""
    density = np.zeros((*canvas.y.shape, 3), np.float32)
    local = [1 + wave.grid(canvas.ys, canvas.xs) for wave in phantom.stain]
    for stain, factor, colour, strength in zip(
        (canvas.h, canvas.e, canvas.p), (local[0], local[1], local[1]), _STAINS, phantom.strength, strict=True
    ):
        density += (np.maximum(stain, 0) * factor)[..., None] * (colour * strength)
    light = np.exp(-np.log(10).astype(np.float32) * density) * _GLASS
    light *= (1 + phantom.shading.grid(canvas.ys, canvas.xs))[..., None]
    light = gaussian_filter(light, (0.6, 0.6, 0), truncate=3)
    light += 1.3 * noise[..., None]
    image: Image = np.clip(light + 0.5, 0, 255).astype(np.uint8)
    return image


def _region(texture: Field, top: int, left: int, shape: tuple[int, ...]) -> Field:
    """A piece of a periodic texture."""
    rows, columns = (
        (start + np.arange(length)) % TEXTURE_SIZE for start, length in ((top, shape[0]), (left, shape[1]))
    )
    return texture[rows[:, None], columns]


def _reduced(image: Image) -> Image:
    """Mean of blocks of 4 by 4 px."""
    height, width, channels = image.shape
    blocks = image[: height // _STEP * _STEP, : width // _STEP * _STEP]
    blocks = blocks.reshape(height // _STEP, _STEP, width // _STEP, _STEP, channels)
    mean: Image = (blocks.mean(axis=(1, 3), dtype=np.float32) + 0.5).astype(np.uint8)
    return mean


def _cut(image: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    """Cells of 256 px, row by row, the last ones filled up by repeating the edge."""
    height, width = image.shape[:2]
    for top in range(0, height, CELL):
        for left in range(0, width, CELL):
            cell = image[top : top + CELL, left : left + CELL]
            missing = [(0, CELL - cell.shape[0]), (0, CELL - cell.shape[1])] + [(0, 0)] * (cell.ndim - 2)
            yield np.ascontiguousarray(np.pad(cell, missing, mode="edge"))


def _resolution(mpp: float) -> dict[str, object]:
    return {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER", "software": "hdgan"}


def _write_level(
    writer: tifffile.TiffWriter, cells: Iterator[Image], size: int, mpp: float, description: str | None
) -> None:
    writer.write(
        cells,
        shape=(size, size, 3),
        dtype=np.uint8,
        tile=(CELL, CELL),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 85},
        subsampling=(2, 2),
        subfiletype=0 if description else 1,
        description=description,
        metadata=None,
        **_resolution(mpp),
    )
