from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
import zarr
from command_line import hdgan
from scipy.ndimage import binary_dilation, binary_erosion

from hdgan.demo.phantom import make_phantom
from hdgan.labels import KIDNEY
from tiling.errors import InputError
from tiling.files import fingerprint

SIZE = 2048
WHITESPACE, TUBULES, GLOMERULUS, ARTERIOLE, ARTERY = range(5)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    make_phantom(folder / "slide.tif", folder / "truth.tif", size=SIZE, seed=3)
    return folder


@pytest.fixture(scope="module")
def image(phantom):
    with openslide.OpenSlide(phantom / "slide.tif") as slide:
        return np.asarray(slide.read_region((0, 0), 0, (SIZE, SIZE)))[..., :3]


@pytest.fixture(scope="module")
def truth(phantom):
    return tifffile.imread(phantom / "truth.tif")


def test_openslide_opens_it_as_a_tiled_pyramid_and_knows_its_resolution(phantom):
    with openslide.OpenSlide(phantom / "slide.tif") as slide:
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        assert slide.level_dimensions == ((2048, 2048), (512, 512), (128, 128))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.5)


def test_its_cells_are_jpeg_with_halved_chroma(phantom):
    with tifffile.TiffFile(phantom / "slide.tif") as slide:
        page = slide.pages[0]
        assert page.compression == tifffile.COMPRESSION.JPEG
        assert (page.tilewidth, page.tilelength) == (256, 256)
        assert page.photometric == tifffile.PHOTOMETRIC.YCBCR
        assert page.subsampling == (2, 2)


def test_lower_levels_show_the_same_slide(phantom, image):
    with openslide.OpenSlide(phantom / "slide.tif") as slide:
        small = np.asarray(slide.read_region((0, 0), 1, (512, 512)))[..., :3].astype(float)
    mean = image.reshape(512, 4, 512, 4, 3).mean(axis=(1, 3))
    aside = np.abs(small - np.roll(mean, 1, axis=1)).mean()
    assert np.abs(small - mean).mean() < aside / 2
    assert abs(small.mean() - mean.mean()) < 0.5


def test_the_truth_is_a_lossless_label_map_that_holds_every_class(truth):
    assert truth.shape == (SIZE, SIZE)
    assert truth.dtype == np.uint8
    share = np.bincount(truth.ravel(), minlength=len(KIDNEY)) / truth.size
    assert len(share) == len(KIDNEY)
    assert (share > [0.25, 0.3, 0.04, 0.008, 0.02]).all(), share


def test_a_region_of_the_truth_can_be_read_alone(phantom, truth):
    with tifffile.imread(phantom / "truth.tif", aszarr=True) as store:
        region = zarr.open(store, mode="r")[300:400, 500:900]
    np.testing.assert_array_equal(region, truth[300:400, 500:900])


def test_glass_is_bright_and_tissue_is_stained(image, truth):
    glass = binary_erosion(truth == WHITESPACE, iterations=4)
    assert image[glass].min() > 215
    for label in (TUBULES, GLOMERULUS, ARTERIOLE, ARTERY):
        assert np.median(image[truth == label][:, 1]) < 190, KIDNEY.names[label]


def test_lumens_and_urinary_space_belong_to_their_structure(image, truth):
    bright = image.min(axis=-1) > 215
    for label, at_least in ((TUBULES, 0.03), (GLOMERULUS, 0.1), (ARTERIOLE, 0.03), (ARTERY, 0.08)):
        assert bright[truth == label].mean() > at_least, KIDNEY.names[label]


def test_every_outline_of_the_truth_is_drawn_in_the_image(image, truth):
    for label in (TUBULES, GLOMERULUS, ARTERY):
        inside = truth == label
        rim = inside & binary_dilation(truth == WHITESPACE, iterations=4) & ~binary_dilation(truth > TUBULES)
        if label != TUBULES:
            rim = inside & ~binary_erosion(inside, iterations=4)
        assert (image[rim][:, 1] < 225).mean() > 0.85, KIDNEY.names[label]


def test_the_same_seed_draws_the_same_slide_and_another_seed_another(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_phantom(tmp_path / f"{name}.tif", tmp_path / f"{name}-truth.tif", size=1024, seed=seed)
    for end in (".tif", "-truth.tif"):
        first, again, other = (fingerprint(tmp_path / f"{name}{end}") for name in "abc")
        assert first == again
        assert first != other


def test_regions_drawn_apart_meet_without_a_seam(image):
    rows = image.astype(int).mean(axis=-1)
    steps = np.abs(np.diff(rows, axis=0)).mean(axis=1)
    assert steps[1023] < 1.5 * np.median(steps[960:1088])


@pytest.mark.parametrize("size", [0, -256, 512, 1000, 2000])
def test_a_size_that_cannot_be_drawn_is_refused(tmp_path, size):
    with pytest.raises(InputError, match=f"not {size}"):
        make_phantom(tmp_path / "s.tif", tmp_path / "t.tif", size=size)
    assert not list(tmp_path.iterdir())


def test_other_bad_input_is_refused(tmp_path):
    slide, truth = tmp_path / "s.tif", tmp_path / "t.tif"
    with pytest.raises(InputError, match="not 5"):
        make_phantom(slide, truth, mpp=5)
    with pytest.raises(InputError, match="not -1"):
        make_phantom(slide, truth, seed=-1)
    with pytest.raises(InputError, match="different names"):
        make_phantom(slide, Path(tmp_path, ".", "s.tif"))


def test_what_a_killed_drawing_left_is_swept_up_by_the_next_command(tmp_path):
    for folder in (tmp_path / "slides", tmp_path / "slides-truth"):
        folder.mkdir()
        (folder / ".partial-0123456789ab-phantom-0.tiff").write_bytes(b"half a slide")
    hdgan("demo", "phantom", tmp_path / "slides", "--size", 1024)
    assert [path.name for path in (tmp_path / "slides").iterdir()] == ["phantom-0.tiff"]
    assert not list((tmp_path / "slides-truth").glob(".partial-*"))
