"""Samples of an augmenter as PNGs in a folder for each class, as :func:`hdgan.augmenters.open_images` reads them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from hdgan.augmenters.base import Augmenter
from hdgan.augmenters.registry import load
from hdgan.checks import check_number
from hdgan.labels import Image
from hdgan.pictures import ImageFiles, contact_sheet, write_png
from tiling.errors import InputError
from tiling.files import write_bytes
from tiling.progress import track
from tiling.stage import RECORD, Stage

MANIFEST, SHEET, IMAGES = "manifest.csv", "contact-sheet.png", "images"
_AT_ONCE = 64
_COLUMNS, _MOST_ROWS, _THUMBNAIL = 8, 12, 64
_SAFE = re.compile(r"(?!(?:train|class-\d+)\Z)\w[\w .-]*", re.IGNORECASE)


def write_samples(
    augmenter_file: Path | str,
    out: Path | str,
    *,
    n: int,
    label: int | str | None = None,
    seed: int = 0,
    redo: bool = False,
) -> Path:
    """Draw samples of every class; the same call continues a killed one, and one with a larger `n` adds some.

    Parameters
    ----------
    augmenter_file
        What a fit left in its run folder, or :meth:`Augmenter.save` elsewhere.
    out
        Folder for `images/CLASS/000000.png` (number = that of the sample among those of its class), `manifest.csv`
        (index, class, seed, file) and `contact-sheet.png` (the first eight of each class).
    n
        Samples of a class.
    label
        A class, by place or name; None: all.
    seed
        Of all draws.
    redo
        Discard what is in `out`.

    Returns
    -------
    Path
        The manifest.
    """
    check_number("n", n, 1, 10**6)
    source, out = Path(augmenter_file), Path(out)
    augmenter = load(source)
    labels = range(len(augmenter.classes)) if label is None else [augmenter.place(label)]
    if not redo and (out / _file(augmenter, labels[0], n)).exists():
        raise InputError(f"{out} holds more than {n} samples of a class already: ask for more, or add --redo")
    config = {"seed": seed, "n": n, "classes": [augmenter.classes[each] for each in labels]}
    inputs = {"augmenter": source.parent if (source.parent / RECORD).exists() else source}
    with Stage.begin(out, name="augment sample", config=config, inputs=inputs, grows=("n",), redo=redo) as stage:
        if not stage.complete:
            for each in labels:
                _draw_missing(augmenter, each, out, n, seed)
            write_bytes(out / MANIFEST, _manifest(augmenter, labels, n, seed).encode())
            _write_sheet(augmenter, labels, out, n)
            stage.finish(
                principal=[out / MANIFEST], summary={"images": n * len(labels)}, licence=list(augmenter.licence)
            )
    return out / MANIFEST


def _draw_missing(augmenter: Augmenter, label: int, out: Path, n: int, seed: int) -> None:
    starts = range(0, n, _AT_ONCE)
    for start in track(starts, f"drawing {augmenter.classes[label]}"):
        paths = [out / _file(augmenter, label, index) for index in range(start, min(start + _AT_ONCE, n))]
        if all(path.exists() for path in paths):
            continue
        images = augmenter.sample(len(paths), label, seed=seed, first=start)
        for path, image in zip(paths, images, strict=True):
            if not path.exists():
                write_png(path, _as_picture(image))


def _as_picture(image: Image) -> Image:
    """(H, W) of grey, (H, W, 3) of RGB."""
    return image[..., 0] if image.shape[2] == 1 else image


def _manifest(augmenter: Augmenter, labels: Sequence[int], n: int, seed: int) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["index", "class", "seed", "file"])
    for label in labels:
        for index in range(n):
            table.writerow([index, augmenter.classes[label], seed, _file(augmenter, label, index).as_posix()])
    return text.getvalue()


def _write_sheet(augmenter: Augmenter, labels: Sequence[int], out: Path, n: int) -> None:
    shown = [(label, index) for label in labels[:_MOST_ROWS] for index in range(min(n, _COLUMNS))]
    images = ImageFiles([out / _file(augmenter, *each) for each in shown])
    captions = [f"{index} {augmenter.classes[label]}" for label, index in shown]
    size = max(augmenter.shape.size, _THUMBNAIL)
    write_png(out / SHEET, contact_sheet(images, columns=min(n, _COLUMNS), captions=captions, size=size))


def _file(augmenter: Augmenter, label: int, index: int) -> Path:
    """Of a sample, below the folder of all.

    A class whose name is no name of a folder, that of a part, or like a number, goes by its number.
    """
    name = augmenter.classes[label]
    return Path(IMAGES) / (name if _SAFE.fullmatch(name) else f"class-{label}") / f"{index:06}.png"
