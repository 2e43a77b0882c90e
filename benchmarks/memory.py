"""What memory one worker takes: `python benchmarks/memory.py [--only WORD ...] [--json]`.

Every case is a slide that is surveyed as a worker of `hdgan tile` does it: a thumbnail, tissue and pen on it, every
tile read and inspected, the picture drawn. It is done in a fresh process, on one thread, that has imported what a
worker imports; its peak is the largest resident set that the kernel noted, `before_mib` that at the beginning. Workers
get 1 GiB unless they are given more. Linux only.

The slides are drawn, and repeat a piece of the phantom's tissue: one for each way in which slides are read, of 0.25
micrometres per px. They have no pyramid, so tiles of a coarser resolution are averaged down from level 0: a tile of
4096 px from up to 28672 x 28672 px. They are kept in `benchmark-slides/memory`, each once it was needed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path[0] = str(Path(__file__).resolve().parents[1])
# instead of the folder of this file, which would stand for the package `tiling`

import distributed  # noqa: F401 (what a worker imports counts)
import imagecodecs
import numpy as np
import tifffile
import zarr
from PIL import Image, ImageCms

from benchmarks.apart import Bound, Figures, peak_gb, run, run_part
from benchmarks.tiling import drawn_slides
from tiling.choices import Icc, Materialise
from tiling.files import replacing
from tiling.fingerprint import slide_fingerprint
from tiling.job import Orders, SlideJob, Survey
from tiling.settings import TileSettings

FOLDER = Path("benchmark-slides") / "memory"
LIMIT = 1024  # MiB
MPP, CELL, STRIP, CHUNK = 0.25, 256, 64, 1024
PART_SIDE, SIDE, LARGE, PNG, JPEG, MASK = 2048, 17000, 32768, 10000, 8950, 16384  # px
ONE_STRIP = 8192  # px: the largest piece that is decoded


@dataclass(frozen=True)
class Case:
    """A slide, which tiles are wanted of it, and what else is done."""

    slide: str
    settings: dict[str, Any] = field(default_factory=dict)
    orders: dict[str, Any] = field(default_factory=dict)
    tissue: str | None = None

    @property
    def files(self) -> list[str]:
        """Its slide, and its mask of tissue if it has one."""
        return [self.slide, *filter(None, [self.tissue])]


SLIDES = {
    "tiff-jpeg": "jpeg.tif",
    "tiff-jpeg2000": "jpeg2000.svs",
    "openslide": "openslide.tif",
    "ome-tiff": "deflate.ome.tif",
    "plain-tiff": "strips.tif",
    "ome-zarr": "picture.zarr",
}
PAD = {"edge": "pad", "tissue": 0.0}
STORED = {"icc": Icc.SRGB, "materialise": Materialise.PIXELS}
SMALL = {"size": 64, "tissue": 0.0}  # so many that tissue is looked for on the largest thumbnail, of 4096 px
UNREAD = {"inspect": False}
CASES = {
    **{f"{way} level 0": Case(slide) for way, slide in SLIDES.items()},
    **{f"{way} averaged 2 x 2": Case(slide, {"mpp": 0.5}) for way, slide in SLIDES.items()},
    **{f"{way} averaged 4 x 4": Case(slide, {"mpp": 1.0}) for way, slide in SLIDES.items()},
    **{f"{way} padded, srgb, stored": Case(slide, PAD, STORED) for way, slide in SLIDES.items()},
    "openslide averaged 2 x 2, padded, srgb, stored": Case("openslide.tif", {"mpp": 0.5, **PAD}, STORED),
    "openslide averaged 7 x 7": Case("large.tif", {"mpp": 1.75}),
    "openslide tissue on 4096 px": Case("large.tif", SMALL, UNREAD),
    "openslide tissue on 4096 px, dark": Case("dark.tif", SMALL, UNREAD),
    "openslide tissue from a PNG": Case("large.tif", {"limit": 1}, tissue="mask.png"),
    "openslide tissue from a TIFF": Case("large.tif", {"limit": 1}, tissue="mask.tif"),
    "plain-tiff one strip": Case("strip.tif", PAD, STORED),
    "png": Case("picture.png", {"tissue": 0.0}),
    "png averaged 2 x 2, padded, stored": Case("picture.png", {"mpp": 0.5, **PAD}, STORED),
    "png tissue on 4096 px": Case("picture.png", {"size": 16, "tissue": 0.0}, UNREAD),
    "jpeg progressive": Case("picture.jpg", {"tissue": 0.0}),
}
FILES = sorted({name for case in CASES.values() for name in case.files})


def make_file(name: str) -> Figures:
    """Make a file of the cases, whole or not at all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    _, part = drawn_slides(FOLDER.parent)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    told: dict[str, Any] = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER", "iccprofile": profile}
    jpeg = {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 2), "metadata": None, **told}
    deflate = {"compression": "adobe_deflate", "photometric": "rgb", "metadata": None, **told}
    aperio = f"Aperio Image Library\r\n{SIDE}x{SIDE} (256x256) J2K/RGB Q=70|AppMag = 40|MPP = {MPP}"
    jpeg2000 = {**deflate, "compression": "aperio_jp2000_rgb", "description": aperio}
    ome = {**deflate, "metadata": {"axes": "YXS", "PhysicalSizeX": MPP, "PhysicalSizeY": MPP}}
    by_openslide = partial(_write_tiff, side=LARGE, encode=_jpeg, options=jpeg, second_page=True)
    dark = part // 12
    makers: dict[str, Callable[[Path], None]] = {
        "jpeg.tif": lambda path: _write_tiff(path, part, side=SIDE, encode=_jpeg, options=jpeg),
        "jpeg2000.svs": lambda path: _write_tiff(path, part, side=SIDE, encode=_jpeg2000, options=jpeg2000),
        "openslide.tif": lambda path: by_openslide(path, part, side=SIDE),
        "large.tif": lambda path: by_openslide(path, part),
        "dark.tif": lambda path: by_openslide(path, dark),
        "deflate.ome.tif": lambda path: _write_tiff(path, part, side=SIDE, encode=_deflate, options=ome),
        "strips.tif": lambda path: _write_strips(path, part, deflate),
        "strip.tif": lambda path: tifffile.imwrite(path, _tiled(part, ONE_STRIP), rowsperstrip=ONE_STRIP, **deflate),
        "picture.zarr": lambda path: _write_zarr(path, part),
        "picture.png": lambda path: _picture(part, PNG).save(path, "PNG", compress_level=1, icc_profile=profile),
        "picture.jpg": lambda path: _picture(part, JPEG).save(path, "JPEG", progressive=True, subsampling=0),
        "mask.png": lambda path: Image.fromarray(_mask()).save(path, "PNG"),
        "mask.tif": lambda path: tifffile.imwrite(path, _mask(), compression="adobe_deflate", rowsperstrip=STRIP),
    }
    with replacing(FOLDER / name) as unfinished:
        makers[name](unfinished)
    return {}


