from __future__ import annotations

import numpy as np
import pytest
import tifffile

from tiling import InputError, open_slide
from tiling.damage import DamagedCell


def whole(slide, level=0):
    width, height = slide.levels[level][:2]
    return slide.read(x=0, y=0, width=width, height=height, level=level)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_of_a_truncated_tiff_the_rows_that_are_there_are_read_and_the_others_are_damage(tmp_path, kept):
    path, pixels = tmp_path / "cut.tif", np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, rowsperstrip=10, compression="zlib")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with open_slide(path) as slide:
        with pytest.raises(InputError, match=r"cut.tif: cannot decode the cell at row \d+ .* ends before"):
            whole(slide)
        region, damage = slide.salvage(x=0, y=0, width=300, height=200)
        rows = damage[0].y
        assert [cell.y for cell in damage] == list(range(rows, 200, 10))
        np.testing.assert_array_equal(region[:rows], pixels[:rows])
        if rows:
            np.testing.assert_array_equal(slide.read(x=0, y=0, width=300, height=rows), pixels[:rows])


@pytest.mark.parametrize(
    ("compression", "tile"),
    [*((one, None) for one in ("lzw", "zlib", "zstd", "packbits", "lzma", "webp")), ("jpeg2000", (64, 64))],
)
def test_a_spoilt_segment_is_damage_and_its_neighbours_are_read(tmp_path, stained, compression, tile):
    path, pixels = tmp_path / "spoilt.tif", stained(150, 130)
    shape = {"rowsperstrip": 64} if tile is None else {"tile": tile}
    arguments = {"compressionargs": {"lossless": True}} if compression == "webp" else {}
    tifffile.imwrite(path, pixels, compression=compression, photometric="rgb", **shape, **arguments)
    with tifffile.TiffFile(path) as file:
        offset, size = file.pages[0].dataoffsets[1], file.pages[0].databytecounts[1]
        expected = file.pages[0].asarray()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * size)
    with open_slide(path) as slide:
        region, damage = slide.salvage(x=0, y=0, width=150, height=130)
        cell = (0, 1, 64, 0, 64, 64) if tile else (1, 0, 0, 64, 150, 64)
        assert damage == (DamagedCell(0, *cell),)
        good = np.ones((130, 150), bool)
        good[damage[0].y : damage[0].y + 64, damage[0].x : damage[0].x + damage[0].width] = False
        np.testing.assert_array_equal(region[good], expected[good])
        assert (region[~good] == slide.background).all()


@pytest.mark.parametrize("tile", [None, (32, 64)])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "lzw", "jpeg"])
def test_regions_of_strips_tiles_and_planes_are_cut_out_exactly(tmp_path, stained, tile, planar, compression):
    path, pixels = tmp_path / "a.tif", stained(150, 130)
    shape = {"rowsperstrip": 16} if tile is None else {"tile": tile}
    data = np.moveaxis(pixels, -1, 0) if planar == "separate" else pixels
    tifffile.imwrite(path, data, compression=compression, photometric="rgb", planarconfig=planar, **shape)
    expected = tifffile.imread(path)
    expected = np.moveaxis(expected, 0, -1) if planar == "separate" else expected
    with open_slide(path) as slide:
        np.testing.assert_array_equal(whole(slide), expected)
        for x, y, width, height in ((0, 0, 1, 1), (63, 15, 2, 2), (149, 129, 1, 1), (10, 20, 100, 90)):
            region = slide.read(x=x, y=y, width=width, height=height)
            np.testing.assert_array_equal(region, expected[y : y + height, x : x + width])
        region = slide.read(x=-10, y=-20, width=50, height=40)
        np.testing.assert_array_equal(region[20:, 10:], expected[:20, :40])
        assert (region[:20] == slide.background).all()


def test_alpha_that_colours_were_multiplied_with_is_divided_out(tmp_path):
    path, pixels = tmp_path / "a.tif", np.full((20, 20, 4), (100, 50, 0, 128), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["assocalpha"])
    with open_slide(path) as slide:
        assert np.abs(whole(slide)[0, 0].astype(int) - (227, 177, 127)).max() <= 1


