"""What is held at once, of slides of any size; `benchmarks/memory.py` measures whole workers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import tiling.backends.image
import tiling.backends.openslide
import tiling.masks
import tiling.slide
from tiling import InputError, open_slide, tile_archive
from tiling.backends.base import Level
from tiling.grid import make_grid
from tiling.ledger import read_ledger
from tiling.masks import SlideMask
from tiling.slide import Slide
from tiling.tile_reading import read_tile, salvage_tile
from tiling.tissue import find_tissue

MIB = 1 << 20


class Recording:
    """A backend of grey pixels that notes how many are asked for at once."""

    name = "recording"
    mpp = objective_power = background = icc_profile = None
    properties = MappingProxyType({"format": "none"})

    def __init__(self, width: int, height: int) -> None:
        self.levels = (Level(width, height, 1.0),)
        self.most = 0

    def read(self, *, x: int, y: int, width: int, height: int, level: int) -> np.ndarray:
        self.most = max(self.most, width * height)
        return np.full((height, width, 3), 150, np.uint8)

    def close(self) -> None:
        pass


def peak_of(work: Callable[[], Any]) -> int:
    """The most bytes that numpy and Python held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("read", [read_tile, salvage_tile])
def test_a_tile_is_averaged_down_from_a_large_area_in_bands(read):
    backend = Recording(7000, 7000)
    slide = Slide(Path("none"), backend)
    peak = peak_of(lambda: read(slide, x=0, y=0, size=512, level=0, scale=13.5))
    assert 1_000_000 < backend.most < 10_000_000 < 6912**2
    assert peak < 100 * MIB


def test_a_thumbnail_of_a_slide_without_a_pyramid_is_averaged_down_in_bands():
    backend = Recording(7000, 7000)
    peak = peak_of(lambda: Slide(Path("none"), backend).thumbnail(1024))
    assert 1_000_000 < backend.most < 10_000_000
    assert peak < 100 * MIB


@pytest.mark.parametrize(("dark", "bytes_per_px"), [(False, 22), (True, 18)])
def test_looking_for_tissue_holds_few_copies_of_the_thumbnail(dark, bytes_per_px):
    thumbnail = np.random.default_rng(0).integers(0, 256, (2048, 2048, 3), np.uint8)
    assert peak_of(lambda: find_tissue(thumbnail, dark=dark)) < bytes_per_px * 2048**2


def test_the_fractions_of_tiles_hold_two_integral_images_at_most():
    mask = SlideMask(np.ones((2048, 2048), bool), 20480, 20480)
    grid = make_grid(20480, 20480, size=1024)
    assert peak_of(lambda: mask.fraction(grid)) < 9 * 2048**2


@pytest.mark.parametrize("icc", ["none", "srgb"])
def test_bands_change_no_pixel_of_a_region(data, icc, monkeypatch):
    places = [{"x": 20, "y": 30, "width": 200, "height": 150}, {"x": -9, "y": 180, "width": 330, "height": 90}]

    def regions() -> list[np.ndarray]:
        with open_slide(data / "slides" / "boxes.tiff", icc=icc) as slide:
            assert slide.backend == "openslide"
            return [slide.read(**place) for place in places]

    whole = regions()
    monkeypatch.setattr(tiling.slide, "_BAND", 1000)
    monkeypatch.setattr(tiling.backends.openslide, "_BAND", 700)
    for banded, expected in zip(regions(), whole, strict=True):
        np.testing.assert_array_equal(banded, expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "CMYK"])
def test_a_picture_of_any_mode_is_read_in_bands_to_pillows_pixels(mode, stained, tmp_path, monkeypatch):
    picture = Image.fromarray(stained(90, 70)).convert("RGB" if mode == "P" else mode)
    picture = picture.quantize(50) if mode == "P" else picture
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    picture.save(path)
    monkeypatch.setattr(tiling.backends.image, "_BAND", 1000)
    with Image.open(path) as saved, open_slide(path) as slide:
        expected = np.asarray(saved.convert("RGB"))
        np.testing.assert_array_equal(slide.read(x=0, y=0, width=90, height=70), expected)
        inside = slide.read(x=80, y=-5, width=20, height=100)[5:75, :10]
        np.testing.assert_array_equal(inside, expected[:, 80:])
        assert (slide.read(x=200, y=5, width=4, height=4) == 255).all()


