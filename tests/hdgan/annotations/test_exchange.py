import json

import numpy as np
import pytest
from PIL import Image

from hdgan.annotations import (
    check_samples,
    encode_indexed_png,
    export_images,
    import_masks,
    load_masks,
    mask_indices,
    write_geojson,
)
from hdgan.labels import KIDNEY, ClassList, LabelClass
from hdgan.lazy import LazyMapping
from tiling.errors import InputError

SHAPE = (24, 32)


def mask(seed):
    return np.kron(np.random.default_rng(seed).integers(0, 5, (6, 8)), np.ones((4, 4))).astype(np.uint8)


def take(source, out, *, classes=KIDNEY, known=range(20)):
    return import_masks(source, out, shape=SHAPE, classes=classes, known=known)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "from the expert 🔬"
    folder.mkdir()
    write_geojson(folder / "image_0007.geojson", mask(7), KIDNEY)
    (folder / "image_3.png").write_bytes(encode_indexed_png(mask(3), KIDNEY))
    (folder / "README.txt").write_text("passed over")
    (folder / "._image_3.png").write_bytes(b"what macOS leaves")
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_images_leave_with_classes_and_directions(tmp_path):
    images = {4: np.full((8, 8, 3), 90, np.uint8), 11: np.full((8, 8, 3), 200, np.uint8)}
    export_images(images, tmp_path / "annotations", KIDNEY)
    written = Image.open(tmp_path / "annotations" / "images" / "image_0011.png")
    np.testing.assert_array_equal(np.array(written), images[11])
    assert (tmp_path / "annotations" / "images" / "image_0004.png").exists()
    assert ClassList.load(tmp_path / "annotations" / "classes.json") == KIDNEY
    readme = (tmp_path / "annotations" / "README.txt").read_text()
    assert "GeoJSON" in readme
    assert all(name in readme for name in KIDNEY.names)