def _write_tiff(
    path: Path,
    part: np.ndarray,
    *,
    side: int,
    encode: Callable[[np.ndarray], bytes],
    options: dict[str, Any],
    second_page: bool = False,
) -> None:
    """A tiled TIFF; one whose second page is no JPEG is read by OpenSlide, since not all of its cells can be copied."""
    steps = range(0, PART_SIDE, CELL)
    encoded = [[encode(np.ascontiguousarray(part[y : y + CELL, x : x + CELL])) for x in steps] for y in steps]
    count = -(-side // CELL)
    cells = (encoded[i // count % len(steps)][i % count % len(steps)] for i in range(count * count))
    ome = isinstance(options["metadata"], dict)
    with tifffile.TiffWriter(path, bigtiff=True, ome=ome) as writer:
        writer.write(cells, shape=(side, side, 3), dtype=np.uint8, tile=(CELL, CELL), **options)
        if second_page:
            page = part[:CELL, :CELL]
            writer.write(page, tile=(CELL, CELL), compression="adobe_deflate", photometric="rgb", metadata=None)


def _write_strips(path: Path, part: np.ndarray, options: dict[str, Any]) -> None:
    wide = _repeated(part, SIDE)
    strips = [zlib.compress(wide[y : y + STRIP].tobytes(), 1) for y in range(0, PART_SIDE, STRIP)]
    last = zlib.compress(wide[: SIDE % STRIP].tobytes(), 1)
    count = SIDE // STRIP

    def encoded() -> Iterator[bytes]:
        yield from (strips[i % len(strips)] for i in range(count))
        yield last

    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        writer.write(encoded(), shape=(SIDE, SIDE, 3), dtype=np.uint8, rowsperstrip=STRIP, **options)


def _write_zarr(path: Path, part: np.ndarray) -> None:
    """OME-Zarr 0.5, colours first."""
    scale = {"type": "scale", "scale": [1.0, MPP, MPP]}
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "micrometer"} for n in "yx")]
    picture = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    group = zarr.open_group(path, mode="w", attributes={"ome": {"version": "0.5", "multiscales": [picture]}})
    array = group.create_array("0", shape=(3, SIDE, SIDE), chunks=(1, CHUNK, CHUNK), dtype="uint8")
    wide = _repeated(part, SIDE).transpose(2, 0, 1)
    for y in range(0, SIDE, CHUNK):
        rows = min(CHUNK, SIDE - y)
        array[:, y : y + rows] = wide[:, y % PART_SIDE : y % PART_SIDE + rows]


