import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hdgan.latents import Latents
from hdgan.samples import image_path, load_samples
from hdgan.sampling import sample
from hdgan.stylegan2 import render, rendering, save_generator, to_uint8, windows
from tiling.errors import InputError
from tiling.files import fingerprint
from tiling.stage import Stage, fingerprint_of, read_record


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
            image = small_generator.synthesis(torch.tensor(w[None]), noise="const")
            np.testing.assert_array_equal(np.asarray(Image.open(path)), to_uint8(image)[0])
    np.testing.assert_array_equal(next(render(small_generator, latents)), np.asarray(Image.open(paths[0])))
    with Image.open(tmp_path / "latents" / "contact-sheet.png") as sheet:
        assert sheet.mode == "RGB"
        assert sheet.width > 3 * 32
    record = json.loads((tmp_path / "latents" / "stage.json").read_text())
    assert record["config"] == {"seeds": "-1,7-", "n": 3, "psi": 0.6, "noise": "const"}
    assert record["summary"] == {"images": 3}


def test_large_images_are_made_window_by_window_from_the_same_noise(small_generator, monkeypatch):
    latents = Latents.sample(small_generator, [3, 4], noise="random")
    whole = list(render(small_generator, latents))
    monkeypatch.setattr(rendering, "_LARGE", 32)
    monkeypatch.setattr(windows, "_WHOLE_BYTES", 4 * 32 * 8**2)
    monkeypatch.setattr(windows, "_EDGE", 12)
    for ours, image in zip(render(small_generator, latents), whole, strict=True):
        np.testing.assert_allclose(ours.astype(int), image, atol=1)


def content(folder: Path) -> dict[str, str]:
    """Fingerprints of everything but the record of the run, which has times in it."""
    return {path.name: fingerprint(path) for path in folder.iterdir() if path.name != "stage.json"}


def test_drawn_samples_are_recognised_and_other_settings_are_refused(generator_file, tmp_path):
    out = tmp_path / "latents"
    sample(generator_file, out, seeds=[0, 1])
    written = (out / "latents.npz").stat().st_mtime_ns
    assert len(sample(generator_file, out, seeds=[0, 1])) == 2
    assert (out / "latents.npz").stat().st_mtime_ns == written
    with pytest.raises(InputError, match="was made with seeds = '0-', and now '5-' is asked for"):
        sample(generator_file, out, seeds=[5, 6])
    with pytest.raises(InputError, match=r"was made with psi = 0\.7, and now 0\.5 is asked for"):
        sample(generator_file, out, seeds=[0, 1, 2], psi=0.5)
    assert sample(generator_file, out, seeds=[5, 6, 7], redo=True).seed.tolist() == [5, 6, 7]


def test_samples_of_another_generator_in_a_run_folder_are_known_as_its_own(small_generator, tmp_path):
    run = tmp_path / "run"
    best, last = run / "generator-best.safetensors", run / "generator.safetensors"
    with Stage.begin(run, name="train", config={}, inputs={}) as stage:
        for path in (best, last):
            save_generator(small_generator, path, about={"name": path.name})
        stage.finish(principal=[last], summary={})
    for path, made in ((best, best), (last, run)):
        sample(path, tmp_path / path.stem, seeds=range(2))
        assert read_record(tmp_path / path.stem)["inputs"] == {"generator": fingerprint_of(made)}


@pytest.mark.parametrize("mean", [[], [-1]])
def test_more_samples_are_added_to_those_that_are_there(generator_file, tmp_path, mean):
    grown, at_once = tmp_path / "grown", tmp_path / "at_once"
    sample(generator_file, grown, seeds=[*mean, *range(3)])
    kept = image_path(grown, 2).stat().st_mtime_ns
    before = fingerprint_of(grown)
    assert len(sample(generator_file, grown, seeds=[*mean, *range(40)])) == len(mean) + 40
    sample(generator_file, at_once, seeds=[*mean, *range(40)])
    assert content(grown) == content(at_once)
    assert image_path(grown, 2).stat().st_mtime_ns == kept
    assert fingerprint_of(grown) == fingerprint_of(at_once) == before


