"""The published protocol: fits on several splits of the labelled images, each tested on images that it never saw.

Rizvi et al. 2022, section 3, train on 16 of 36 images, stop by 4 and test on 16. One split of so few images tells
little; here there are several, drawn by seeds, and smaller parts of each one's training images tell how many it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hdgan.features import Features
from hdgan.labels import LabelClass, LabelMap
from hdgan.metrics.segmentation import MEASURES
from hdgan.pixels.fitting import REPORT as FIT_REPORT
from hdgan.pixels.fitting import fit
from hdgan.pixels.presets import Preset, preset_of
from hdgan.pixels.split import PAPER_COUNTS, nested_subsets, split_images
from hdgan.pixels.told import digest_by_place, digest_of, names_of
from tiling.errors import InputError
from tiling.files import read_json, write_json
from tiling.progress import note
from tiling.stage import Stage
from tiling.wording import counted
from training.host import Host

REPORT = "report.json"
_ORIGINS = {
    "labels": "other masks (some came, went or have changed since)",
    "subsets": "other training images of the same splits",
}
_AVERAGES = ("macro", "micro")
_HEADINGS = dict(zip(MEASURES, ("recall", "precision", "Dice", "IoU"), strict=True))


def run_protocol(
    store: Features,
    labels: Mapping[int, LabelMap],
    out: str | Path,
    *,
    counts: tuple[int, int, int] = PAPER_COUNTS,
    training: Sequence[int] = (),
    splits: int = 5,
    members: int = 10,
    preset: str | Preset = "default",
    seed: int = 0,
    classes: Iterable[str | LabelClass] | None = None,
    device: str | torch.device = "cpu",
    inputs: Mapping[str, Path] | None = None,
    redo: bool = False,
) -> dict[str, Any]:
    """Fit and test an ensemble on several splits of the labelled images.

    What was fitted before the process was killed is not fitted again. Scores are those of the members' vote, as of
    :func:`hdgan.pixels.fit`.

    Parameters
    ----------
    store, labels, members, preset, classes, device, inputs, redo
        As for :func:`hdgan.pixels.fit`.
    out
        Folder for `report.json`, and for each fit a folder like `split-0/train-16/`.
    counts
        Images for training, validation and test, as for :func:`hdgan.pixels.split_images`.
    training
        Smaller numbers of training images to be fitted, too, in each split: drawn from those of the split by its seed,
        the fewer from the more (:func:`hdgan.pixels.split.nested_subsets`), with the same validation and test images.
    splits
        How many splits; number k is drawn by `seed + k`, which its ensemble starts from, too.

    Returns
    -------
    dict
        The report: `counts`, `splits`, `seed`, `members`, `preset`, `classes`, and under `training`, for each number of
        training images (as text, the largest first), what :func:`over_splits` gives.

    Raises
    ------
    InputError
        For counts that the images do not have, no test images, and numbers of training images that are not smaller than
        the split's.
    """
    if splits < 1:
        raise InputError(f"splits must be at least 1, not {splits}")
    if counts[2] < 1:
        raise InputError(f"the protocol tests on images that no fit saw: keep some, not {'/'.join(map(str, counts))}")
    if wrong := [n for n in training if not 1 <= n <= counts[0]]:
        raise InputError(f"numbers of training images must be 1 to {counts[0]}, as the split has, not {wrong[0]}")
    sizes = sorted({counts[0], *training}, reverse=True)
    shares = [split_images(sorted(labels), counts=counts, seed=seed + k) for k in range(splits)]
    subsets = [nested_subsets(share["train"], sizes, seed=seed + k) for k, share in enumerate(shares)]
    whose: dict[str, Any] = {"members": members, "preset": asdict(preset_of(preset)), "seed": seed}
    host = Host(device)

    def begin() -> Stage:
        config = {
            **whose,
            "counts": list(counts),
            "training": sizes,
            "splits": splits,
            "subsets": [names_of(subset, store) for subset in subsets],
            "classes": None if classes is None else [c if isinstance(c, str) else c.name for c in classes],
            "labels": digest_of(labels, labels, store),
        }

        def as_now(made: Mapping[str, Any]) -> dict[str, Any]:
            """Of an earlier version, which told images by their places in the store."""
            by_place = [{str(size): list(images) for size, images in subset.items()} for subset in subsets]
            if made["subsets"] != by_place or made["labels"] != digest_by_place(labels, labels):
                return dict(made)
            return {**made, **{key: config[key] for key in ("subsets", "labels")}}

        sources = {"features": store.path, **(inputs or {})}
        return Stage.begin(
            Path(out), name="protocol", config=config, inputs=sources, origins=_ORIGINS, as_now=as_now, redo=redo
        )

    stage = host.led(begin)  # None in others of several processes, which share every fit
    with stage or nullcontext():
        if not host.told(stage is not None and stage.complete):
            found: dict[int, list[dict[str, Any]]] = {size: [] for size in sizes}
            for k, share in enumerate(shares):
                for size in sizes:
                    folder = Path(out) / f"split-{k}" / f"train-{size}"
                    note(f"split {k + 1} of {splits}, {counted(size, 'training image')}")
                    fit(
                        store, labels, folder, split={**share, "train": subsets[k][size]}, members=members,
                        preset=preset, seed=seed + k, classes=classes, device=host.device,
                    )  # fmt: skip
                    found[size].append(read_json(folder / FIT_REPORT)["ensemble"])
            if stage is not None:
                _finish(stage, whose, counts, splits, found)
    host.told()  # the report is written
    return dict(read_json(Path(out) / REPORT))


def _finish(
    stage: Stage,
    whose: Mapping[str, Any],
    counts: Sequence[int],
    splits: int,
    found: Mapping[int, Sequence[Mapping[str, Any]]],
) -> None:
    """Write what the fits' reports, {number of training images: one of each split}, have in common."""
    most = max(found)
    report: dict[str, Any] = {
        **whose,
        "counts": list(counts),
        "splits": splits,
        "classes": found[most][0]["classes"],
        "training": {str(size): over_splits(reports) for size, reports in found.items()},
    }
    write_json(stage.folder / REPORT, report)
    summary = {"splits": splits, "macro": report["training"][str(most)]["mean"]["macro"]}
    stage.finish(principal=[stage.folder / REPORT], summary=summary)


