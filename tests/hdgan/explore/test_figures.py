"""Figures, drawn for real."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from hdgan.explore import benchmark_figure, confusion_figure, panels, training_figure, vote_figure
from hdgan.labels import KIDNEY
from hdgan.metrics import segmentation_report
from tiling import InputError

pytest.importorskip("matplotlib")


def drawn(figure: Any) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.array(PillowImage.open(buffer).convert("RGB"))


def has_colour(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(picture.astype(int) - colour).max(axis=2) <= 1).any())


def test_panels_show_pictures_under_their_titles_with_a_legend() -> None:
    red = np.full((8, 8, 3), (200, 10, 20), np.uint8)
    figure = panels([("first", red), ("second", red), ("third", red)], columns=2, classes=KIDNEY)
    assert [axis.get_title() for axis in figure.axes] == ["first", "second", "third", ""]
    picture = drawn(figure)
    assert has_colour(picture, (200, 10, 20))
    assert all(has_colour(picture, c.colour) for c in KIDNEY)


def test_panels_of_numbers_share_one_scale() -> None:
    figure = panels([("low", np.full((4, 4), 0.5)), ("high", np.full((4, 4), 2.0))], values="nats")
    limits = {axis.images[0].get_clim() for axis in figure.axes if axis.get_title()}
    assert limits == {(0.0, 2.0)}
    assert figure.axes[-1].get_ylabel() == "nats"


def test_the_training_figure_draws_what_was_logged() -> None:
    rows = [{"kimg": k / 10, "loss_g": 1.0 + k, "loss_d": 2.0, "p": 0.1 * k} for k in range(4)]
    rows.insert(2, {"kimg": 0.2, "fd random-conv-v1": 3.0})
    losses, augmentation = training_figure(rows).axes
    assert losses.lines[0].get_ydata().tolist() == [1.0, 2.0, 3.0, 4.0]
    assert augmentation.lines[0].get_xdata() == pytest.approx([0, 0.1, 0.2, 0.3])


def test_the_benchmark_figure_has_a_line_at_the_mean_of_real_images() -> None:
    def of(*values: float) -> dict[str, Any]:
        return {"mean": {"auc": np.mean(values)}, "of_seeds": [{"auc": value} for value in values]}

    diverged = {"mean": {}, "of_seeds": [{}, {}]}
    report = {"classifiers": {"real": of(0.5, 0.7), "dcgan 50 %": of(0.8, 0.8)}, "students": {"gmcl": diverged}}
    (axes,) = benchmark_figure(report, "auc").axes
    (line,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert list(line.get_xdata()) == pytest.approx([0.6, 0.6])


def test_the_vote_figure_counts_the_members_votes() -> None:
    logits = np.zeros((4, 5))
    logits[[0, 1, 2], 3] = 2
    logits[3, 1] = 2
    figure = vote_figure(logits, KIDNEY)
    together = figure.axes[1]
    assert [bar.get_width() for bar in together.patches] == [0, 1, 0, 3, 0]
    assert np.asarray(figure.axes[0].images[0].get_array()).sum(axis=0) == pytest.approx(1)
    assert has_colour(drawn(figure), KIDNEY.classes[3].colour)


def test_the_confusion_figure_counts_pixels_and_shades_their_shares_of_the_true_class() -> None:
    truth = np.repeat(np.array([[0, 1, 1]], np.uint8), 2000, axis=0)
    predicted = np.repeat(np.array([[0, 0, 1]], np.uint8), 2000, axis=0)
    report = segmentation_report(truth, predicted, ["tubule", "glomerulus", "artery"])
    axes = confusion_figure(report.to_dict()).axes[0]
    names = ["tubule", "glomerulus", "artery"]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert [label.get_text() for label in axes.get_xticklabels()] == names
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    counts = ["2,000", "0", "0", "2,000", "2,000", "0", "0", "0", "0"]
    assert [shown[column, row] for row in range(3) for column in range(3)] == counts
    assert np.asarray(axes.images[0].get_array()).tolist() == [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0]]


def test_the_confusion_figure_has_a_column_of_what_was_left_unlabelled_where_there_is_any() -> None:
    report = segmentation_report(np.array([[0, 0, 1]], np.uint8), np.array([[0, 255, 1]], np.uint8), ["a", "b"])
    axes = confusion_figure(report.to_dict()).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "unlabelled"]
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0.5, 0, 0.5], [0, 1, 0]]


@pytest.mark.parametrize(
    "make", [lambda: panels([]), lambda: training_figure([]), lambda: vote_figure(np.zeros((4, 3)), KIDNEY)]
)
def test_nothing_to_draw_is_one_line(make) -> None:
    with pytest.raises(InputError):
        make()