def _picture(part: np.ndarray, side: int) -> Image.Image:
    return Image.fromarray(_tiled(part, side))


def _tiled(part: np.ndarray, side: int) -> np.ndarray:
    count = -(-side // PART_SIDE)
    return np.tile(part, (count, count, 1))[:side, :side]


def _mask() -> np.ndarray:
    """A disc, (MASK, MASK) uint8."""
    along = np.linspace(-1, 1, MASK, dtype=np.float32)
    return (along[:, None] ** 2 + along**2 < 0.5).astype(np.uint8)


def _repeated(part: np.ndarray, width: int) -> np.ndarray:
    return np.tile(part, (1, -(-width // PART_SIDE), 1))[:, :width]


def _jpeg(cell: np.ndarray) -> bytes:
    return imagecodecs.jpeg8_encode(cell, level=80, colorspace="RGB", outcolorspace="YCBCR", subsampling="420")


def _jpeg2000(cell: np.ndarray) -> bytes:
    return imagecodecs.jpeg2k_encode(cell, level=35, codecformat="j2k", mct=False)


def _deflate(cell: np.ndarray) -> bytes:
    return zlib.compress(cell.tobytes(), 1)


def survey(case: Case) -> Figures:
    """Survey a slide in this process, and tell its peak."""
    for name in case.files:
        if not (FOLDER / name).exists():
            run_part(__file__, f"file {name}")
    path, *tissue = (FOLDER / name for name in case.files)
    with tempfile.TemporaryDirectory() as made:
        store = Path(made, "store") if "materialise" in case.orders else None
        orders = Orders(TileSettings(**case.settings), store=store, pictures=Path(made), **case.orders)
        job = SlideJob(
            path, case.slide, case.slide, slide_fingerprint(path), key="0a", mpp=MPP, tissue=tuple(tissue) or None
        )
        before = peak_mib()
        row = Survey(job, orders)().row
    if row["status"] != "done":
        raise RuntimeError(f"{case.slide} is {row['status']}: {row['reason']}")
    return {"backend": row["backend"], "tiles": row["tiles"], "before_mib": before, "peak_mib": peak_mib()}


def peak_mib() -> float:
    return peak_gb() * 1e9 / 2**20


MEASURES: dict[str, Callable[[], Figures]] = {name: partial(survey, case) for name, case in CASES.items()}
PARTS: dict[str, Callable[[], Figures]] = {f"file {name}": partial(make_file, name) for name in FILES}
BOUNDS = [Bound(name, "peak_mib", at_most=LIMIT) for name in CASES]


if __name__ == "__main__":
    run(__file__, __doc__, MEASURES, BOUNDS, parts=PARTS)
