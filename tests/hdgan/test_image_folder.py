from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image

from hdgan.image_folder import ImageFolder
from tiling.errors import InputError


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def test_images_of_all_formats_are_read_in_the_order_of_their_names(tmp_path, pixels):
    save(tmp_path / "b" / "2.PNG", pixels)
    save(tmp_path / "b" / "10.tif", pixels, compression="tiff_lzw")
    save(tmp_path / "a.jpeg", np.full_like(pixels, 90))
    save(tmp_path / ".hidden" / "c.png", pixels)
    save(tmp_path / "._a.jpeg.png", pixels)
    (tmp_path / "notes.txt").write_text("no image")
    images = ImageFolder(tmp_path)
    assert images.names == ("a.jpeg", "b/10.tif", "b/2.PNG")
    assert [images.header(i).problem for i in range(3)] == [""] * 3
    np.testing.assert_array_equal(images.read(1), pixels)
    np.testing.assert_array_equal(images.read(2), pixels)
    assert (images.read(0).shape, images.read(0)[0, 0].tolist()) == ((24, 32, 3), [90, 90, 90])
    assert images.labels("folder") == [None, "b", "b"]
    again = pickle.loads(pickle.dumps(images))
    np.testing.assert_array_equal(again.read(1), pixels)


def test_what_changes_no_colour_is_converted(tmp_path, pixels):
    grey = pixels[..., 0]
    save(tmp_path / "1-grey.png", grey)
    Image.fromarray(grey).convert("P").save(tmp_path / "2-palette.png")
    save(tmp_path / "3-opaque.png", np.dstack([pixels, np.full((24, 32), 255, np.uint8)]))
    images = ImageFolder(tmp_path)
    assert [images.header(i).problem for i in range(3)] == [""] * 3
    for index in (0, 1):
        np.testing.assert_array_equal(images.read(index), grey[..., None].repeat(3, axis=2))
    np.testing.assert_array_equal(images.read(2), pixels)


def test_what_is_no_image_to_train_on_is_told_with_the_reason(tmp_path, pixels):
    deep = pixels.astype(np.uint16) * 257
    Image.fromarray(deep[..., 0]).save(tmp_path / "deep-grey.png")
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    tifffile.imwrite(tmp_path / "float.tif", pixels[..., 0].astype(np.float32))
    tifffile.imwrite(tmp_path / "several.tif", np.stack([pixels] * 3), photometric="rgb")
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(pixels[..., 0] > 99).save(tmp_path / "mask.png")
    seen_through = np.dstack([pixels, np.full((24, 32), 255, np.uint8)])
    seen_through[3, 4, 3] = 254
    save(tmp_path / "transparent.png", seen_through)
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "nothing.jpg").touch()
    whole = save(tmp_path / "cut-off.png", pixels).read_bytes()
    (tmp_path / "cut-off.png").write_bytes(whole[:20])
    images = ImageFolder(tmp_path)
    problems = {name: images.header(index).problem for index, name in enumerate(images.names)}
    for name in ("deep-grey.png", "deep.tif", "float.tif"):
        assert "more than 8 bits a channel" in problems.pop(name)
    assert "neither RGB nor grey" in problems.pop("cmyk.jpg")
    assert "as masks are" in problems.pop("mask.png")
    assert "3 pictures in one file" in problems.pop("several.tif")
    assert "transparent in places" in problems.pop("transparent.png")
    assert problems.pop("text.png") == problems.pop("nothing.jpg") == "neither PNG, JPEG nor TIFF"
    assert "cannot be read" in problems.pop("cut-off.png")
    assert problems == {}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.jpg", {"quality": 95}),
        ("a.jpg", {"progressive": True}),
        ("a.tif", {}),
    ],
)
def test_an_image_whose_end_is_missing_is_told_before_it_is_read(tmp_path, pixels, name, options):
    path = save(tmp_path / name, pixels, **options)
    whole = path.read_bytes()
    images = ImageFolder(tmp_path)
    for bytes_missing in (1, 12, 300):
        path.write_bytes(whole[:-bytes_missing])
        assert images.header(0).problem == "cut off, as the end of the file is missing"
    path.write_bytes(whole + b"\0 what a camera adds" * 9)
    assert images.header(0).problem == ""
    assert images.read(0).shape == (24, 32, 3)


