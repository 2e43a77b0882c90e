import json

import numpy as np
import pytest
import torch
from PIL import Image

from hdgan.samples import image_path, load_samples
from hdgan.sampling import render, sample
from hdgan.stylegan2 import save_generator, to_uint8
from tiling.errors import InputError


@pytest.fixture
def generator_file(small_generator, tmp_path):
    save_generator(small_generator, tmp_path / "generator.safetensors")
    return tmp_path / "generator.safetensors"


def test_samples_are_the_generators_images_of_their_latents_with_stored_noise(
    generator_file, small_generator, tmp_path
):
    drawn = sample(generator_file, tmp_path / "latents", seeds=[-1, 7, 8], psi=0.6)
    latents, paths = load_samples(tmp_path / "latents")
    assert latents.seed.tolist() == drawn.seed.tolist() == [-1, 7, 8]
    assert paths == [image_path(tmp_path / "latents", i) for i in range(3)]
    with torch.no_grad():
        for w, path in zip(latents.w, paths, strict=True):
            image = small_generator.synthesis(torch.from_numpy(w[None]), noise="const")
            np.testing.assert_array_equal(np.asarray(Image.open(path)), to_uint8(image)[0])
    np.testing.assert_array_equal(next(render(small_generator, latents)), np.asarray(Image.open(paths[0])))
    with Image.open(tmp_path / "latents" / "contact-sheet.png") as sheet:
        assert sheet.mode == "RGB"
        assert sheet.width > 3 * 32
    record = json.loads((tmp_path / "latents" / "stage.json").read_text())
    assert record["config"] == {"seeds": "-1,7-8", "psi": 0.6}
    assert record["summary"] == {"images": 3}


def test_drawn_samples_are_recognised_and_other_settings_are_refused(generator_file, tmp_path):
    sample(generator_file, tmp_path / "latents", seeds=[0, 1])
    written = (tmp_path / "latents" / "latents.npz").stat().st_mtime_ns
    assert len(sample(generator_file, tmp_path / "latents", seeds=[0, 1])) == 2
    assert (tmp_path / "latents" / "latents.npz").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="was made with seeds = '0-1', and now '0-2' is asked for"):
        sample(generator_file, tmp_path / "latents", seeds=[0, 1, 2])
    assert len(sample(generator_file, tmp_path / "latents", seeds=[0, 1, 2], redo=True)) == 3


def test_requests_that_make_no_sense_are_refused_before_anything_is_written(generator_file, tmp_path):
    for seeds, psi, message in (([0], -0.1, r"not -0\.1"), ([0], 2.5, r"not 2\.5"), ([], 0.7, "no seed was given")):
        with pytest.raises(InputError, match=message):
            sample(generator_file, tmp_path / "latents", seeds=seeds, psi=psi)
    with pytest.raises(InputError, match="no such file"):
        sample(tmp_path / "absent.safetensors", tmp_path / "latents", seeds=[0])
    assert not (tmp_path / "latents").exists()
    with pytest.raises(InputError, match="does not exist yet: make it with `hdgan sample`"):
        load_samples(tmp_path / "latents")
