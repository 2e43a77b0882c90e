from __future__ import annotations

import json

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from tiling import InputError, open_slide
from tiling.damage import DamagedCell
from tiling.info import describe

AXES = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
COLOUR = {"name": "c", "type": "channel"}


def attributes(version, axes, scales, **more):
    datasets = [
        {
            "path": str(index),
            "coordinateTransformations": [{"type": "scale", "scale": [1.0] * (len(axes) - 2) + [s, s]}],
        }
        for index, s in enumerate(scales)
    ]
    ome = {"multiscales": [{"axes": axes, "datasets": datasets, "version": version}], **more}
    return {"ome": {**ome, "version": version}} if version == "0.5" else ome


def write(folder, levels, version="0.5", axes=(COLOUR, *AXES), scale=0.25, chunk=64, **options):
    """Arrays of any shape that ends in y, x; each half of the one before."""
    group = zarr.create_group(folder, zarr_format=3 if version == "0.5" else 2)
    for index, pixels in enumerate(levels):
        chunks = (*pixels.shape[:-2], chunk, chunk)
        array = group.create_array(str(index), shape=pixels.shape, dtype=pixels.dtype, chunks=chunks, **options)
        array[:] = pixels
    group.attrs.update(attributes(version, list(axes), [scale * 2**index for index in range(len(levels))]))
    return folder


def planes(pixels):
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def whole(slide, level=0):
    width, height = slide.levels[level][:2]
    return slide.read(x=0, y=0, width=width, height=height, level=level)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_pyramid_has_its_levels_pixels_and_resolution(tmp_path, stained, version):
    levels = [stained(301, 203), stained(150, 101), stained(75, 50)]
    path = write(
        tmp_path / "a.ome.zarr",
        [planes(one)[None, :, None] for one in levels],
        version,
        axes=[{"name": "t", "type": "time"}, COLOUR, {"name": "z", "type": "space"}, *AXES],
    )
    with open_slide(path) as slide:
        assert (slide.backend, slide.mpp, slide.dimensions) == ("ome-zarr", 0.25, (301, 203))
        assert slide.levels == [(301, 203, 1.0), (150, 101, 2.0), (75, 50, 4.0)]
        for index, pixels in enumerate(levels):
            np.testing.assert_array_equal(whole(slide, index), pixels)
        region = slide.read(x=280, y=-10, width=40, height=30)
        np.testing.assert_array_equal(region[10:, :21], levels[0][:20, 280:])
        assert (region[:10] == slide.background).all()
        assert (region[:, 21:] == slide.background).all()
        assert (slide.read(x=400, y=0, width=5, height=5) == slide.background).all()
    facts = describe(path)
    assert facts["format"] == f"OME-Zarr {version}"
    assert facts["bytes"] > 50_000


def test_grey_arrays_shards_and_other_units_are_read(tmp_path, stained):
    grey = stained(150, 130)[..., 0]
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "yx"]
    path = write(tmp_path / "a.zarr", [grey], axes=axes, scale=250.0, chunk=32, shards=(64, 64))
    with open_slide(path) as slide:
        assert slide.mpp == 0.25
        np.testing.assert_array_equal(whole(slide), np.repeat(grey[..., None], 3, axis=2))
    for number, axis in enumerate(({"name": "x"}, {"name": "x", "unit": "furlong"})):
        path = write(tmp_path / f"{number}.zarr", [grey], axes=[AXES[0], axis])
        with open_slide(path) as slide:
            assert slide.mpp is None


def series(folder, version, pictures, *, names=None, listed=None):
    """A folder of several pictures as bioformats2raw makes it."""

    def group(folder, attributes):
        made = zarr.create_group(folder, zarr_format=3 if version == "0.5" else 2)
        made.attrs.update({"ome": attributes} if version == "0.5" else attributes)

    group(folder, {"bioformats2raw.layout": 3})
    for path, pixels in pictures.items():
        write(folder / path, [planes(pixels)], version)
    if names is not None:
        group(folder / "OME", {} if listed is None else {"series": listed})
        images = "".join(f'<Image ID="Image:{number}" Name="{name}"/>' for number, name in enumerate(names))
        schema = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
        (folder / "OME" / "METADATA.ome.xml").write_text(f'<OME xmlns="{schema}">{images}</OME>')
    return folder


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_of_several_series_the_first_is_the_slide(tmp_path, stained, version):
    pixels = stained(90, 80)
    with open_slide(series(tmp_path / "a.zarr", version, {"0": pixels, "1": stained(30, 30)})) as slide:
        np.testing.assert_array_equal(whole(slide), pixels)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("listed", [None, ["0", "1", "2"], ["b", "0", "1"]])
def test_series_that_are_named_as_labels_are_passed_over(tmp_path, stained, version, listed):
    label, pixels = stained(30, 30), stained(90, 80)
    pictures = dict(zip(listed or "012", (label, label, pixels), strict=True))
    names = ["label image", "a.svs macro image", "a.svs"]
    with open_slide(series(tmp_path / "a.zarr", version, pictures, names=names, listed=listed)) as slide:
        np.testing.assert_array_equal(whole(slide), pixels)


def test_an_image_that_names_itself_a_label_is_refused_and_passed_over(tmp_path, stained):
    folder = series(tmp_path / "a.zarr", "0.5", {"0": stained(30, 30), "1": stained(90, 80)})
    document = folder / "0" / "zarr.json"
    document.write_text(document.read_text().replace('"version": "0.5"', '"version": "0.5", "name": "label"', 1))
    with open_slide(folder) as slide:
        assert slide.dimensions == (90, 80)
    (folder / "0").rename(tmp_path / "b.zarr")
    with pytest.raises(InputError, match="has no picture but a scanner's label, macro or thumbnail, by their names"):
        open_slide(tmp_path / "b.zarr")