def over_splits(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What several reports, each a `SegmentationReport.to_dict()`, tell together.

    Returns
    -------
    dict
        `classes`; the `confusion` summed over the splits; what each split gave (`of_splits`); the `mean` and the
        `deviation` of every measure of `per_class`, `macro` and `micro`: recall, precision, Dice and IoU; and in how
        many `splits`. A class counts in the splits that have it in their truth, as it does in a report's macro average.
        Deviations are of the sample (divided by n - 1). None where too few splits count.
    """
    groups = {name: _in_truth(report[name] for report in reports) for name in _AVERAGES}
    classes = {name: _in_truth(report["per_class"][name] for report in reports) for name in reports[0]["classes"]}

    def each(of: Callable[[Sequence[Mapping[str, Any]]], Any]) -> dict[str, Any]:
        per_class = {name: of(measures) for name, measures in classes.items()}
        return {"per_class": per_class, **{name: of(measures) for name, measures in groups.items()}}

    return {
        "classes": reports[0]["classes"],
        "confusion": np.sum([report["confusion"] for report in reports], axis=0).tolist(),
        "of_splits": [dict(report) for report in reports],
        "mean": each(lambda found: {m: _mean([of[m] for of in found]) for m in MEASURES}),
        "deviation": each(lambda found: {m: _deviation([of[m] for of in found]) for m in MEASURES}),
        "splits": each(len),
    }


def _in_truth(measures: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of splits whose truth has the class: all measures of these are numbers."""
    return [of for of in measures if of["recall"] is not None]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def protocol_rows(report: Mapping[str, Any], training: int) -> list[dict[str, str]]:
    """The rows {heading: text} of a table like the paper's Table 1: classes, then macro and micro averages.

    Each cell is a mean over the splits, "±" the deviation. "splits" are those with the class in their truth, over which
    its means are: a column only where they are not all.
    """
    found = report["training"][str(training)]
    mean, deviation, splits = ({**found[of]["per_class"], **found[of]} for of in ("mean", "deviation", "splits"))
    names = [*report["classes"], *_AVERAGES]
    some_lack = any(splits[name] < report["splits"] for name in names)
    return [
        {
            "class": name,
            **{heading: _cell(mean[name][m], deviation[name][m]) for m, heading in _HEADINGS.items()},
            **({"splits": f"{splits[name]} of {report['splits']}"} if some_lack else {}),
        }
        for name in names
    ]


def efficiency_rows(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """How many training images are needed: macro Dice and recall for each number, and their share of the most's."""
    rows = []
    sizes = list(report["training"])
    most = report["training"][sizes[0]]["mean"]["macro"]
    for size in sizes:
        found = report["training"][size]
        mean, deviation = found["mean"]["macro"], found["deviation"]["macro"]
        share = f"{100 * mean['dice'] / most['dice']:.0f}%" if most["dice"] else "–"
        cells = {f"macro {name}": _cell(mean[m], deviation[m]) for m, name in (("dice", "Dice"), ("recall", "recall"))}
        rows.append({"training images": size, **cells, "share of Dice": share})
    return rows


def _cell(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return "–"
    return f"{mean:.3f}" if deviation is None else f"{mean:.3f} ± {deviation:.3f}"
