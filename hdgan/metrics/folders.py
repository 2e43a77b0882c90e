"""Measures of masks that other programs made: two folders of PNG files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hdgan.labels import ClassList, LabelMap
from hdgan.metrics.segmentation import SegmentationReport, report_of_pairs
from tiling.errors import InputError
from tiling.progress import track


def compare_folders(truth: Path, predicted: Path, classes: ClassList) -> SegmentationReport:
    """Compare the PNG masks of a folder with the true ones of the same names in another, one pair in memory at a time.

    Parameters
    ----------
    truth
        Folder of true masks, as :func:`hdgan.annotations.read_indexed_png` reads them. Pixels that are 255
        (unlabelled) do not count.
    predicted
        Folder with a mask of the same name and size for each; what else it holds is passed over.
    classes
        The classes of both.

    Raises
    ------
    InputError
        For a folder that does not exist, true masks that are none or have no counterpart, and masks that cannot be
        read or differ in size.
    """
    for folder in (truth, predicted):
        if not folder.is_dir():
            raise InputError(f"no such folder: {folder}")
    names = [path.name for path in sorted(truth.glob("*.png"))]
    if not names:
        raise InputError(f"{truth} holds no PNG masks")
    if missing := [name for name in names if not (predicted / name).exists()]:
        raise InputError(f"{predicted} lacks {missing[0]}, which {truth} holds ({len(missing)} missing in all)")
    return report_of_pairs(_pairs(truth, predicted, names, classes), classes)


def _pairs(truth: Path, predicted: Path, names: list[str], classes: ClassList) -> Iterator[tuple[LabelMap, LabelMap]]:
    from hdgan.annotations import read_indexed_png  # slow to import, and the other measures do without it

    for name in track(names, "comparing masks"):
        true = read_indexed_png(truth / name, shape=None, classes=classes)
        height, width = true.shape
        yield true, read_indexed_png(predicted / name, shape=(height, width), classes=classes)
