from __future__ import annotations

import numpy as np
import pytest
import tifffile

from tiling import InputError, open_slide

SCALE = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm"}


def write(path, levels, *, axes="YXS", metadata=SCALE, **options):
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(levels[0], subifds=len(levels) - 1, metadata={"axes": axes, **metadata}, **options)
        for pixels in levels[1:]:
            file.write(pixels, subfiletype=1, **options)
    return path


def rewrite(path, old, new):
    """Put other bytes of the same length into the OME-XML."""
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))


def whole(slide, level=0):
    width, height = slide.levels[level][:2]
    return slide.read(x=0, y=0, width=width, height=height, level=level)


@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, {"rowsperstrip": 40}])
@pytest.mark.parametrize("compression", [None, "jpeg", "zlib", "jpeg2000", "webp", "zstd"])
def test_a_pyramid_has_its_levels_pixels_and_resolution(tmp_path, stained, compression, layout):
    levels = [stained(301, 203), stained(150, 101), stained(75, 50)]
    path = write(tmp_path / "a.ome.tif", levels, compression=compression, photometric="rgb", **layout)
    with open_slide(path) as slide, tifffile.TiffFile(path) as file:
        assert (slide.backend, slide.mpp, len(slide.levels)) == ("ome-tiff", 0.25, 3)
        assert slide.levels[2] == (75, 50, pytest.approx(4, rel=0.02))
        for index, level in enumerate(file.series[0].levels):
            np.testing.assert_array_equal(whole(slide, index), level.asarray())


def test_planes_and_grey_pictures_are_read(tmp_path, stained):
    pixels = stained(120, 90)
    planes, grey = np.ascontiguousarray(np.moveaxis(pixels, -1, 0)), pixels[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=2)
    for name, data, axes, options, wanted in (
        ("separate", planes, "CYX", {"photometric": "rgb", "planarconfig": "separate"}, pixels),
        ("pages", planes, "CYX", {"photometric": "minisblack"}, pixels),
        ("grey", grey, "YX", {}, expected),
        ("rgba", np.dstack([pixels, np.full_like(grey, 255)]), "YXS", {"photometric": "rgb"}, pixels),
    ):
        path = write(tmp_path / f"{name}.ome.tif", [data], axes=axes, tile=(64, 64), **options)
        with open_slide(path) as slide:
            assert (slide.backend, slide.dimensions) == ("ome-tiff", (120, 90))
            np.testing.assert_array_equal(whole(slide), wanted)


@pytest.mark.parametrize(
    ("shape", "axes", "dtype", "told"),
    [
        ((5, 64, 64), "CYX", np.uint8, "5 channels, 1 z planes and 1 timepoints of uint8"),
        ((64, 64, 3), "YXS", np.uint16, "of uint16 pixels"),
        ((4, 64, 64), "ZYX", np.uint8, "4 z planes"),
        ((2, 64, 64), "TYX", np.uint8, "2 timepoints"),
    ],
)
def test_what_is_no_plane_of_8_bit_rgb_or_grey_is_refused_by_all(tmp_path, shape, axes, dtype, told):
    photometric = "rgb" if axes == "YXS" else "minisblack"
    pixels = np.zeros(shape, dtype)
    path = write(tmp_path / "a.ome.tif", [pixels], axes=axes, tile=(64, 64), photometric=photometric)
    with pytest.raises(InputError, match=rf"{told}.*; export one plane as 8-bit RGB or grey \(ome-tiff\)$"):
        open_slide(path)