@pytest.mark.parametrize(
    ("names", "listed", "told"),
    [
        (["macro", "label"], None, "has no picture but a scanner's label, macro or thumbnail"),
        (["a", "b"], ["../b.zarr"], "names a picture outside itself: ../b.zarr"),
        (["a", "b"], "01", "lists its series as '01', which are no names"),
        (["<", "b"], None, "has OME-XML that cannot be read"),
    ],
)
def test_series_that_cannot_be_told_apart_are_refused(tmp_path, stained, names, listed, told):
    folder = series(
        tmp_path / "a.zarr", "0.5", {"0": stained(30, 30), "1": stained(30, 30)}, names=names, listed=listed
    )
    with pytest.raises(InputError, match=rf"cannot open .*a.zarr as a slide: {told}.* \(ome-zarr\)$"):
        open_slide(folder)


def test_a_corrupt_chunk_is_damage_and_the_others_stay_readable(tmp_path, stained):
    pixels = stained(200, 150)
    path = write(tmp_path / "a.zarr", [planes(pixels)])
    chunk = path / "0" / "c" / "0" / "1" / "2"
    chunk.write_bytes(b"\xff" * chunk.stat().st_size)
    with open_slide(path) as slide:
        with pytest.raises(InputError, match=r"cannot read 200 x 150 px .*: cannot decode a chunk of .*: Zstd"):
            whole(slide)
        np.testing.assert_array_equal(slide.read(x=0, y=0, width=200, height=64), pixels[:64])
        region, damage = slide.salvage(x=0, y=0, width=200, height=150)
    assert damage == (DamagedCell(0, 1, 2, 128, 64, 64, 64),)
    np.testing.assert_array_equal(region[128:], pixels[128:])
    np.testing.assert_array_equal(region[:, 192:], pixels[:, 192:])


@pytest.mark.parametrize(
    ("version", "compressor"),
    [
        ("0.4", numcodecs.Blosc()),
        ("0.4", numcodecs.Zlib()),
        ("0.4", numcodecs.LZMA()),
        ("0.5", BloscCodec()),
        ("0.5", GzipCodec()),
        ("0.5", ZstdCodec()),
    ],
)
@pytest.mark.parametrize("kept", [0, 0.001, 0.5, 0.999])
def test_a_chunk_that_ends_early_is_damage_whatever_it_is_compressed_with(tmp_path, version, compressor, kept):
    pixels = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)  # Blosc copies what is noise
    path = write(tmp_path / "a.zarr", [planes(pixels)], version, compressors=compressor)
    chunk = path / "0" / ("0.1.2" if version == "0.4" else "c/0/1/2")
    content = chunk.read_bytes()
    chunk.write_bytes(content[: int(len(content) * kept)])
    with open_slide(path) as slide:
        with pytest.raises(InputError, match="cannot decode a chunk of "):
            slide.read(x=150, y=70, width=20, height=20)
        region, damage = slide.salvage(x=0, y=0, width=200, height=150)
    assert damage == (DamagedCell(0, 1, 2, 128, 64, 64, 64),)
    region[64:128, 128:192] = pixels[64:128, 128:192]
    np.testing.assert_array_equal(region, pixels)


@pytest.mark.parametrize(
    ("shape", "names", "dtype", "told"),
    [
        ((5, 64, 64), "cyx", "u1", "has 5 channels, 1 z planes and 1 timepoints; export one plane as 8-bit RGB or"),
        ((4, 64, 64), "zyx", "u1", "has 1 channels, 4 z planes"),
        ((64, 64), "yx", "u2", "has uint16 pixels, not 8-bit ones"),
        ((64, 64), "yy", "u1", "has the axes y, y, of which a slide has x and y"),
        ((64, 64), "cyx", "u1", "has an array of the shape .64, 64. for the axes c, y, x"),
    ],
)
def test_what_is_no_plane_of_8_bit_rgb_or_grey_is_refused(tmp_path, shape, names, dtype, told):
    axes = [{"name": name} for name in names]
    path = write(tmp_path / "a.zarr", [np.zeros(shape, dtype)], axes=axes)
    with pytest.raises(InputError, match=rf"cannot open .*a.zarr as a slide: {told}.* \(ome-zarr\)$"):
        open_slide(path)


def test_a_zarr_that_is_no_image_or_is_torn_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "features.zarr"
    path.mkdir()
    with pytest.raises(InputError, match=r"is no OME-Zarr image: it holds neither zarr.json nor .zattrs \(ome-zarr\)$"):
        open_slide(path)
    zarr.create_group(path, overwrite=True)
    with pytest.raises(InputError, match="is no OME-Zarr image: its attributes name no multiscales"):
        open_slide(path)
    for ome in ({"multiscales": []}, {"multiscales": 3}, attributes("0.5", [COLOUR, *AXES], [0.5])["ome"]):
        document = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
        (path / "zarr.json").write_text(json.dumps(document))
        with pytest.raises(InputError, match=r"cannot open .*has documents that cannot be read: "):
            open_slide(path)
    (path / "zarr.json").write_text("{")
    with pytest.raises(InputError, match=r"has a zarr.json that cannot be read: "):
        open_slide(path)


def test_no_array_outside_the_folder_is_read(tmp_path, stained):
    write(tmp_path / "b.zarr", [planes(stained(30, 30))])
    path = write(tmp_path / "a.zarr", [planes(stained(30, 30))])
    text = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(text.replace('"path": "0"', '"path": "../b.zarr/0"'))
    with pytest.raises(InputError, match=r"names an array outside itself: \.\./b.zarr/0"):
        open_slide(path)
