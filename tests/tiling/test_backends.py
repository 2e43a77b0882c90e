from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from tiling import InputError, open_slide
from tiling.backends.base import credible_mpp


def whole(path):
    with open_slide(path) as slide:
        w, h = slide.dimensions
        return slide.read(x=0, y=0, width=w, height=h)


def test_grey_pictures_become_rgb(tmp_path, stained, save):
    grey = stained(40, 30)[..., 1]
    expected = np.repeat(grey[..., None], 3, axis=2)
    tifffile.imwrite(tmp_path / "grey.tif", grey)
    tifffile.imwrite(tmp_path / "white-is-zero.tif", 255 - grey, photometric="miniswhite")
    np.testing.assert_array_equal(whole(save(tmp_path / "grey.png", grey)), expected)
    np.testing.assert_array_equal(whole(tmp_path / "grey.tif"), expected)
    np.testing.assert_array_equal(whole(tmp_path / "white-is-zero.tif"), expected)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_transparency_is_laid_over_white(tmp_path, suffix, save):
    pixels = np.full((20, 20, 4), (200, 100, 0, 255), np.uint8)
    pixels[:10, :, 3] = 0
    pixels[10:15, :, 3] = 128
    path = tmp_path / f"alpha.{suffix}"
    if suffix == "png":
        save(path, pixels)
    else:
        tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unassalpha"])
    read = whole(path)
    assert (read[:10] == 255).all()
    assert (read[10:15] == (227, 177, 127)).all()
    assert (read[15:] == (200, 100, 0)).all()


def test_palettes_planes_and_strips_of_tiff_are_understood(tmp_path, stained):
    pixels = stained(50, 40)
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(pixels, -1, 0), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "strips.tif", pixels, rowsperstrip=7, compression="lzw")
    table = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "palette.tif", pixels[..., 0], photometric="palette", colormap=table << 8)
    np.testing.assert_array_equal(whole(tmp_path / "planes.tif"), pixels)
    np.testing.assert_array_equal(whole(tmp_path / "strips.tif"), pixels)
    np.testing.assert_array_equal(whole(tmp_path / "palette.tif"), table.T[pixels[..., 0]])


def test_cells_of_a_pathology_data_set_open(data):
    with open_slide(data / "classification" / "TUM-AACHEHDV.tif") as slide:
        assert (slide.backend, slide.dimensions) == ("plain-tiff", (224, 224))


@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_16_bit_tiffs_are_refused_whichever_backend_they_fall_to(tmp_path, tile, stained):
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, stained(100, 90).astype(np.uint16) * 16, tile=tile, photometric="rgb")
    with pytest.raises(InputError, match=r"deep.tif as a slide: .*has uint16 pixels, not 8-bit ones; convert it"):
        open_slide(path)


def test_16_bit_pngs_are_refused(tmp_path, stained, save):
    path = tmp_path / "deep.png"
    Image.fromarray(stained(20, 20)[..., 0].astype(np.uint16) * 16).save(path)
    with pytest.raises(InputError, match="has uint16 pixels"):
        open_slide(path)


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_truncated_pictures_are_refused_and_not_filled_with_grey(tmp_path, suffix, kept, save):
    path = save(tmp_path / f"cut.{suffix}", np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=r"cannot open .*cut") as caught:
        open_slide(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "jpeg", "jpeg2000", "zstd", "webp"])
def test_damaged_tiffs_of_every_compression_are_an_input_error_or_read(tmp_path, stained, compression):
    path = tmp_path / "damaged.tif"
    tifffile.imwrite(path, stained(80, 60), compression=compression, photometric="rgb")
    content, random, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(40):
        damaged = bytearray(content)
        for at in random.integers(8, min(400, len(content)), 8):
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        try:
            open_slide(path).close()
        except InputError as error:
            refused += "cannot open" in str(error)
    assert refused > 10


def test_an_empty_file_and_text_are_refused(tmp_path):
    for content in (b"", b"a,b\n1,2\n"):
        (tmp_path / "table.png").write_bytes(content)
        with pytest.raises(InputError, match="neither PNG, JPEG nor TIFF"):
            open_slide(tmp_path / "table.png")


def test_the_kind_of_a_file_is_told_by_its_content_and_not_by_its_name(tmp_path, stained, save):
    path = save(tmp_path / "really-a.png", stained(30, 20)).rename(tmp_path / "misnamed.jpg")
    np.testing.assert_array_equal(whole(path), stained(30, 20))


def test_a_tiffs_resolution_is_taken_where_credible(tmp_path, stained):
    for dots, unit, mpp in ((20000, "CENTIMETER", 0.5), (101600, "INCH", 0.25), (72, "INCH", None), (1, None, None)):
        path = tmp_path / f"{dots}.tif"
        tifffile.imwrite(path, stained(30, 20), resolution=(dots, dots), resolutionunit=unit)
        with open_slide(path) as slide:
            assert slide.mpp == pytest.approx(mpp)


def test_only_square_pixels_of_a_microscopes_size_are_credible():
    assert credible_mpp(0.25, 0.251) == pytest.approx(0.2505)
    for pair in ((0.25, 0.5), (0.0, 0.0), (352.8, 352.8), (float("nan"), 0.5), (None, 0.5)):
        assert credible_mpp(*pair) is None


def test_pictures_too_large_to_hold_are_refused_before_they_are_decoded(png):
    path = png()
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 30_000, 20_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    expected = "30000 x 20000 px, more than the 100 megapixels .* convert it into a pyramidal TIFF.* vips tiffsave"
    with pytest.raises(InputError, match=expected):
        open_slide(path)
