"""A comparison of two sets of images as a table."""

from __future__ import annotations

from collections.abc import Callable

from hdgan.metrics.comparison import DistributionReport
from hdgan.metrics.neighbours import Memorisation

_OF_ALL: tuple[tuple[str, str, Callable[[DistributionReport], str]], ...] = (
    ("images, real and generated", "", lambda report: f"{report.real:,} and {report.fake:,}"),
    ("Frechet distance", "0", lambda report: f"{report.frechet:.4g}"),
    ("kernel distance", "0", lambda report: f"{report.kernel.mean:.3g} ± {report.kernel.deviation:.2g}"),
    ("precision", "1", lambda report: f"{report.overlap.precision:.3f}"),
    ("recall", "1", lambda report: f"{report.overlap.recall:.3f}"),
    ("density", "1", lambda report: f"{report.overlap.density:.3f}"),
    ("coverage", "1", lambda report: f"{report.overlap.coverage:.3f}"),
)
_OF_MEMORY: tuple[tuple[str, str, Callable[[Memorisation], str]], ...] = (
    ("nearer to a training tile than 95% of held-out ones", "5%", lambda found: f"{found.copied:.1%}"),
    ("the same of all distances (C_T)", "0", lambda found: f"{found.z:.2f}"),
)


def comparison_rows(report: DistributionReport) -> list[dict[str, str]]:
    """The rows of a report's table: {"measure", "all images", a column for each label, "ideal"}, all text.

    A label with too few images has dashes. What tells of memorisation is of all images, and there only if it was asked.
    """

    def row(measure: str, ideal: str, values: list[str]) -> dict[str, str]:
        return {"measure": measure, **dict(zip(("all images", *report.per_class), values, strict=True)), "ideal": ideal}

    parts = [report, *report.per_class.values()]
    rows = [
        row(measure, ideal, ["–" if part is None else text(part) for part in parts]) for measure, ideal, text in _OF_ALL
    ]
    if (found := report.memorisation) is not None:
        dashes = ["–"] * len(report.per_class)
        rows += [row(measure, ideal, [text(found), *dashes]) for measure, ideal, text in _OF_MEMORY]
    return rows


def comparison_notes(report: DistributionReport) -> list[str]:
    """What to know of the numbers in a report's table: nothing, or that there were few images for one of them."""
    parts = {"all images": report, **report.per_class}
    few = {
        name: least
        for name, part in parts.items()
        if part is not None and (least := min(part.real, part.fake)) < part.dimensions
    }
    if not few:
        return []
    of = "" if "all images" in few else f" of {', '.join(few)}"
    least = few.get("all images", min(few.values()))
    return [
        f"Frechet distance{of}: {least} images or tiles are fewer than the {report.dimensions} dimensions of the "
        "feature space, so it says little; look at the kernel distance."
    ]