def test_sizes_of_pixels_are_taken_in_their_unit_or_from_the_tags(tmp_path, stained):
    options = {"photometric": "rgb", "resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    for size, unit, mpp in ((250, "nm", 0.25), (2.5e-4, "mm", 0.25), (0.25, "pixel", 0.5), (0.0, "µm", 0.5)):
        metadata = {f"PhysicalSize{axis}": size for axis in "XY"} | {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
        path = write(tmp_path / "a.ome.tif", [stained(60, 50)], metadata=metadata, **options)
        with open_slide(path) as slide:
            assert slide.mpp == pytest.approx(mpp)


@pytest.mark.parametrize("channels", ["", '<Channel ID="c"/>', '<Channel ID="r"/><Channel ID="g"/><Channel ID="b"/>'])
@pytest.mark.parametrize(("prefix", "behind"), [("", ""), ("ome:", "\n<!-- written by hand -->\n")])
def test_rgb_pages_are_known_where_the_xml_does_not_count_their_samples(tmp_path, stained, channels, prefix, behind):
    pixels, path = stained(120, 90), tmp_path / "a.ome.tif"
    size = 'SizeX="120" SizeY="90" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="0.25"'
    body = f'<Image ID="I:0"><Pixels ID="P:0" Type="uint8" {size}>{channels}</Pixels></Image>'
    namespace = f'xmlns{":ome" if prefix else ""}="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    text = f"<{prefix}OME {namespace}>{body}</{prefix}OME>{behind}"
    tifffile.imwrite(path, pixels, description=text, metadata=None, photometric="rgb", tile=(64, 64))
    with open_slide(path) as slide:
        assert (slide.backend, slide.mpp) == ("ome-tiff", 0.25)
        np.testing.assert_array_equal(whole(slide), pixels)


def test_channels_of_different_numbers_of_levels_are_refused(tmp_path, stained):
    pixels, path = stained(120, 90), tmp_path / "a.ome.tif"
    size = 'SizeX="120" SizeY="90" SizeC="3" SizeZ="1" SizeT="1"'
    text = f'<OME><Image ID="I:0"><Pixels ID="P:0" Type="uint8" {size}></Pixels></Image></OME>'
    with tifffile.TiffWriter(path) as file:
        for number in range(3):
            described = {"description": text if number == 0 else None, "metadata": None}
            file.write(pixels[..., number], subifds=int(number < 2), **described)
            if number < 2:
                file.write(pixels[::2, ::2, number], subfiletype=1, metadata=None)
    with pytest.raises(InputError, match="has channels of different numbers of levels; export it again"):
        open_slide(path)


def test_the_objectives_power_is_that_of_the_one_the_picture_names(tmp_path, stained):
    xml = tifffile.OmeXml()
    xml.addimage("uint8", (50, 60, 3), (1, 1, 1, 50, 60, 3), axes="YXS", photometric="rgb")
    text = xml.tostring(declaration=True).replace('encoding="UTF-8"', 'encoding="ascii"')
    objectives = "".join(f'<Objective ID="O:{power}" NominalMagnification="{power}"/>' for power in (4, 40))
    text = text.replace("<Image ", f'<Instrument ID="I:0">{objectives}</Instrument><Image ', 1)
    text = text.replace("<Pixels ", '<ObjectiveSettings ID="O:40"/><Pixels ', 1)
    tifffile.imwrite(tmp_path / "a.ome.tif", stained(60, 50), description=text, metadata=None, photometric="rgb")
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert (slide.backend, slide.objective_power, slide.mpp) == ("ome-tiff", 40, None)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b'SizeX="120"', b'SizeX="12a"', "has OME-XML whose SizeX is 12a, not a number"),
        (b'SizeX="120"', b'SizeX="121"', "has OME-XML of 121 x 90 px on a page of 120 x 90 px"),
        (b'<TiffData IFD="0"', b'<TiffData IFD="9"', "has OME-XML that names page 9, and 1 pages"),
        (b"<Pixels ", b"<Pixelz ", "has OME-XML that cannot be read: mismatched tag"),
    ],
)
def test_damaged_xml_is_refused_with_the_reason(tmp_path, stained, old, new, told):
    path = write(tmp_path / "a.ome.tif", [stained(120, 90)], photometric="rgb")
    rewrite(path, old, new)
    with pytest.raises(InputError, match=rf"cannot open .*a.ome.tif as a slide: {told}"):
        open_slide(path)


def test_entities_of_xml_are_not_expanded(tmp_path, stained):
    text = '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a SYSTEM "file:///etc/passwd">]><OME>&a;</OME>'
    tifffile.imwrite(tmp_path / "a.ome.tif", stained(60, 50), description=text, metadata=None, photometric="rgb")
    with pytest.raises(InputError, match=r"has OME-XML that cannot be read: .*Entit"):
        open_slide(tmp_path / "a.ome.tif")


def pictures(path, images):
    """A file of several pictures, (name, pixels) each."""
    with tifffile.TiffWriter(path, ome=True) as file:
        for name, pixels in images:
            about = {"axes": "YXS", "Name": name, "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
            file.write(pixels, metadata=about, photometric="rgb", tile=(64, 64))
    return path


@pytest.mark.parametrize("label", ["label image", "macro image", "Macro mask image", "Overview", "a.svs [Label]"])
def test_labels_and_macros_are_passed_over_wherever_they_stand(tmp_path, stained, label):
    pixels, other = stained(120, 90), stained(60, 200)
    images = [(label, other), ("thumbnail", other), ("a.svs", pixels), ("label image", other)]
    with open_slide(pictures(tmp_path / "a.ome.tif", images)) as slide:
        assert (slide.backend, slide.dimensions, slide.mpp) == ("ome-tiff", (120, 90), 0.25)
        np.testing.assert_array_equal(whole(slide), pixels)


def test_a_file_of_labels_alone_is_refused(tmp_path, stained):
    path = pictures(tmp_path / "a.ome.tif", [("label image", stained(60, 50)), ("macro", stained(60, 50))])
    with pytest.raises(InputError, match=r"has no picture but a scanner's label, macro or thumbnail, .* \(ome-tiff\)$"):
        open_slide(path)


def test_a_picture_behind_a_label_must_say_on_which_page_it_is(tmp_path, stained):
    path = pictures(tmp_path / "a.ome.tif", [("label image", stained(120, 90)), ("a.svs", stained(120, 90))])
    rewrite(path, b'IFD="1"', b'ifd="1"')
    with pytest.raises(InputError, match="has OME-XML that does not say which pages are of its picture, and which of"):
        open_slide(path)


def test_a_corrupt_segment_is_named_and_the_others_stay_readable(tmp_path, stained):
    pixels = stained(256, 128)
    path = write(tmp_path / "a.ome.tif", [pixels], tile=(64, 64), compression="zlib", photometric="rgb")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[5]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 50)
    with open_slide(path) as slide:
        with pytest.raises(InputError, match=r"cannot decode the cell at row 1 column 1 of the file's grid: "):
            whole(slide)
        np.testing.assert_array_equal(slide.read(x=0, y=0, width=256, height=64), pixels[:64])
        region, damage = slide.salvage(x=0, y=0, width=256, height=128)
        assert [(cell.row, cell.column, cell.x, cell.y) for cell in damage] == [(1, 1, 64, 64)]
        np.testing.assert_array_equal(region[64:, 128:], pixels[64:, 128:])