def test_samples_that_are_there_keep_their_latents_to_the_last_bit_wherever_they_were_drawn(generator_file, tmp_path):
    out = tmp_path / "latents"
    elsewhere = sample(generator_file, out, seeds=range(3))
    elsewhere = Latents(**{**vars(elsewhere), "w": np.nextafter(elsewhere.w, np.float32(9))})
    elsewhere.save(out / "latents.npz")
    grown = sample(generator_file, out, seeds=range(5))
    assert [grown.fingerprint(i) for i in range(3)] == [elsewhere.fingerprint(i) for i in range(3)]
    assert grown.seed.tolist() == [0, 1, 2, 3, 4]


def test_what_tells_of_fewer_samples_goes_when_they_grow(generator_file, tmp_path, capsys):
    out = tmp_path / "latents"
    sample(generator_file, out, seeds=range(2))
    for name in ("nearest.csv", "nearest.png", "walk.webp"):
        (out / name).touch()
    sample(generator_file, out, seeds=range(2))
    assert "nearest.csv" not in capsys.readouterr().err
    assert (out / "nearest.csv").exists()
    sample(generator_file, out, seeds=range(3))
    assert "nearest.csv and nearest.png are removed" in capsys.readouterr().err
    assert not [*out.glob("nearest.*")]
    assert (out / "walk.webp").exists()  # which goes through the first samples, as before


def test_fewer_samples_than_there_are_are_refused(generator_file, tmp_path):
    out = tmp_path / "latents"
    sample(generator_file, out, seeds=range(4))
    before = content(out)
    with pytest.raises(InputError, match="holds 4 samples already, and 2 are asked for; ask for more"):
        sample(generator_file, out, seeds=range(2))
    assert content(out) == before
    assert len(load_samples(out)[1]) == 4


def test_samples_that_were_too_many_need_not_all_be_drawn(generator_file, tmp_path):
    out = tmp_path / "latents"
    sample(generator_file, out, seeds=range(9))
    record = out / "stage.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "running"}))
    for i in range(4, 9):
        image_path(out, i).unlink()
    sample(generator_file, out, seeds=range(4))
    sample(generator_file, tmp_path / "four", seeds=range(4))
    assert content(out) == content(tmp_path / "four")


@pytest.mark.slow
def test_a_sampling_killed_while_it_grows_ends_with_the_same_samples(generator_file, tmp_path):
    out = tmp_path / "latents"
    sample(generator_file, out, seeds=range(2))
    shutil.copytree(out, tmp_path / "undisturbed")
    sample(generator_file, tmp_path / "undisturbed", seeds=range(9))
    script = f"""
import torch
from pathlib import Path
from hdgan.sampling import sample
torch.set_num_threads(1)
sample(Path({str(generator_file)!r}), Path({str(out)!r}), seeds=range(9))
"""
    for drawn in (2, 4, 8):
        process = subprocess.Popen([sys.executable, "-c", script])
        while process.poll() is None and not image_path(out, drawn).exists():
            time.sleep(0.001)
        process.kill()
        process.wait()
    subprocess.run([sys.executable, "-c", script], check=True)
    assert content(out) == content(tmp_path / "undisturbed")
    assert fingerprint_of(out) == fingerprint_of(tmp_path / "undisturbed")


def test_requests_that_make_no_sense_are_refused_before_anything_is_written(generator_file, tmp_path):
    for seeds, psi, message in (([0], -0.1, r"not -0\.1"), ([0], 2.5, r"not 2\.5"), ([], 0.7, "no seed was given")):
        with pytest.raises(InputError, match=message):
            sample(generator_file, tmp_path / "latents", seeds=seeds, psi=psi)
    with pytest.raises(InputError, match="no such file"):
        sample(tmp_path / "absent.safetensors", tmp_path / "latents", seeds=[0])
    assert not (tmp_path / "latents").exists()
    with pytest.raises(InputError, match="does not exist yet: make it with `hdgan sample --study"):
        load_samples(tmp_path / "latents")
