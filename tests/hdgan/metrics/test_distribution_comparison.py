"""Sets of images compared in a feature space."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from hdgan.metrics import (
    Chosen,
    Moments,
    compare_distributions,
    comparison_notes,
    comparison_rows,
    embed_images,
    frechet_distance,
    kernel_distance,
)
from tiling.errors import InputError


@dataclass
class MeanColour:
    """A feature space without torch."""

    name: str = "mean-colour"
    note: str = "three numbers"
    dimensions: int = 3
    batches: list[int] = field(default_factory=list)

    def embed(self, images: np.ndarray) -> np.ndarray:
        self.batches.append(len(images))
        return images.mean(axis=(1, 2)).astype(np.float32)


class Pictures:
    def __init__(self, seed: int, count: int, *, size: int = 4, shift: int = 0) -> None:
        draws = np.random.default_rng(seed)
        self.images = draws.integers(shift, 150 + shift, (count, size, size, 3)).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> np.ndarray:
        return self.images[index]


def test_a_report_holds_what_the_measures_of_the_features_are() -> None:
    real, fake, training = Pictures(1, 70), Pictures(2, 80, shift=20), Pictures(3, 90)
    space = MeanColour()
    report = compare_distributions(real, iter(fake.images), space=space, training=training, subsets=7, seed=4)
    x, y = (each.images.mean(axis=(1, 2)).astype(np.float32) for each in (real, fake))
    assert (report.space, report.note, report.dimensions) == ("mean-colour", "three numbers", 3)
    assert (report.real, report.fake) == (70, 80)
    assert report.frechet == frechet_distance(Moments.of(x), Moments.of(y))
    assert report.kernel == kernel_distance(x, y, subsets=7, seed=4)
    assert report.memorisation is not None
    assert report.memorisation.training == 90
    assert json.loads(json.dumps(report.to_dict()))["overlap"]["k"] == 5


@pytest.mark.parametrize("given", [list, np.asarray, iter, lambda images: (image for image in images)])
def test_images_may_be_in_a_list_in_an_array_or_come_from_an_iterator(given) -> None:
    sources = Pictures(1, 40), Pictures(2, 30), Pictures(3, 50)
    real, fake, training = (given(source.images) for source in sources)
    report = compare_distributions(real, fake, space=MeanColour(), training=training, subsets=2)
    by_number = compare_distributions(sources[0], sources[1], space=MeanColour(), training=sources[2], subsets=2)
    assert report == by_number
    with pytest.raises(InputError, match="images differ in size"):
        compare_distributions(given(sources[0].images), Pictures(2, 30, size=5), space=MeanColour())
    with pytest.raises(InputError, match="not 0 real and 30 generated ones"):
        compare_distributions(given(sources[0].images[:0]), given(sources[1].images), space=MeanColour())


def test_large_images_are_embedded_a_few_at_a_time() -> None:
    space = MeanColour()
    embed_images(Pictures(1, 5, size=1448), space, what="tiles")
    assert space.batches == [2, 2, 1]
    assert embed_images([], space, what="tiles").shape == (0, 3)


def test_some_of_many_images_are_read_by_their_own_numbers() -> None:
    pictures = Pictures(1, 9)
    chosen = Chosen(pictures, [4, 2])
    assert len(chosen) == 2
    np.testing.assert_array_equal(chosen.read(1), pictures.read(2))


class Corner(MeanColour):
    """The pixel above on the left: another one in every orientation but those mirrored at the diagonal."""

    def embed(self, images: np.ndarray) -> np.ndarray:
        return images[:, 0, 0].astype(np.float32)


def test_copies_are_found_in_whatever_orientation() -> None:
    real, training = Pictures(1, 40), Pictures(3, 50)
    for turn in (lambda x: x, np.rot90, np.fliplr, np.flipud):
        fake = [turn(image).copy() for image in training.images]
        report = compare_distributions(real, fake, space=Corner(), training=training, subsets=1)
        assert report.memorisation is not None
        assert (report.memorisation.copied, report.memorisation.median_generated) == (1, 0)
        plain = compare_distributions(real, fake, space=Corner(), subsets=1)
        assert (report.frechet, report.overlap) == (plain.frechet, plain.overlap)


def test_labels_give_a_report_for_each_that_has_enough_images() -> None:
    real, fake = Pictures(1, 40), Pictures(2, 30)
    labels = (["cortex"] * 20 + ["medulla"] * 17 + ["capsule"] * 3, ["cortex", "medulla", "capsule"] * 10)
    report = compare_distributions(real, fake, space=MeanColour(), labels=labels, subsets=3)
    assert list(report.per_class) == ["capsule", "cortex", "medulla"]
    assert report.per_class["capsule"] is None
    cortex = report.per_class["cortex"]
    assert cortex is not None
    assert (cortex.real, cortex.fake) == (20, 10)
    alone = compare_distributions(Chosen(real, range(20)), fake.images[::3], space=MeanColour(), subsets=3)
    assert cortex == alone
    rows = comparison_rows(report)
    assert list(rows[0]) == ["measure", "all images", "capsule", "cortex", "medulla", "ideal"]
    assert rows[0] | {} == {
        "measure": "images, real and generated",
        "all images": "40 and 30",
        "capsule": "–",
        "cortex": "20 and 10",
        "medulla": "17 and 10",
        "ideal": "",
    }


def test_fewer_images_than_dimensions_are_told_with_the_number_to_look_at() -> None:
    real, fake = Pictures(1, 40), Pictures(2, 30)
    labels = (["a"] * 20 + ["b"] * 20, ["a"] * 20 + ["b"] * 10)
    report = compare_distributions(real, fake, space=MeanColour(), labels=labels, subsets=2)
    assert comparison_notes(report) == []
    few = [replace(report, dimensions=31), replace(report, per_class={"b": replace(report, fake=10, dimensions=11)})]
    for of, line in zip(few, ("distance: 30 images or tiles", "distance of b: 10 images or tiles"), strict=True):
        (note,) = comparison_notes(of)
        assert line in note
        assert note.endswith("look at the kernel distance.")


def test_the_table_tells_of_memorisation_where_it_was_asked() -> None:
    real, fake = Pictures(1, 40), Pictures(2, 30)
    plain = comparison_rows(compare_distributions(real, fake, space=MeanColour(), subsets=3))
    report = compare_distributions(real, fake, space=MeanColour(), training=Chosen(fake, range(30)), subsets=3)
    rows = comparison_rows(report)
    assert rows[: len(plain)] == plain
    assert rows[len(plain)]["all images"] == "100.0%"
    assert len(rows) == len(plain) + 2


def test_what_does_not_belong_together_is_refused() -> None:
    space = MeanColour()
    with pytest.raises(InputError, match=r"differ in size: \(4, 4, 3\) and \(8, 8, 3\)"):
        compare_distributions(Pictures(1, 9), Pictures(2, 9, size=8), space=space)
    with pytest.raises(InputError, match="not 5 real and 9 generated"):
        compare_distributions(Pictures(1, 5), Pictures(2, 9), space=space)
    with pytest.raises(InputError, match="9 real and 9 generated images, 9 and 8 labels"):
        compare_distributions(Pictures(1, 9), Pictures(2, 9), space=space, labels=(["a"] * 9, ["a"] * 8))
    space.embed = lambda images: np.full((len(images), 3), np.nan, np.float32)  # type: ignore[method-assign]
    with pytest.raises(InputError, match="mean-colour gives features of tiles that are not finite"):
        embed_images(Pictures(1, 2), space, what="tiles")
