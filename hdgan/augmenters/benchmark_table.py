"""The tables of a benchmark of augmenters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hdgan.metrics import CLASSIFICATION_MEASURES, measure_text, positive_note
from tiling.wording import counted

Rows = list[dict[str, str]]

_OF_SAMPLES = {
    "sample_confidence": "confidence",
    "recognised": "recognised",
    "frechet": "Frechet distance",
    "kernel": "kernel distance",
}
_BALANCED = "balanced_accuracy"
_MB = 1e6


def tables(report: Mapping[str, Any]) -> dict[str, Rows]:
    """Rows {heading: text} of each table, by its title; mean ± deviation over the seeds.

    The samples of every method, as Table 2 of "Advanced Deep Learning Mini Project: Data Augmentation" has methods by
    rows and the mean confidence of a classifier in them; all classifiers on the test images; GMCL's students, as its
    Table 2. What is known of some seeds only says of how many.
    """
    count = report["plan"]["seeds"]
    of_one = positive_note(list(report["images"]["train"]))
    seeds = f"{count} seeds, mean ± deviation" if count > 1 else "one seed"
    found = {
        f"Samples, judged by the classifier of real images, and how far they are from these; {seeds}": [
            _row(name, of, _OF_SAMPLES) | {"samples": f"{of['mean']['samples']:.0f}"} | _cost(report, name)
            for name, of in report["classifiers"].items()
            if "samples" in of["mean"]
        ],
        f"Classifiers on the test images{of_one}; {seeds}": [
            _row(name, of, CLASSIFICATION_MEASURES) | _added(report, name) | _of_fit(of["mean"])
            for name, of in report["classifiers"].items()
        ],
    }
    if report["students"]:
        found[f"GMCL's students on the test images{of_one}; {seeds}"] = [
            _row(name, of, CLASSIFICATION_MEASURES) | _training(of["mean"]) | _of_fit(of["mean"])
            for name, of in report["students"].items()
        ]
    return {title: _aligned(rows) for title, rows in found.items() if rows}


def explanations(report: Mapping[str, Any]) -> list[str]:
    """What stands in the tables, a line for each, and how the best of the classifiers is beside that of real images."""
    return [
        "recognised: the share of samples that the classifier of real images takes for the class that was asked for",
        "selected: of more samples those that this classifier is sure of, and that are nearest to real images of their "
        "class; the others are taken as they come",
        f"distances: of the samples' features in {report['space']} from those of the real images; less is nearer",
        _best(report["classifiers"]),
        *(
            f"{row} is of fewer seeds: {why}"
            for row, why in {row: why for of in report["diverged"] for row, why in of.items()}.items()
        ),
    ]


def _best(classifiers: Mapping[str, Mapping[str, Any]]) -> str:
    """The row of the highest mean balanced accuracy, and by how much it is above "real", seed by seed."""
    values = {
        name: np.array([seed.get(_BALANCED) for seed in of["of_seeds"]], float)  # NaN where it is not known
        for name, of in classifiers.items()
    }
    others = {name: of for name, of in values.items() if name != "real" and not np.isnan(of - values["real"]).any()}
    if not others:
        return "balanced accuracy: no row can be compared with real in all seeds"
    best = max(others, key=lambda name: float(others[name].mean()))
    apart = others[best] - values["real"]
    sense = "above" if apart.mean() >= 0 else "below"
    spread = f" ± {measure_text(float(apart.std(ddof=1)))}" if len(apart) > 1 else ""
    among = f", of {counted(len(others), 'row')} picked by these images" if len(others) > 1 else ""
    by = measure_text(abs(float(apart.mean())))
    told = f"best balanced accuracy beside real{among}: {best}, {by}{spread} {sense} it"
    return f"{told}, in {counted(len(apart), 'seed')}" if len(apart) > 1 else f"{told}; one seed is no evidence"


def _aligned(rows: Rows) -> Rows:
    """Rows of one set of headings, empty where a row has no such value."""
    headings = list(dict.fromkeys(heading for row in rows for heading in row))
    return [{heading: row.get(heading, "") for heading in headings} for row in rows]


def _row(name: str, of: Mapping[str, Any], headings: Mapping[str, str]) -> dict[str, str]:
    return {"method": name, **{heading: _text(of, key) for key, heading in headings.items()}}


def _text(of: Mapping[str, Any], key: str) -> str:
    mean, deviation = of["mean"].get(key), of["deviation"].get(key)
    text = measure_text(mean) if deviation is None else f"{measure_text(mean)} ± {measure_text(deviation)}"
    known = sum(seed.get(key) is not None for seed in of["of_seeds"])
    return f"{text} ({counted(known, 'seed')})" if 0 < known < len(of["of_seeds"]) else text


def _added(report: Mapping[str, Any], row: str) -> dict[str, str]:
    """Samples that a classifier was trained with, of those wanted, and in how many seeds which class is short."""
    accounts = [of[row] for of in report["selections"] if row in of]
    if not accounts:
        return {"samples (of wanted)": "", "short": ""}
    each = {key: [sum(of[key] for of in seed.values()) for seed in accounts] for key in ("taken", "wanted")}
    short = [
        f"{name} in {counted(seeds, 'seed')}"
        for name in accounts[0]
        if (seeds := sum(seed[name]["taken"] < seed[name]["wanted"] for seed in accounts))
    ]
    return {
        "samples (of wanted)": f"{np.mean(each['taken']):.0f} ({np.mean(each['wanted']):.0f})",
        "short": ", ".join(short),
    }


def _training(mean: Mapping[str, float]) -> dict[str, str]:
    if "updates" not in mean:  # it diverged in every seed
        return {}
    return {"real images shown": f"{mean['real_images']:.0f}", "updates": f"{mean['updates']:.0f}"}


def _cost(report: Mapping[str, Any], row: str) -> dict[str, str]:
    """Of the fit of the augmenter that a row begins with."""
    return _of_fit(report["augmenters"][row.partition(" ")[0]]["mean"])


def _of_fit(mean: Mapping[str, float]) -> dict[str, str]:
    if "seconds" not in mean:
        return {}
    gpu = {"GPU, MB": f"{mean['gpu_peak_bytes'] / _MB:.0f}"} if "gpu_peak_bytes" in mean else {}
    return {"fit, s": f"{mean['seconds']:.0f}", "peak, MB": f"{mean['peak_bytes'] / _MB:.0f}", **gpu}