def test_a_second_export_takes_away_its_own_images_only(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    images = tmp_path / "images"
    images.mkdir()
    (images / "image_0001.png").write_bytes(b"not ours")
    export_images({4: image, 11: image}, tmp_path, KIDNEY)
    export_images({4: image, 12: image}, tmp_path, KIDNEY)
    assert {path.name for path in images.iterdir()} == {"image_0001.png", "image_0004.png", "image_0012.png"}


def test_an_export_that_was_killed_is_cleared_up_by_the_next(tmp_path):
    def killed():
        yield 4
        raise KeyboardInterrupt

    image = np.zeros((8, 8, 3), np.uint8)
    read = killed()
    with pytest.raises(KeyboardInterrupt):
        export_images(LazyMapping([4, 5], lambda _: np.full_like(image, next(read))), tmp_path, KIDNEY)
    assert (tmp_path / "images" / "image_0004.png").exists()
    export_images({6: image}, tmp_path, KIDNEY)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["image_0006.png"]


@pytest.mark.parametrize("listed", [["../../precious"], ["image_0001.png", "/etc"], "image_0001.png", None, [1]])
def test_a_tampered_list_of_exported_images_removes_nothing(tmp_path, listed):
    out, precious = tmp_path / "to label", tmp_path / "precious"
    precious.mkdir()
    export_images({1: np.zeros((*SHAPE, 3), np.uint8)}, out, KIDNEY)
    (out / "export.json").write_text(json.dumps({"images": listed}))
    with pytest.raises(InputError, match="no list of exported images; export to another folder"):
        export_images({2: np.zeros((*SHAPE, 3), np.uint8)}, out, KIDNEY)
    assert precious.is_dir()
    assert (out / "images" / "image_0001.png").exists()


def test_the_folder_of_a_stage_is_no_place_to_export_to(tmp_path):
    (tmp_path / "stage.json").write_text("{}")
    with pytest.raises(InputError, match="folder of a stage"):
        export_images({}, tmp_path, KIDNEY)
    assert [path.name for path in tmp_path.iterdir()] == ["stage.json"]


def test_masks_belong_to_the_samples_that_they_were_drawn_on(tmp_path, source):
    samples = [f"w{index}" for index in range(20)]
    import_masks(source, tmp_path, shape=SHAPE, classes=KIDNEY, known=range(20), samples=samples)
    assert mask_indices(tmp_path) == [3, 7]
    check_samples(tmp_path, samples)
    check_samples(tmp_path, [*samples, "w20"])
    check_samples(tmp_path, ["other", *samples[1:]])
    for others in (["other", *samples], samples[:7]):
        with pytest.raises(InputError, match="drawn on other samples"):
            check_samples(tmp_path, others)
        with pytest.raises(InputError, match="drawn on other samples"):
            import_masks(source, tmp_path, shape=SHAPE, classes=KIDNEY, known=range(20), samples=others)


def test_masks_that_nobody_tied_to_samples_come_in_again_as_the_refusal_says(tmp_path, source):
    out, elsewhere, samples = tmp_path / "out", tmp_path / "elsewhere", [f"w{index}" for index in range(20)]
    take(source, out)
    with pytest.raises(InputError, match=r"label_0003\.png \(and 1 more\).*move.*elsewhere, then import that folder"):
        check_samples(out, samples)
    elsewhere.mkdir()
    for path in (out / "masks").glob("label_*.png"):
        path.rename(elsewhere / path.name)
    import_masks(elsewhere, out, shape=SHAPE, classes=KIDNEY, known=range(20), samples=samples)
    check_samples(out, samples)
    assert mask_indices(out) == [3, 7]


def test_the_samples_are_noted_before_the_first_mask_is_written(tmp_path, source):
    (tmp_path / "masks").write_text("in the way of every mask")
    samples = [f"w{index}" for index in range(20)]
    with pytest.raises(FileExistsError):
        import_masks(source, tmp_path, shape=SHAPE, classes=KIDNEY, known=range(20), samples=samples)
    assert json.loads((tmp_path / "samples.json").read_text()) == {"3": "w3", "7": "w7"}


def test_masks_of_any_format_come_in_and_are_loaded_again(tmp_path, source):
    assert take(source, tmp_path / "out") == [3, 7]
    labels, classes = load_masks(tmp_path / "out")
    assert list(labels) == [3, 7]
    np.testing.assert_array_equal(labels[3], mask(3))
    np.testing.assert_array_equal(labels[7], mask(7))
    assert classes == KIDNEY


def test_a_second_import_replaces_its_own_indices_and_keeps_the_others(tmp_path, source):
    take(source, tmp_path / "out")
    single = tmp_path / "image_12.png.geojson"
    write_geojson(single, mask(12), KIDNEY)
    assert take(single, tmp_path / "out") == [12]
    (source / "image_3.png").write_bytes(encode_indexed_png(mask(99), KIDNEY))
    take(source / "image_3.png", tmp_path / "out")
    labels, _ = load_masks(tmp_path / "out")
    assert list(labels) == [3, 7, 12]
    np.testing.assert_array_equal(labels[3], mask(99))


def test_imported_masks_can_be_imported_elsewhere(tmp_path, source):
    take(source, tmp_path / "out")
    assert take(tmp_path / "out" / "masks", tmp_path / "copy") == [3, 7]
    assert contents(tmp_path / "copy") == contents(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("image_5.png", encode_indexed_png(np.zeros((9, 9), np.uint8), KIDNEY), "image_5.png is 9 x 9"),
        ("image_5.geojson", b"{", "not JSON"),
        (
            "image_21.png",
            encode_indexed_png(mask(1), KIDNEY),
            "labels image 21, which does not exist; there are.* 0 to 19",
        ),
        ("image_03.png", encode_indexed_png(mask(1), KIDNEY), "both label image 3"),
        ("kidney.png", encode_indexed_png(mask(1), KIDNEY), "does not say which image"),
    ],
)
def test_one_bad_file_changes_nothing(tmp_path, source, name, content, message):
    take(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    (source / "image_1.png").write_bytes(encode_indexed_png(mask(1), KIDNEY))
    (source / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        take(source, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    with pytest.raises(InputError, match=message):
        take(source, tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()


def test_masks_of_other_classes_are_not_mixed_in(tmp_path, source):
    take(source, tmp_path / "out")
    other = ClassList((LabelClass("tumour", (200, 0, 0)), LabelClass("stroma", (0, 200, 0))))
    with pytest.raises(InputError, match="holds masks of the classes whitespace"):
        take(source, tmp_path / "out", classes=other)
    with pytest.raises(InputError, match="another folder"):
        export_images({}, tmp_path / "out", other)
    assert load_masks(tmp_path / "out")[1] == KIDNEY


def test_masks_come_in_again_as_the_refusal_says_where_a_class_was_added(tmp_path, source):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    take(source, out)
    more = ClassList((*KIDNEY, LabelClass("vein", (10, 20, 30))))
    with pytest.raises(InputError, match="where classes were added at the end, move those masks elsewhere and import"):
        take(source, out, classes=more)
    (out / "masks").rename(elsewhere)
    assert take(elsewhere, out, classes=more) == [3, 7]
    labels, classes = load_masks(out)
    assert classes == more
    np.testing.assert_array_equal(labels[7], mask(7))


def test_nothing_to_import_and_nothing_to_load_are_said(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no annotation files.*image_0007\.png"):
        take(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(InputError, match="no such file or folder"):
        take(tmp_path / "absent", tmp_path / "out")
    for load in (load_masks, mask_indices):
        with pytest.raises(InputError, match="no masks yet"):
            load(tmp_path / "out")


def test_a_folder_of_other_kinds_of_files_is_refused_with_their_names(tmp_path):
    folder = tmp_path / "photographs"
    (folder / "masks").mkdir(parents=True)
    for name in ("README.md", ".hidden", "a.jpg"):
        (folder / name).write_text("no mask")
    with pytest.raises(InputError, match=r"no annotation files, only 1 file of another kind \(a\.jpg\); expected"):
        take(folder, tmp_path / "out")
    for name in ("b.geojson.gz", "c.tif", "d.tif", "e"):
        (folder / name).write_text("no mask")
    listed = r"only 5 files of other kinds \(a\.jpg, b\.geojson\.gz, c\.tif, and 2 more\); .*image_0007\.png"
    with pytest.raises(InputError, match=listed):
        take(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_of_other_kinds_beside_masks_are_told_in_one_note(tmp_path, source, capsys):
    assert take(source, tmp_path / "out") == [3, 7]
    assert capsys.readouterr().err == ""
    for name in ("b.jpg", "a.geojson.gz"):
        (source / name).write_text("no mask")
    assert take(source, tmp_path / "out") == [3, 7]
    assert capsys.readouterr().err == "passed over 2 files of other kinds: a.geojson.gz, b.jpg\n"


@pytest.mark.parametrize("name", ["image_0007.jpg", "image_0007.geojson.gz", "photograph.tif", "image_0007"])
def test_one_file_of_an_unknown_kind_is_answered_with_the_known_kinds(tmp_path, name):
    (tmp_path / name).write_text("no mask")
    with pytest.raises(InputError, match=rf"{name} is of no known kind .*: \.png \(.*\.xml \(ImageScope XML\)$"):
        take(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize(
    ("known", "said"), [((), "are no images"), ((0,), "is image 0 only"), ((4, 6), "are images 4, 6")]
)
def test_an_unknown_image_is_refused_with_those_that_there_are(tmp_path, source, known, said):
    with pytest.raises(InputError, match=f"which does not exist; there {said}$"):
        take(source / "image_3.png", tmp_path / "out", known=known)
