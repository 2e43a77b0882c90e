"""The tables of a benchmark of augmenters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hdgan.metrics import measure_text

Rows = list[dict[str, str]]

REFERENCE = "real"
_ON_TEST = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f1": "F1",
    "confidence": "confidence",
}
_OF_SAMPLES = {
    "sample_confidence": "confidence",
    "recognised": "recognised",
    "frechet": "Frechet distance",
    "kernel": "kernel distance",
}
_MB = 1e6


def tables(report: Mapping[str, Any]) -> dict[str, Rows]:
    """Rows {heading: text} of each table, by its title; mean ± deviation over the seeds.

    The samples of every method, as Table 2 of "Advanced Deep Learning Mini Project: Data Augmentation" has methods by
    rows and the mean confidence of a classifier in them; all classifiers on the test images; GMCL's students, as its
    Table 2.
    """
    count = report["plan"]["seeds"]
    seeds = f"{count} seeds, mean ± deviation" if count > 1 else "one seed"
    found = {
        f"Samples, judged by the classifier of real images; distances from these in {report['space']}; {seeds}": [
            _row(name, of, _OF_SAMPLES) | {"samples": f"{of['mean']['samples']:.0f}"} | _cost(report, name)
            for name, of in report["classifiers"].items()
            if of["mean"].get("frechet") is not None
        ],
        f"Classifiers on the test images; {seeds}": [
            _row(name, of, _ON_TEST) | _of_fit(of["mean"]) for name, of in report["classifiers"].items()
        ],
    }
    if report["students"]:
        found[f"GMCL's students on the test images; {seeds}"] = [
            _row(name, of, _ON_TEST) | _of_fit(of["mean"]) for name, of in report["students"].items()
        ]
    return found


def _row(name: str, of: Mapping[str, Any], headings: Mapping[str, str]) -> dict[str, str]:
    texts = {heading: _text(of["mean"].get(key), of["deviation"].get(key)) for key, heading in headings.items()}
    return {"method": name, **texts}


def _text(mean: float | None, deviation: float | None) -> str:
    return measure_text(mean) if deviation is None else f"{measure_text(mean)} ± {measure_text(deviation)}"


def _cost(report: Mapping[str, Any], row: str) -> dict[str, str]:
    """Of the fit of the augmenter that a row begins with."""
    return _of_fit(report["augmenters"][row.partition(" ")[0]]["mean"])


def _of_fit(mean: Mapping[str, float]) -> dict[str, str]:
    gpu = {"GPU, MB": f"{mean['gpu_peak_bytes'] / _MB:.0f}"} if "gpu_peak_bytes" in mean else {}
    return {"fit, s": f"{mean['seconds']:.0f}", "peak, MB": f"{mean['peak_bytes'] / _MB:.0f}", **gpu}
