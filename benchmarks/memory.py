"""What memory one worker takes: `python benchmarks/memory.py [--folder FOLDER] [--only WORD] [--json]`.

Every case is a slide that is surveyed as a worker of `hdgan tile` does it: a thumbnail, tissue and pen on it, every
tile read and inspected, the picture drawn. It is done in a fresh process that has imported what a worker imports; its
peak is the largest resident set that the kernel noted. Workers get 1 GiB unless they are given more. Linux only.

The slides are drawn, and repeat a piece of the phantom's tissue: one for each way in which slides are read, of 0.25
micrometres per px. They have no pyramid, so tiles of a coarser resolution are averaged down from level 0: a tile of
4096 px from up to 28672 x 28672 px.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])
# instead of the folder of this file, which would stand for the package `tiling`

import distributed  # noqa: F401 (what a worker imports counts)
import imagecodecs
import numpy as np
import tifffile
import zarr
from PIL import Image, ImageCms
from rich.progress import track

from benchmarks.tiling import drawn_slides
from tiling.choices import Icc, Materialise
from tiling.files import replacing
from tiling.job import Orders, SlideJob, Survey
from tiling.settings import TileSettings

LIMIT = 1 << 30
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


SLIDES = {
    "tiff, JPEG": "jpeg.tif",
    "tiff, JPEG 2000": "jpeg2000.svs",
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
    **{f"{way}: tiles of level 0": Case(slide) for way, slide in SLIDES.items()},
    **{f"{way}: averaged 2 x 2": Case(slide, {"mpp": 0.5}) for way, slide in SLIDES.items()},
    **{f"{way}: averaged 4 x 4": Case(slide, {"mpp": 1.0}) for way, slide in SLIDES.items()},
    **{f"{way}: padded, srgb, stored": Case(slide, PAD, STORED) for way, slide in SLIDES.items()},
    "openslide: averaged 2 x 2, padded, srgb, stored": Case("openslide.tif", {"mpp": 0.5, **PAD}, STORED),
    "openslide: averaged 7 x 7": Case("large.tif", {"mpp": 1.75}),
    "openslide: tissue on 4096 px": Case("large.tif", SMALL, UNREAD),
    "openslide: tissue on 4096 px, dark": Case("dark.tif", SMALL, UNREAD),
    "openslide: tissue from a PNG": Case("large.tif", {"limit": 1}, tissue="mask.png"),
    "openslide: tissue from a TIFF": Case("large.tif", {"limit": 1}, tissue="mask.tif"),
    "plain-tiff: one strip": Case("strip.tif", PAD, STORED),
    "PNG": Case("picture.png", {"tissue": 0.0}),
    "PNG: averaged 2 x 2, padded, stored": Case("picture.png", {"mpp": 0.5, **PAD}, STORED),
    "PNG: tissue on 4096 px": Case("picture.png", {"size": 16, "tissue": 0.0}, UNREAD),
    "JPEG, progressive": Case("picture.jpg", {"tissue": 0.0}),
}


def make_slides(folder: Path, part: np.ndarray) -> None:
    """The files of all cases, where they are not there."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    told: dict[str, Any] = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER", "iccprofile": profile}
    jpeg = {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 2), "metadata": None, **told}
    deflate = {"compression": "adobe_deflate", "photometric": "rgb", "metadata": None, **told}
    aperio = f"Aperio Image Library\r\n{SIDE}x{SIDE} (256x256) J2K/RGB Q=70|AppMag = 40|MPP = {MPP}"
    jpeg2000 = {**deflate, "compression": "aperio_jp2000_rgb", "description": aperio}
    ome = {**deflate, "metadata": {"axes": "YXS", "PhysicalSizeX": MPP, "PhysicalSizeY": MPP}}
    by_openslide = functools.partial(_write_tiff, side=LARGE, encode=_jpeg, options=jpeg, second_page=True)
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
    for name, make in track(makers.items(), "making slides"):
        if not (folder / name).exists():
            with replacing(folder / name) as partial:
                make(partial)


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


def survey(case: Case, folder: Path) -> dict[str, Any]:
    """Survey a slide in this process, and tell its peak."""
    path = folder / case.slide
    with tempfile.TemporaryDirectory() as made:
        store = Path(made, "store") if "materialise" in case.orders else None
        orders = Orders(TileSettings(**case.settings), store=store, pictures=Path(made), **case.orders)
        tissue = None if case.tissue is None else (folder / case.tissue,)
        job = SlideJob(path, case.slide, case.slide, fingerprint="", key="slide", mpp=(MPP, False), tissue=tissue)
        before = _peak()
        row = Survey(job, orders)().row
    if row["status"] != "done":
        raise SystemExit(f"{case.slide} is {row['status']}: {row['reason']}")
    return {"backend": row["backend"], "tiles": row["tiles"], "mib_at_first": before, "peak_mib": _peak()}


def _peak() -> float:
    """The largest resident set of this process until now, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Make the slides if they are not there, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-slides"))
    parser.add_argument("--only", metavar="WORD", default="", help="only cases whose name has this in it")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.folder / "memory"
    if arguments.case:
        print(json.dumps(survey(CASES[arguments.case], folder)))
        return
    folder.mkdir(parents=True, exist_ok=True)
    _, part = drawn_slides(arguments.folder)
    make_slides(folder, part)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    result = {"machine": machine, "limit_mib": LIMIT / 2**20, "cases": {}}
    for name in track([name for name in CASES if arguments.only in name], "surveying"):
        command = [sys.executable, __file__, "--folder", str(arguments.folder), "--case", name]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
        result["cases"][name] = json.loads(told.stdout)
    print(json.dumps(result, indent=2) if arguments.json else table(result))


def table(result: dict[str, Any]) -> str:
    """What was measured, in Markdown."""
    lines = [result["machine"], "", "| slide | tiles | peak MiB |", "|---|---|---|"]
    lines += [f"| {name} | {case['tiles']} | {case['peak_mib']:.0f} |" for name, case in result["cases"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