def claiming(path: Path, pixels: np.ndarray, size: int, **options: Any) -> Path:
    """A TIFF of a single tile, which claims to be of another size."""
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", **options)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("TileWidth", "TileLength"):
            file.pages[0].tags[name].overwrite(size)
    return path


@pytest.mark.parametrize(
    ("compression", "size", "most"),
    [("jpeg", 60000, 67), ("jpeg", 8208, 67), ("jpeg2000", 4112, 16), ("lzw", 8208, 67)],
)
@pytest.mark.parametrize("ome", [False, True])
def test_a_tiff_of_tiles_too_large_to_decode_at_once_is_refused_before_anything_decodes_one(
    tmp_path, stained, png, compression, size, most, ome
):
    (tmp_path / "archive").mkdir()
    name = "huge.ome.tif" if ome else "huge.tif"
    claiming(tmp_path / "archive" / name, stained(64, 64), size, compression=compression, ome=ome)
    png("archive/a.png")
    tile_archive(tmp_path / "archive", tmp_path / "tiles", size=128)
    row = {row["slide"]: row for row in read_ledger(tmp_path / "tiles")}[name]
    assert row["status"] == "failed"
    said = f"is made of segments of {size} x {size} px, more than the {most} megapixels that can be decoded at once"
    assert row["reason"].startswith(f"cannot open {name} as a slide: {said}; convert it: vips tiffsave ")
    assert row["reason"].endswith(f"--compression jpeg ({'ome-tiff' if ome else 'tiff'})")


def test_masks_too_large_to_decode_at_once_are_refused_unless_they_are_made_of_pieces(tmp_path, monkeypatch):
    mask = np.add.outer(np.arange(300), np.arange(400)) < 350
    tifffile.imwrite(tmp_path / "tiled.tif", mask.astype(np.uint8), tile=(64, 64), compression="zlib")
    tifffile.imwrite(tmp_path / "whole.tif", mask.astype(np.uint8))
    Image.fromarray(mask).save(tmp_path / "whole.png")
    monkeypatch.setattr(tiling.masks, "LARGEST", 10_000)
    monkeypatch.setattr(tiling.masks, "LARGEST_PICTURE", 100_000)
    np.testing.assert_array_equal(SlideMask.from_image(tmp_path / "tiled.tif", width=400, height=300).mask, mask)
    for name in ("whole.tif", "whole.png"):
        with pytest.raises(InputError, match=r"300.*to be decoded at once; save it as a tiled TIFF, or with 4096 px"):
            SlideMask.from_image(tmp_path / name, width=400, height=300)


def test_a_large_mask_is_thinned_alike_as_png_and_as_tiff_of_any_pieces(tmp_path, monkeypatch):
    colours = np.random.default_rng(0).integers(0, 2, (230, 310, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "mask.png")
    options: dict[str, dict[str, Any]] = {"tiles": {"tile": (64, 48)}, "strips": {"rowsperstrip": 7}, "whole": {}}
    for name, pieces in options.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", colours, photometric="rgb", **pieces)
    planes = np.moveaxis(colours, -1, 0)
    tifffile.imwrite(tmp_path / "planes.tif", planes, photometric="rgb", planarconfig="separate", tile=(32, 64))
    monkeypatch.setattr(tiling.masks, "_LONGEST", 100)
    monkeypatch.setattr(tiling.masks, "_BAND", 5000)
    rows, columns = (((np.arange(n) + 0.5) * length / n).astype(int) for n, length in ((74, 230), (100, 310)))
    for path in sorted(tmp_path.iterdir()):
        found = SlideMask.from_image(path, width=3100, height=2300).mask
        np.testing.assert_array_equal(found, colours.any(axis=-1)[rows[:, None], columns], err_msg=path.name)
