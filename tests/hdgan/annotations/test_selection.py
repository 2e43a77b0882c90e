import json
import shutil

import numpy as np
import pytest

from hdgan.annotations import pick_samples, picked_samples
from hdgan.pictures import ImageFiles, write_png
from hdgan.samples import image_path
from tiling.errors import InputError
from tiling.stage import Stage, read_record

COUNT = 9


@pytest.fixture
def samples(tmp_path):
    """Images as `hdgan sample` leaves them, and the folder that they lie in."""
    return make_samples(tmp_path / "latents", seed=0)


def make_samples(folder, *, seed):
    generator = np.random.default_rng(seed)
    paths = [image_path(folder, index) for index in range(COUNT)]
    with Stage.begin(folder, name="sample", config={"seed": seed}, inputs={}) as stage:
        for path in paths:
            write_png(path, generator.integers(0, 256, (16, 16, 3)).astype(np.uint8))
        stage.finish()
    return ImageFiles(paths), folder


def choose(samples, out, **options):
    return pick_samples(samples[0], out, samples=samples[1], **options)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_choice_is_recorded_and_repeated_it_does_nothing(tmp_path, samples, capsys):
    out = tmp_path / "annotations" / "pick"
    chosen = choose(samples, out, n=3, seed=1)
    assert chosen == picked_samples(out, samples[1]) == json.loads((out / "picked.json").read_text())["indices"]
    assert (out / "contact-sheet.png").exists()
    assert read_record(out)["config"] == {"n": 3, "seed": 1}
    before = contents(out)
    assert choose(samples, out, n=3, seed=1) == chosen
    assert contents(out) == before
    assert "is complete: nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize(("other", "said"), [({"n": 4, "seed": 1}, "n = 3"), ({"n": 3, "seed": 2}, "seed = 1")])
def test_other_settings_are_refused_until_told_to_redo_and_masks_stay(tmp_path, samples, other, said):
    annotations = tmp_path / "annotations"
    for drawn in ("masks/label_0007.png", "export/masks/image_0007.geojson", "samples.json"):
        (annotations / drawn).parent.mkdir(parents=True, exist_ok=True)
        (annotations / drawn).write_text("drawn by hand")
    drawn = contents(annotations)
    choose(samples, annotations / "pick", n=3, seed=1)
    before = contents(annotations)
    with pytest.raises(InputError, match=f"was made with {said}.*--redo"):
        choose(samples, annotations / "pick", **other)
    assert contents(annotations) == before
    assert len(choose(samples, annotations / "pick", **other, redo=True)) == other["n"]
    assert contents(annotations).items() >= drawn.items()


def test_a_number_out_of_reach_is_refused_before_anything_is_discarded(tmp_path, samples):
    with pytest.raises(InputError, match="cannot pick 10 of 9 images"):
        choose(samples, tmp_path / "pick", n=10)
    assert not (tmp_path / "pick").exists()
    choose(samples, tmp_path / "pick", n=2)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="cannot pick 10 of 9 images"):
        choose(samples, tmp_path / "pick", n=10, redo=True)
    assert contents(tmp_path) == before


def test_a_choice_among_other_samples_is_not_taken_for_one_of_these(tmp_path, samples):
    choose(samples, tmp_path / "pick", n=3)
    shutil.rmtree(samples[1])
    make_samples(samples[1], seed=5)
    with pytest.raises(InputError, match=r"chosen among other samples.*hdgan annotate pick --redo"):
        picked_samples(tmp_path / "pick", samples[1])
    with pytest.raises(InputError, match=r"made from other samples.*--redo"):
        choose(samples, tmp_path / "pick", n=3)
    assert len(choose(samples, tmp_path / "pick", n=3, redo=True)) == 3


@pytest.mark.parametrize("content", ["{}", '{"indices": 3}', '{"indices": ["3"]}', '{"indices": [-1]}', None])
def test_a_record_of_picks_that_lists_none_is_refused_with_the_command_that_mends_it(tmp_path, samples, content):
    choose(samples, tmp_path / "pick", n=3)
    path = tmp_path / "pick" / "picked.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=r'lists no samples as "indices".*hdgan annotate pick --redo'):
        picked_samples(tmp_path / "pick", samples[1])


def test_nothing_chosen_yet_is_said_with_the_command_that_chooses(tmp_path, samples):
    with pytest.raises(InputError, match="does not exist yet: make it with `hdgan annotate pick`"):
        picked_samples(tmp_path / "pick", samples[1])
