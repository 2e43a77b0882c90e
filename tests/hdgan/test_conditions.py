from __future__ import annotations

import numpy as np
import pytest
from small_study import make_small_generator

from hdgan import Latents, SeededLatents
from hdgan.conditions import Conditions, class_names, classes_of
from hdgan.stylegan2 import load_generator, save_generator
from hdgan.stylegan2.generator import Generator
from tiling.errors import InputError


class Tiles:
    known = {  # noqa: RUF012
        "stain": ["PAS", "HE", "PAS", "HE", "PAS", None],
        "lesion": ["a", "b", "c", "b", "a", "a"],
        "site": ["one"] * 6,
        "with+": ["x", "x", "x+a", "x", "x", "x"],
        "and+": ["a+a", "b", "a", "b", "b", "b"],
    }

    def labels(self, name):
        return self.known[name]


def test_there_is_a_class_for_every_value_and_every_combination_that_occurs():
    conditions, classes = classes_of(Tiles(), ["stain"], range(5))
    assert dict(conditions.counts) == {"HE": 2, "PAS": 3}
    assert classes.tolist() == [1, 0, 1, 0, 1]
    conditions, classes = classes_of(Tiles(), ["stain", "lesion"], [4, 3, 2])
    assert list(conditions.counts) == ["HE+b", "PAS+a", "PAS+c"]
    assert classes.tolist() == [1, 0, 2]


def test_tiles_that_were_not_trained_on_have_the_names_of_the_classes_too():
    assert class_names(Tiles(), ["stain", "lesion"], [4, 5, 2]) == ["PAS+a", None, "PAS+c"]
    conditions = Conditions({"HE": 2, "PAS": 3})
    assert conditions.names_of(conditions.of_seeds([3, -1], "PAS")) == ["PAS", None]
    with pytest.raises(InputError, match="list has no labels"):
        class_names([], ["stain"], [])


def test_labels_that_make_no_classes_are_refused():
    with pytest.raises(InputError, match=r"not known of every tile: stain \(1 tile of 6\), tile 5 the first"):
        classes_of(Tiles(), ["stain", "lesion"], range(6))
    with pytest.raises(InputError, match="all tiles are of one class, one: there is nothing to condition on"):
        classes_of(Tiles(), ["site"], range(6))
    with pytest.raises(InputError, match=r"two combinations of labels would be called x\+a\+a"):
        classes_of(Tiles(), ["with+", "and+"], range(6))
    with pytest.raises(InputError, match="list has no labels to condition on"):
        classes_of([], ["stain"], [])


def test_a_class_is_asked_for_by_name_or_number():
    conditions = Conditions({"HE": 30, "1": 10, "PAS": 60})
    assert [conditions.index(text) for text in ("HE", "0", "1", "2", "PAS")] == [0, 0, 1, 2, 2]
    for text in ("he", "3", "-1"):
        with pytest.raises(InputError, match=f"no class '{text}'; there are: HE, 1, PAS"):
            conditions.index(text)
    np.testing.assert_array_equal(conditions.of_seeds([5, -1, 9], "PAS"), [[0, 0, 1], [0, 0, 0], [0, 0, 1]])
    with pytest.raises(
        InputError, match=r"the generator has no condition, so no class 'HE': leave the class out \(--class\)"
    ):
        Conditions({}).of_seeds([0], "HE")


def test_seeds_draw_classes_as_often_as_the_training_had_them_each_by_itself():
    conditions = Conditions({"HE": 300, "PAS": 100})
    c = conditions.of_seeds(range(1000))
    assert c.dtype == np.float32
    assert (c.sum(axis=1) == 1).all()
    assert abs(c[:, 0].mean() - 0.75) < 0.06
    np.testing.assert_array_equal(conditions.of_seeds([500, 7]), c[[500, 7]])
    assert Conditions({}).of_seeds(range(4)).shape == (4, 0)


@pytest.fixture(scope="module")
def generator():
    shape = {"resolution": 16, "z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 8, "mapping_layers": 1}
    generator = Generator(c_dim=2, **shape).eval().requires_grad_(False)
    generator.classes = {"HE": 3, "PAS": 1}
    return generator


def test_the_classes_go_with_the_generator_and_its_latents(generator, tmp_path):
    save_generator(generator, tmp_path / "generator.safetensors")
    again = load_generator(tmp_path / "generator.safetensors")
    assert list(again.classes.items()) == [("HE", 3), ("PAS", 1)]
    latents = Latents.sample(again, range(20), psi=1)
    assert set(latents.c.argmax(axis=1)) == {0, 1}
    seeded = SeededLatents(again, range(20), psi=1)
    np.testing.assert_array_equal(seeded.subset([3, 11]).w, latents.subset([3, 11]).w)
    of_class = SeededLatents(again, range(20), psi=1, of_class="PAS").subset([3, 11])
    assert of_class.c.argmax(axis=1).tolist() == [1, 1]
    latents.save(tmp_path / "latents.npz")
    np.testing.assert_array_equal(Latents.load(tmp_path / "latents.npz").c, latents.c)
    with pytest.raises(InputError, match="no class 'IF'; there are: HE, PAS"):
        SeededLatents(again, range(20), of_class="IF")


def test_a_generator_without_names_of_classes_calls_them_by_numbers(generator, tmp_path):
    assert dict(Conditions.of(make_small_generator()).counts) == {}
    save_generator(generator, tmp_path / "generator.safetensors", about={})
    nameless = load_generator(tmp_path / "generator.safetensors")
    nameless.classes = {}
    assert dict(Conditions.of(nameless).counts) == {"0": 1, "1": 1}


@pytest.mark.parametrize("classes", [["HE", "PAS"], {"HE": 1}, {"HE": 0, "PAS": 1}, {"HE": "x", "PAS": 1}], ids=str)
def test_a_file_that_names_other_classes_than_its_network_has_is_refused(generator, tmp_path, classes):
    path = tmp_path / "generator.safetensors"
    generator.classes, before = classes, generator.classes
    save_generator(generator, path)
    generator.classes = before
    with pytest.raises(InputError, match=r"generator\.safetensors: (the header must name 2 classes|the number of)"):
        load_generator(path)
