import numpy as np
import pytest
from PIL import Image

from hdgan.annotations import encode_indexed_png, import_masks, load_masks, read_mask, read_object_masks
from hdgan.labels import KIDNEY, UNLABELLED
from tiling.errors import InputError

SHAPE = (24, 32)


def save(folder, name, mask):
    folder.mkdir(exist_ok=True)
    Image.fromarray((mask * 255).astype(np.uint8)).save(folder / name)
    return folder / name


@pytest.fixture
def source(tmp_path):
    """Masks of the objects of two images, as QuPath writes them."""
    folder = tmp_path / "from the expert 🔬"
    save(folder, "image_7.png_Artery_(1.00,10,8,6,6)-mask.png", np.ones((6, 6)))
    save(folder, "image_7.png_Glomerulus_(1.00,-4,-3,20,15)-mask.png", np.ones((15, 20)))
    save(folder, "image_7.png_Glomerulus_(2.00,26,20,12,8)-mask.png", np.eye(4, 6))
    save(folder, "image_0003_arteriole_(1.00,0,0,32,24)-mask.png", np.tri(24, 32))
    return folder


def expected_7():
    labels = np.full(SHAPE, UNLABELLED, np.uint8)
    labels[:12, :16] = KIDNEY.index("glomerulus")
    labels[20:22, 26:28] = labels[22:24, 28:30] = KIDNEY.index("glomerulus")
    labels[8:14, 10:16] = KIDNEY.index("artery")
    return labels


def test_a_folder_of_object_masks_comes_in_image_by_image_painted_in_class_order(tmp_path, source):
    out = tmp_path / "out"
    assert import_masks(source, out, shape=SHAPE, classes=KIDNEY, known=range(9)) == [3, 7]
    masks, _ = load_masks(out)
    np.testing.assert_array_equal(masks[7], expected_7())
    np.testing.assert_array_equal(masks[3], np.where(np.tri(24, 32), 3, UNLABELLED))
    files = sorted(source.glob("image_7*"))
    for order in (files, files[::-1]):
        np.testing.assert_array_equal(read_object_masks(order, shape=SHAPE, classes=KIDNEY), expected_7())


def test_masks_of_objects_and_other_formats_come_in_together_and_one_alone(tmp_path, source):
    labels = np.zeros(SHAPE, np.uint8)
    (source / "image_1.png").write_bytes(encode_indexed_png(labels, KIDNEY))
    assert import_masks(source, tmp_path / "out", shape=SHAPE, classes=KIDNEY, known=range(9)) == [1, 3, 7]
    one = source / "image_7.png_Artery_(1.00,10,8,6,6)-mask.png"
    assert import_masks(one, tmp_path / "one", shape=SHAPE, classes=KIDNEY, known=range(9)) == [7]
    assert (read_mask(one, shape=SHAPE, classes=KIDNEY) == 4).sum() == 36


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("image_7.png_Tumour_(1.00,1,1,4,4)-mask.png", "image_7.*has the unknown class 'Tumour'; the classes are"),
        ("image_7.png_artery_(1.00,99,1,4,4)-mask.png", "lies at x 99 to 103, y 1 to 5, outside the image of 32 x 24"),
        (
            "image_7.png_artery_(4.00,1,1,4,4)-mask.png",
            "is 4 x 4 px, and by its name it masks 4 x 4 px at",
        ),
        ("image_9.png_artery_(1.00,1,1,4,4)-mask.png", "labels image 9, which does not exist"),
        ("kidney.png_artery_(1.00,1,1,4,4)-mask.png", "does not say which image it labels"),
        ("image_7.png", "both label image 7; keep one of them"),
    ],
)
def test_one_bad_mask_changes_nothing(tmp_path, source, name, message):
    save(source, name, np.ones((4, 4)))
    with pytest.raises(InputError, match=message):
        import_masks(source, tmp_path / "out", shape=SHAPE, classes=KIDNEY, known=range(9))
    assert not (tmp_path / "out").exists()
