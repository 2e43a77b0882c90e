import numpy as np
import pytest
from PIL import Image

from hdgan.lazy import LazyMapping
from hdgan.pictures import ImageFiles, contact_sheet, read_image, row_sheet, write_png
from tiling.errors import InputError


def picture(value, size=20):
    return np.full((size, size, 3), value, np.uint8)


@pytest.fixture
def paths(tmp_path):
    paths = [tmp_path / f"{value}.png" for value in (10, 90, 170)]
    for path in paths:
        write_png(path, picture(int(path.stem)))
    return paths


def test_a_picture_is_read_as_it_was_written(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    write_png(tmp_path / "image.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "image.png"), image)
    for grey in (image[..., 0], image[..., :1]):
        write_png(tmp_path / "grey.png", grey)
        np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(image[..., :1], 3, axis=2))


def test_a_picture_beyond_pillows_limit_is_read(tmp_path, monkeypatch):
    write_png(tmp_path / "large.png", picture(5))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "large.png")
    assert read_image(tmp_path / "large.png").shape == (20, 20, 3)


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    path = tmp_path / "image.png"
    with pytest.raises(InputError, match=r"image\.png"):
        read_image(path)
    path.write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"image\.png is not a readable PNG"):
        read_image(path)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    write_png(path, noise)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"cannot read .*image\.png as an image"):
        read_image(path)


def test_image_files_read_one_image_at_a_time(paths):
    images = ImageFiles(paths)
    assert [int(image[0, 0, 0]) for image in images] == [10, 90, 170]
    assert images.subset([2, 0]).paths == [paths[2], paths[0]]
    assert len(images[1:]) == 2
    paths[1].unlink()
    assert (images[-1] == 170).all()
    with pytest.raises(InputError, match="cannot read"):
        images[1]
    with pytest.raises(IndexError):
        images[3]


def test_a_lazy_mapping_reads_at_every_access_and_only_then():
    read = []
    mapping = LazyMapping([4, 2], lambda index: read.append(index) or index * 10)
    assert list(mapping) == [4, 2]
    assert 4 in mapping
    assert 3 not in mapping
    assert len(mapping) == 2
    assert not read
    assert [mapping[2], mapping[2]] == [20, 20]
    assert read == [2, 2]
    with pytest.raises(KeyError):
        mapping[3]


def test_a_contact_sheet_shows_every_image_and_frames_the_selected():
    images = [np.full((20, 20, 3), value, np.uint8) for value in (10, 90, 170)]
    sheet = contact_sheet(images, columns=2, captions=["a", "b", "c"], selected={1}, size=16)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * 42, 2 * 28, 3)
    assert (sheet[14, 14] == 10).all()
    assert (sheet[14, 28 + 14] == 90).all()
    assert (sheet[42 + 14, 14] == 170).all()
    assert tuple(sheet[3, 28 + 3]) == (20, 120, 60)
    assert tuple(sheet[3, 3]) == (255, 255, 255)
    assert tuple(sheet[5, 14]) == tuple(sheet[14, 5]) == (208, 208, 208)
    grey = [images[0][..., 0], images[1][..., :1], images[2]]
    np.testing.assert_array_equal(
        contact_sheet(grey, columns=2, captions=["a", "b", "c"], selected={1}, size=16), sheet
    )
    with pytest.raises(InputError, match="3 and 1"):
        contact_sheet(images, captions=["a"])


def test_captions_do_not_run_into_each_other():
    sheet = contact_sheet([picture(10)] * 2, captions=["pneumonia with effusion", ""], size=64)
    below = (sheet[64 + 12 :] < 255).any(axis=(0, 2))
    assert below[40:70].any()
    assert not below[76:].any()


def test_a_contact_sheet_of_files_is_that_of_their_images(paths):
    files = ImageFiles(paths)
    np.testing.assert_array_equal(contact_sheet(files, size=16), contact_sheet(list(files), size=16))


def test_each_class_has_a_row_of_a_sheet_however_many_images_it_has():
    black, grey = np.zeros((20, 20, 3), np.uint8), np.full((20, 20), 90, np.uint8)
    sheet = row_sheet([([black], ["0 a"]), ([grey, black, grey], ["0 b", "1 b", "2 b"])], size=20)
    assert sheet.shape == (2 * 90, 3 * 76, 3)
    assert [int(sheet[row * 90 + 38, column * 76 + 38, 0]) for row in range(2) for column in range(3)] == [
        0, 255, 255, 90, 0, 90
    ]  # fmt: skip
    rows = [([black, grey], ["a", "a"]), ([grey, black], ["b", "b"])]
    whole = contact_sheet([black, grey, grey, black], columns=2, captions=["a", "a", "b", "b"], size=64)
    np.testing.assert_array_equal(row_sheet(rows, size=20), whole)
