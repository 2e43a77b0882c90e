"""What a classifier takes images for, as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hdgan.augmenters.classifier import Classifier
from hdgan.augmenters.images import LabelledImages, Pixels
from hdgan.augmenters.sources import IndexedTiles
from hdgan.image_folder import ImageFolder
from hdgan.metrics import ClassificationReport, classification_report
from tiling.errors import InputError
from tiling.files import write_bytes
from tiling.wording import first_few


def classify(
    classifier: Classifier, parts: Mapping[str, LabelledImages | Pixels], table: Path | str, *, redo: bool = False
) -> dict[str, ClassificationReport]:
    """Write probabilities of each image, and measure them where the classes are known.

    Parameters
    ----------
    classifier
        Read by :meth:`Classifier.load`.
    parts
        Images by the name of their part, as :func:`hdgan.augmenters.open_images` gives them; or without labels, as
        :func:`hdgan.augmenters.sources.open_unlabelled` does.
    table
        CSV file to write: part, image (its file below the folder, or its number), class, predicted, and the
        probability of each class.
    redo
        Replace a file that is there.

    Returns
    -------
    dict
        The report of each part that has labels.

    Raises
    ------
    InputError
        For images of another size or colour, and of classes that the classifier does not know; and where `table` is.
    """
    if not redo and Path(table).exists():
        raise InputError(f"{table} is there already: name another file, or add --redo to replace it")
    classes = classifier.shape.classes
    for images in parts.values():
        if isinstance(images, LabelledImages) and (strangers := [of for of in images.classes if of not in classes]):
            raise InputError(f"the classifier knows no {first_few(strangers)}; it has: {', '.join(classes)}")
    text, reports = io.StringIO(), {}
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["part", "image", "class", "predicted", *(f"p({name})" for name in classes)])
    for part, images in parts.items():
        pixels = images.pixels if isinstance(images, LabelledImages) else images
        chances = classifier.predict(pixels)
        known = [""] * len(chances)
        if isinstance(images, LabelledImages):
            labels = np.array([classes.index(name) for name in images.classes])[images.labels]
            reports[part] = classification_report(labels, chances, classes)
            known = [classes[label] for label in labels]
        for name, of, each in zip(_names(pixels), known, chances, strict=True):
            rows.writerow([part, name, of, classes[each.argmax()], *(f"{chance:.6f}" for chance in each)])
    write_bytes(Path(table), text.getvalue().encode())
    return reports


def _names(pixels: Pixels) -> list[str]:
    """Of images: their files', or numbers."""
    if isinstance(pixels, IndexedTiles) and isinstance(pixels.tiles, ImageFolder):
        return [pixels.tiles.names[index] for index in pixels.indices]
    return [str(number) for number in range(pixels.shape[0])]