def test_the_end_of_a_thumbnail_is_not_that_of_the_photograph(tmp_path, pixels):
    thumbnail = save(tmp_path / "thumbnail.jpg", pixels[:8, :8]).read_bytes()
    exif = b"Exif\0\0" + thumbnail
    path = save(tmp_path / "images" / "a.jpg", pixels)
    whole = path.read_bytes()
    path.write_bytes(whole[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + whole[2:-2])
    assert ImageFolder(tmp_path / "images").header(0).problem.startswith("cut off")


def test_an_image_that_is_damaged_further_on_is_named_when_it_is_read(tmp_path, pixels):
    path = save(tmp_path / "a.png", pixels)
    whole = path.read_bytes()
    path.write_bytes(whole[:-400] + b"\0" * 380 + whole[-20:])
    images = ImageFolder(tmp_path)
    assert images.header(0).problem == ""
    with pytest.raises(InputError, match=r"a\.png: cannot be read \(.*\); put a whole copy in its place, or remove it"):
        images.read(0)


def test_labels_come_from_a_table_and_folds_from_it_or_from_the_names(tmp_path, pixels):
    for index in range(40):
        save(tmp_path / "images" / f"{index}.png", pixels[:1, :1])
    images = ImageFolder(tmp_path / "images")
    assert set(images.folds()) == set(range(5))
    before = dict(zip(images.names, images.folds(), strict=True))
    save(tmp_path / "images" / "more.png", pixels[:1, :1])
    more = ImageFolder(tmp_path / "images")
    assert before.items() <= dict(zip(more.names, more.folds(), strict=True)).items()

    table = tmp_path / "labels.csv"
    table.write_text("image,stain,Patient\n" + "".join(f"{name},HE,{name[0]}\n" for name in more.names))
    by_patient = ImageFolder(tmp_path / "images", labels=table)
    assert set(by_patient.labels("stain")) == {"HE"}
    of = {}
    for patient, fold in zip(by_patient.labels("patient"), by_patient.folds(), strict=True):
        assert of.setdefault(patient, fold) == fold
    table.write_text("image,fold\n" + "".join(f"{i},{i % 3}\n" for i in range(40)))
    with pytest.raises(InputError, match="column `fold`, but say nothing there for 1 of 41"):
        ImageFolder(tmp_path / "images", labels=table).folds()
    table.write_text(table.read_text() + "more,x\n")
    with pytest.raises(InputError, match=r"folds are whole numbers .* not 'x'"):
        ImageFolder(tmp_path / "images", labels=table).folds()
    table.write_text(table.read_text().replace("more,x", "more,2"))
    assert ImageFolder(tmp_path / "images", labels=table).folds()[-1] == 2
    with pytest.raises(InputError, match="no label 'stain'; there are: folder, fold"):
        ImageFolder(tmp_path / "images", labels=table).labels("stain")


def test_the_fingerprint_follows_names_and_sizes(tmp_path, pixels):
    save(tmp_path / "a.png", pixels)
    first = ImageFolder(tmp_path).fingerprint
    assert ImageFolder(tmp_path).fingerprint == first
    save(tmp_path / "a.png", pixels[:12])
    second = ImageFolder(tmp_path).fingerprint
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    assert len({first, second, ImageFolder(tmp_path).fingerprint}) == 3


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder of images at"):
        ImageFolder(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no image"):
        ImageFolder(tmp_path)


def test_nuclei_are_images_and_their_instance_labels_are_not(data, tmp_path):
    for path in sorted((data / "nuclei").glob("0*.png")):
        shutil.copy(path, tmp_path)
    images = ImageFolder(tmp_path)
    for index, name in enumerate(images.names):
        assert bool(images.header(index).problem) == name.endswith("_label.png")
        assert images.header(index).problem or images.read(index).shape == (256, 320, 3)