def scanned(path, label, scan, *, description, labelled="", label_first=False, tile=None, xmp=b""):
    """A file of a scanner, with a label before or behind the scan."""
    extra = [(700, 1, len(xmp), xmp, True)] if xmp else []
    first = {"description": description, "metadata": None, "photometric": "rgb", "extratags": extra, "tile": tile}
    second = {"description": labelled, "metadata": None, "photometric": "rgb", "subfiletype": int(not label_first)}
    with tifffile.TiffWriter(path) as file:
        file.write(label if label_first else scan, **first)
        file.write(scan if label_first else label, **second)
    return path


@pytest.mark.parametrize("tile", [None, (64, 64)])
@pytest.mark.parametrize(
    ("description", "xmp", "format"),
    [
        ("Label_Image", b"<iScan Magnification='40'", "Ventana BIF"),
        ("no words of the scanner", b"<Metadata><iScan Magnification='40'", "Ventana BIF"),
        ('<?xml version="1.0"?><scn><collection></scn>', b"", "Leica SCN"),
    ],
)
def test_labels_that_come_first_in_damaged_files_of_scanners_are_never_read(
    tmp_path, stained, tile, description, xmp, format
):
    path = scanned(
        tmp_path / "a.tif",
        stained(90, 60),
        stained(300, 200),
        description=description,
        xmp=xmp,
        tile=tile,
        label_first=True,
    )
    with pytest.raises(InputError, match=f"is a damaged {format}, whose first page may be its label; restore the file"):
        open_slide(path)


def test_the_label_of_an_aperio_file_that_openslide_refuses_is_no_level(tmp_path, stained):
    scan = stained(300, 200)
    described = {
        "description": "Aperio Image Library v1\r\n300x200",
        "labelled": "Aperio Image Library v1\r\nlabel 90x60",
    }
    path = scanned(tmp_path / "a.svs", stained(90, 60), scan, **described)
    with open_slide(path) as slide:
        assert (slide.backend, slide.levels) == ("plain-tiff", [(300, 200, 1.0)])
        np.testing.assert_array_equal(whole(slide), scan)


def test_smaller_pages_are_levels_and_a_macro_is_none(tmp_path, stained):
    path, levels = tmp_path / "a.tif", [stained(300, 200), stained(150, 100), stained(75, 50)]
    with tifffile.TiffWriter(path) as file:
        for index, pixels in enumerate(levels):
            file.write(pixels, compression="zlib", photometric="rgb", subfiletype=min(index, 1), metadata=None)
        file.write(stained(100, 100), photometric="rgb", subfiletype=1, metadata=None)
        file.write(stained(30, 20), photometric="rgb", subfiletype=9, metadata=None)
    with open_slide(path) as slide:
        assert slide.levels == [(300, 200, 1.0), (150, 100, 2.0), (75, 50, 4.0)]
        for index, pixels in enumerate(levels):
            np.testing.assert_array_equal(whole(slide, index), pixels)


def test_a_tiff_larger_than_memory_is_read_region_by_region(tmp_path, little_memory):
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, None, shape=(24_000, 24_000, 3), dtype=np.uint8, photometric="rgb")  # of no bytes on disk
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(start + (20_000 * 24_000 + 20_000) * 3)
        file.write(bytes([7, 7, 7]))
    with open_slide(path) as slide:
        assert slide.backend == "plain-tiff"
        region = slide.read(x=19_900, y=19_900, width=200, height=200)
    assert (region[100, 100] == 7).all()
    assert region.sum() == 21


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"photometric": "separated"}, "8-bit pixels of kind SEPARATED in the shape .*; convert it to 8-bit RGB"),
        ({"photometric": "cielab"}, "of kind CIELAB"),
        ({"photometric": "ycbcr"}, "of kind YCBCR"),
    ],
)
def test_pixels_of_other_colour_spaces_are_refused(tmp_path, options, reason):
    samples = 4 if options["photometric"] == "separated" else 3
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20, samples), np.uint8), **options)
    with pytest.raises(InputError, match=reason):
        open_slide(tmp_path / "a.tif")


def test_an_aperio_file_that_is_cut_off_says_its_resolution_all_the_same(data, tmp_path):
    whole = data / "slides" / "cmu-1-small-region.svs"
    (tmp_path / "cut.svs").write_bytes(whole.read_bytes()[:1_500_000])
    with open_slide(whole) as slide, open_slide(tmp_path / "cut.svs") as cut:
        assert cut.backend == "plain-tiff"
        assert (cut.mpp, cut.objective_power) == (slide.mpp, slide.objective_power)
