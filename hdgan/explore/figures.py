"""Matplotlib figures. They are made without pyplot, so nothing is shown or kept open behind the caller's back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hdgan.labels import ClassList
from tiling.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLE = 0.3  # inches
_LOSSES = {"loss_g": "generator", "loss_d": "discriminator"}


def panels(
    pictures: Sequence[tuple[str, npt.NDArray[Any]]],
    *,
    columns: int = 4,
    width: float = 2.2,
    classes: ClassList | None = None,
    values: str | None = None,
) -> Figure:
    """Pictures with titles, in rows, no pixel smoothed.

    Parameters
    ----------
    pictures
        (title, picture): (h, w, 3) uint8 in colour, (h, w) or (h, w, 1) uint8 in grey, or (h, w) floats on one
        common scale from 0 up, dark to bright.
    columns
        Pictures in a row.
    width
        Of a picture, inches.
    classes
        Add a legend of their colours.
    values
        What the floats are, beside their scale: "uncertainty, nats".
    """
    from matplotlib.patches import Patch

    if not pictures or columns < 1:
        raise InputError(f"a figure needs pictures and columns >= 1, not {len(pictures)} and {columns}")
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    tallest = max(picture.shape[0] / picture.shape[1] for _, picture in pictures)
    figure = _figure(columns * width, rows * (width * tallest + _TITLE))
    axes = figure.subplots(rows, columns, squeeze=False)
    highest = max((float(p.max()) for _, p in pictures if p.dtype != np.uint8), default=0.0)
    measured = None
    for place in axes.flat:
        place.set_axis_off()
    for place, (title, picture) in zip(axes.flat, pictures, strict=False):
        place.set_title(title, fontsize=9)
        if picture.dtype == np.uint8:
            place.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        else:
            measured = place.imshow(picture, cmap="magma", vmin=0, vmax=highest or 1.0, interpolation="nearest")
    if measured is not None:
        figure.colorbar(measured, ax=axes, shrink=0.6, label=values)
    if classes is not None:
        patches = [Patch(facecolor=np.array(c.colour) / 255, edgecolor="gray", label=c.name) for c in classes]
        figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 3), fontsize=9)
    return figure


def training_figure(metrics: Sequence[Mapping[str, float]]) -> Figure:
    """Losses of a training, and how strongly images were augmented, over thousands of images.

    Parameters
    ----------
    metrics
        What `training.metrics.read_metrics` gives: a mapping per logged step with `kimg`, `loss_g`, `loss_d`, `p`.
    """
    if not metrics:
        raise InputError("no metrics were logged; train first with `hdgan train`")
    figure = _figure(8, 3)
    losses, augmentation = figure.subplots(1, 2)
    for key, name in _LOSSES.items():
        rows = [row for row in metrics if key in row]
        losses.plot([row["kimg"] for row in rows], [row[key] for row in rows], label=name)
    losses.set(xlabel="thousands of images", ylabel="loss")
    losses.legend()
    rows = [row for row in metrics if "p" in row]  # where the generator is measured, rows tell other things
    augmentation.plot([row["kimg"] for row in rows], [row["p"] for row in rows], color="gray")
    augmentation.set(xlabel="thousands of images", ylabel="augmentation probability p", ylim=(-0.03, 1.03))
    return figure


def efficiency_figure(report: Mapping[str, Any]) -> Figure:
    """What an ensemble gains by every annotated image: macro Dice and recall over the number of training images.

    Parameters
    ----------
    report
        What :func:`hdgan.pixels.run_protocol` gives. Bars are sample deviations (n - 1) over its splits.
    """
    sizes = sorted(map(int, report["training"]))
    figure = _figure(5, 3.2)
    axes = figure.subplots()
    for measure, name in (("dice", "macro Dice"), ("recall", "macro recall")):
        found = [report["training"][str(size)] for size in sizes]
        means = [of["mean"]["macro"][measure] for of in found]
        deviations = [of["deviation"]["macro"][measure] or 0.0 for of in found]
        axes.errorbar(sizes, means, yerr=deviations, marker="o", capsize=3, label=name)
    axes.set(xlabel="annotated images to train on", ylabel=f"over {report['splits']} splits", ylim=(0, 1))
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, labels=[str(size) for size in sizes])
    axes.legend()
    return figure


def benchmark_figure(report: Mapping[str, Any], measure: str = "balanced_accuracy") -> Figure:
    """What classifiers are worth on test images, by what they were trained on: each seed a dot, the mean a line.

    The dotted line through all rows is the mean of the classifiers of real images alone.

    Parameters
    ----------
    report
        What :func:`hdgan.augmenters.benchmark.run_benchmark` gives.
    measure
        Any of :data:`hdgan.metrics.classification.CLASSIFICATION_MEASURES`.
    """
    rows = {**report["classifiers"], **report["students"]}
    figure = _figure(7, 0.28 * len(rows) + 1)
    axes = figure.subplots()
    for place, of in enumerate(rows.values()):
        values = [seed[measure] for seed in of["of_seeds"] if seed.get(measure) is not None]  # not of what diverged
        axes.plot(values, [place] * len(values), "o", color="C0", alpha=0.6)
        if (mean := of["mean"].get(measure)) is not None:
            axes.plot([mean] * 2, [place - 0.35, place + 0.35], color="C1")
    if (real := report["classifiers"]["real"]["mean"][measure]) is not None:
        axes.axvline(real, color="gray", linestyle=":")
    axes.axhline(len(report["classifiers"]) - 0.5, color="gray", linewidth=0.5)  # below: students
    axes.set(xlabel=f"{measure.replace('_', ' ')} on the test images", yticks=range(len(rows)), yticklabels=list(rows))
    axes.invert_yaxis()
    return figure


def confusion_figure(report: Mapping[str, Any]) -> Figure:
    """What pixels of each class are taken for: a row for each true class, a column for each predicted one.

    A cell tells how many pixels, its shade their share of the row. There is a column "unlabelled" only where the
    prediction left pixels so.

    Parameters
    ----------
    report
        What `SegmentationReport.to_dict` gives; or the sum over the splits of :func:`hdgan.pixels.run_protocol`, which
        is `report["training"]["16"]` for 16 training images.
    """
    rows, columns = list(report["classes"]), [*report["classes"], "unlabelled"]
    pixels = np.array(report["confusion"])
    if not pixels[:, -1].any():
        pixels, columns = pixels[:, :-1], columns[:-1]
    shares = pixels / np.maximum(pixels.sum(axis=1, keepdims=True), 1)
    figure = _figure(len(columns) + 3, 0.5 * len(rows) + 2)
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for (row, column), count in np.ndenumerate(pixels):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8, color=colour)
    axes.set(xlabel="predicted", ylabel="truth")
    axes.set_xticks(range(len(columns)), labels=columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), labels=rows)
    figure.colorbar(shown, ax=axes, label="share of the true class")
    return figure


def vote_figure(logits: npt.NDArray[np.floating[Any]], classes: ClassList) -> Figure:
    """What every member of an ensemble says about one pixel: its probabilities, and the votes they add up to.

    Parameters
    ----------
    logits
        (members, K): what `PixelEnsemble.logits` gives for the pixel.
    classes
        The K classes.
    """
    if logits.ndim != 2 or logits.shape[1] != len(classes):
        raise InputError(f"logits of one pixel are (members, {len(classes)}), not {logits.shape}")
    members = len(logits)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    votes = np.bincount(logits.argmax(axis=1), minlength=len(classes))
    figure = _figure(8, 0.4 * len(classes) + 1.4)
    each, together = figure.subplots(1, 2, sharey=True)
    shown = each.imshow(probabilities.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    each.set(xlabel="member", xticks=range(members), xticklabels=range(1, members + 1))
    each.set(yticks=range(len(classes)), yticklabels=classes.names)
    figure.colorbar(shown, ax=each, label="probability")
    colours = [np.array(c.colour) / 255 for c in classes]
    together.barh(range(len(classes)), votes, color=colours, edgecolor="gray")
    together.set(xlabel=f"votes of {members}", xlim=(0, members))
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, layout="constrained")
