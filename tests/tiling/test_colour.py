from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from damaged import CHANGES, jpeg_slide, spoil
from PIL import Image, ImageCms

from tiling import InputError, open_slide
from tiling.choices import Icc
from tiling.colour import ToSrgb

# A display of wider primaries and gamma 2.2 (Adobe RGB 1998), and sRGB, as XYZ of ICC's D50.
PRIMARIES = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
GAMMA = 2.2


def profile(space=b"RGB "):
    """A display's profile of three primaries and a gamma (ICC.1:2001, version 2)."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(GAMMA * 256), 0)
    name = b"a display\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text\0\0\0\0nobody's\0",
        b"wtpt": xyz((0.9642, 1.0, 0.8249)),
        **{channel + b"XYZ": xyz(PRIMARIES[:, i]) for i, channel in enumerate((b"r", b"g", b"b"))},
        **{channel + b"TRC": curve for channel in (b"r", b"g", b"b")},
    }
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += tag + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), b"none", 0x02100000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header + bytes(128 - len(header)) + table + body


def as_srgb(pixels):
    """What these pixels are in sRGB (IEC 61966-2-1), float."""
    linear = (pixels / 255.0) ** GAMMA @ (np.linalg.inv(SRGB) @ PRIMARIES).T
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def colours(width=256, height=192):
    """Smooth, and within sRGB for the most part."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([100 + x / 4, 80 + y / 3, 180 - x / 4], -1).astype(np.uint8)


def saved(path, pixels, icc):
    if path.suffix == ".tiff":
        return jpeg_slide(path, [pixels], iccprofile=icc)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb", iccprofile=icc)
    else:
        Image.fromarray(pixels).save(path, icc_profile=icc)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.tiff"])
def test_every_read_is_converted_to_srgb_where_asked_for(tmp_path, name):
    path, whole = saved(tmp_path / name, colours(), profile()), {"x": 0, "y": 0, "width": 256, "height": 192}
    with open_slide(path) as slide:
        as_it_is = slide.read(**whole)
        assert not slide.icc_applied
    with open_slide(path, icc="srgb") as slide:
        assert slide.icc_applied
        assert slide.backend == ({"a.tiff": "tiff", "a.tif": "plain-tiff"}.get(name, "image"))
        converted = slide.read(**whole)
        assert np.abs(converted - as_srgb(as_it_is)).max() < 2
        assert np.abs(converted.astype(int) - as_it_is).max() > 20
        np.testing.assert_array_equal(slide.salvage(**whole)[0], converted)
        np.testing.assert_array_equal(slide.thumbnail(256), converted)


def test_what_is_outside_or_damaged_has_the_background_as_it_is(tmp_path):
    path = saved(tmp_path / "a.tiff", np.full((256, 256, 3), (30, 140, 140), np.uint8), profile())
    spoil(path, 0, 1, CHANGES["all zeros"])
    with open_slide(path, icc="srgb") as slide:
        assert slide.background == (255, 255, 255)
        region, damage = slide.salvage(x=-10, y=0, width=266, height=128)
        assert len(damage) == 1
        assert (region[:, :10] == 255).all()
        assert (region[:, 138:] == 255).all()
        assert (region[:, 10:138] != 255).any(-1).all()


def test_transparency_stays_and_only_colours_are_converted(tmp_path):
    pixels = np.full((4, 4, 4), (100, 120, 140, 255), np.uint8)
    pixels[0, 0, 3] = 0
    converted = ToSrgb(profile())(pixels)
    np.testing.assert_array_equal(converted[..., 3], pixels[..., 3])
    assert np.abs(converted[..., :3] - as_srgb(pixels[..., :3])).max() < 2
    assert (pixels[1, 1] == (100, 120, 140, 255)).all()


def test_a_profile_of_srgb_changes_nothing_and_none_is_no_fault(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc, applied in ((srgb, True), (None, False)):
        path = saved(tmp_path / "a.png", colours(), icc)
        with open_slide(path, icc="srgb") as slide:
            assert (slide.icc, slide.icc_applied) == ("srgb", applied)
            difference = slide.read(x=0, y=0, width=256, height=192).astype(int) - colours()
            assert np.abs(difference).max() <= applied


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no profile", "cannot open profile"),
        (profile()[:200], "cannot open profile"),
        (profile().replace(b"rXYZ", b"none", 1), "cannot build transform"),
        (profile(b"GRAY"), "is for GRAY pixels, not RGB"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused_with_the_way_out(tmp_path, content, reason):
    path = saved(tmp_path / "a.png", colours(), content)
    with pytest.raises(InputError, match=rf"a.png has a colour profile that cannot be used \({reason}.*use icc none"):
        open_slide(path, icc="srgb")
    open_slide(path, icc="none").close()


def test_treatments_of_profiles_are_named(tmp_path):
    with open_slide(saved(tmp_path / "a.png", colours(), profile()), icc="srgb") as slide:
        assert slide.icc is Icc.SRGB
    with pytest.raises(InputError, match="icc must be none, srgb, not 'adobe'"):
        open_slide("a.png", icc="adobe")


def test_threads_share_a_converter():
    convert = ToSrgb(profile())
    parts = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(8)]
    expected = [convert(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        for given, right in zip(pool.map(convert, parts * 4), expected * 4, strict=True):
            np.testing.assert_array_equal(given, right)


def test_real_slides_with_and_without_a_profile(data):
    for name, applied in (("tcga-cr-7395-01a-01-ts1.svs", True), ("cmu-1-small-region.svs", False)):
        place = {"x": 1000, "y": 1000, "width": 64, "height": 64}
        with open_slide(data / "slides" / name, icc="srgb") as slide, open_slide(data / "slides" / name) as plain:
            assert slide.icc_applied is applied
            # the one that has a profile has sRGB's own
            assert np.abs(slide.read(**place).astype(int) - plain.read(**place)).max() <= applied
