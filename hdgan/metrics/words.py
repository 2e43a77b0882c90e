"""What a table of scores cannot say by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hdgan.metrics.segmentation import measure_text

Report = Mapping[str, Any]  # as SegmentationReport.to_dict gives it

_WHY_NO_BETTER = (
    "It may be that too few images are annotated, that the generator has not learnt the structure, "
    "or that the classes differ in colour only."
)


def beats(report: Report, other: Report) -> bool:
    """Whether the macro Dice of a report is higher, in the decimals that tables show."""
    ours, theirs = (measured["macro"]["dice"] for measured in (report, other))
    return ours is not None and theirs is not None and round(ours, 3) > round(theirs, 3)


def verdict(ensemble: Report, colour: Report, *, where: str = "On the test images", why: str = _WHY_NO_BETTER) -> str:
    """The ensemble against the nearest colour on the same pixels, in a sentence; `why` follows where it is no better.

    Examples
    --------
    >>> verdict({"macro": {"dice": 0.62}}, {"macro": {"dice": 0.31}})
    'On the test images, the ensemble has a macro Dice of 0.620; nearest colour, which knows no structure, has 0.310.'
    """
    if ensemble["macro"]["dice"] is None:
        return f"{where}, no pixel is labelled, so nothing could be scored."
    ours, theirs = (measure_text(report["macro"]["dice"]) for report in (ensemble, colour))
    if beats(ensemble, colour):
        return (
            f"{where}, the ensemble has a macro Dice of {ours}; nearest colour, which knows no structure, has {theirs}."
        )
    return (
        f"{where}, the ensemble does not beat nearest colour, which knows no structure: "
        f"its macro Dice is {ours}, that of nearest colour {theirs}. {why}"
    ).rstrip()


def footnotes(report: Report) -> list[str]:
    """What the dashes and the column "unlabelled" of :func:`score_rows` mean, and which pixels no score counts.

    Only what there is in this report.
    """
    notes = []
    if absent := [name for name in report["classes"] if not report["support"][name]]:
        notes.append(f"–: not in the truth, so without a score, and in no mean: {', '.join(absent)}.")
    if sum(report["unlabelled"].values()):
        notes.append("unlabelled: pixels of the class that the prediction left without a label; they count as missed.")
    if ignored := report.get("ignored"):  # reports of earlier versions do not have it
        notes.append(f"Pixels unlabelled in the truth, left free by the expert: {ignored:,}; they count in no score.")
    return notes
