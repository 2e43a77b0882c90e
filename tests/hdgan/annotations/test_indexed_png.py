import numpy as np
import pytest
from PIL import Image

from hdgan.annotations import encode_indexed_png, read_mask
from hdgan.labels import KIDNEY, UNLABELLED, ClassList, LabelClass
from tiling.errors import InputError

LABELS = np.array([[0, 1, 2, 255], [3, 4, 4, 0], [255, 255, 1, 1]], np.uint8)


def read(path, shape=LABELS.shape, classes=KIDNEY):
    return read_mask(path, shape=shape, classes=classes)


def test_a_label_map_equals_itself_after_a_round_trip_and_shows_the_class_colours(tmp_path):
    path = tmp_path / "mask.PNG"
    path.write_bytes(encode_indexed_png(LABELS, KIDNEY))
    np.testing.assert_array_equal(read(path), LABELS)
    np.testing.assert_array_equal(np.array(Image.open(path).convert("RGB")), KIDNEY.coloured(LABELS))


def test_grey_indices_are_taken_as_they_are(tmp_path):
    Image.fromarray(LABELS).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read(tmp_path / "mask.png"), LABELS)


def test_a_picture_in_the_class_colours_is_understood(tmp_path):
    Image.fromarray(KIDNEY.coloured(LABELS)).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read(tmp_path / "mask.png"), LABELS)


def test_transparent_pixels_are_unlabelled_whatever_their_colour(tmp_path):
    rgba = np.dstack([KIDNEY.coloured(LABELS), np.where(LABELS == UNLABELLED, 0, 255).astype(np.uint8)])
    rgba[LABELS == UNLABELLED, :3] = (1, 2, 3)
    Image.fromarray(rgba).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read(tmp_path / "mask.png"), LABELS)


def test_a_palette_that_an_editor_reordered_counts_by_its_colours(tmp_path):
    picture = Image.fromarray(KIDNEY.coloured(LABELS)).convert("P", palette=Image.Palette.ADAPTIVE, colors=6)
    assert not np.array_equal(np.array(picture), LABELS)
    picture.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read(tmp_path / "mask.png"), LABELS)


def test_a_palette_of_other_colours_counts_by_its_indices(tmp_path):
    picture = Image.fromarray(LABELS)
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    picture.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read(tmp_path / "mask.png"), LABELS)


def test_a_mask_larger_than_pillows_limit_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # rather than a mask of 179 million pixels
    labels = np.zeros((50, 60), np.uint8)
    path = tmp_path / "mask.png"
    path.write_bytes(encode_indexed_png(labels, KIDNEY))
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    np.testing.assert_array_equal(read(path, labels.shape), labels)


def test_the_wrong_size_is_refused_with_both_sizes(tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(encode_indexed_png(LABELS, KIDNEY))
    with pytest.raises(InputError, match=r"mask.png is 4 x 3 px .* 8 x 8 px"):
        read(path, (8, 8))


def test_unknown_indices_and_colours_are_refused(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[0, 5, 77]], np.uint8)).save(path)
    allowed = r"allowed are 0 to 4 \(whitespace, .*, artery\), and 255 for unlabelled: relabel .*--classes"
    with pytest.raises(InputError, match=rf"mask.png holds 5, 77 as class index; {allowed}"):
        read(path, (1, 3))
    Image.fromarray(np.arange(255, dtype=np.uint8)[None]).save(path)
    with pytest.raises(InputError, match=r"mask.png holds 5, 6, 7, and 247 more as class index"):
        read(path, (1, 255))
    Image.fromarray(np.full((2, 2, 3), (9, 8, 7), np.uint8)).save(path)
    with pytest.raises(InputError, match=r"\(9, 8, 7\).*glomerulus"):
        read(path, (2, 2))


def test_classes_of_one_colour_cannot_be_read_from_colours(tmp_path):
    twins = ClassList((LabelClass("a", (1, 1, 1)), LabelClass("b", (1, 1, 1))))
    path = tmp_path / "mask.png"
    Image.fromarray(np.full((2, 2, 3), 1, np.uint8)).save(path)
    with pytest.raises(InputError, match="different colours"):
        read(path, (2, 2), twins)
    path.write_bytes(encode_indexed_png(np.array([[0, 1]], np.uint8), twins))
    np.testing.assert_array_equal(read(path, (1, 2), twins), [[0, 1]])


def test_other_kinds_of_png_and_broken_files_are_refused_by_name(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.zeros((3, 4), np.uint16)).save(path)
    with pytest.raises(InputError, match=r"mask.png is a 16-bit PNG"):
        read(path)
    Image.fromarray(np.zeros((3, 4), bool)).save(path)
    with pytest.raises(InputError, match=r"1-bit PNG"):
        read(path)
    path.write_bytes(b"not a picture at all, but long enough to hold a header")
    with pytest.raises(InputError, match=r"mask.png is not a readable PNG"):
        read(path)
    whole = encode_indexed_png(np.random.default_rng(0).integers(0, 5, (64, 64)).astype(np.uint8), KIDNEY)
    path.write_bytes(whole[:1500])
    with pytest.raises(InputError, match=r"mask.png"):
        read(path, (64, 64))
    with pytest.raises(InputError, match=r"absent.png"):
        read(tmp_path / "absent.png")


def test_an_unknown_suffix_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(InputError, match=r"mask.docx.*\.png.*\.geojson"):
        read(tmp_path / "mask.docx")
