"""Samples of an augmenter as PNGs in a folder for each class, as :func:`hdgan.augmenters.open_images` reads them."""

from __future__ import annotations

import csv
import functools
import io
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hdgan.augmenters.base import LAST_SEED, ORIGINS, Augmenter, Shape
from hdgan.augmenters.images import LabelledImages
from hdgan.augmenters.judging import Judge
from hdgan.augmenters.registry import load
from hdgan.augmenters.selection import CONFIDENCE, check_rules, select, wanted_of
from hdgan.augmenters.sources import IMAGES
from hdgan.checks import check_number
from hdgan.pictures import CLASSES_SHOWN, IMAGES_SHOWN, ImageFiles, row_sheet, write_png
from tiling.errors import InputError
from tiling.files import read_json, remove, write_bytes, write_json
from tiling.progress import track
from tiling.stage import RECORD, Stage, mend, read_record, replaced

MANIFEST, SHEET, SELECTION = "manifest.csv", "contact-sheet.png", "selection.json"
_AT_ONCE = 64
_ELSEWHERE = "give another folder (--out)"
_SAFE = re.compile(r"(?!(?:train|class-\d+)\Z)\w[\w .-]*", re.IGNORECASE)


def write_samples(
    augmenter_file: Path | str,
    out: Path | str,
    *,
    n: int,
    label: int | str | None = None,
    seed: int = 0,
    device: str = "auto",
    redo: bool = False,
) -> Path:
    """Draw samples of every class; the same call continues a killed one, and one with a larger `n` adds some.

    One with a smaller `n` leaves those that there are.

    Parameters
    ----------
    augmenter_file
        What a fit left in its run folder, or :meth:`Augmenter.save` elsewhere.
    out
        Folder for `images/CLASS/000000.png` (number = that of the sample among those of its class), `manifest.csv`
        (index, class, seed, file) and `contact-sheet.png` (the first eight of each of the first twelve classes).
    n
        Samples of a class.
    label
        A class, by place or name; None: all.
    seed
        Of all draws.
    device
        "auto" (a GPU if there is one), "cpu" or "cuda": where the networks compute.
    redo
        Discard what is in `out`.

    Returns
    -------
    Path
        The manifest.
    """
    check_number("n", n, 1, 10**6)
    source, out = Path(augmenter_file), Path(out)
    augmenter = load(source, device=device)
    labels = _labels(augmenter, label)
    config: dict[str, Any] = {"seed": seed, "n": n, "classes": [augmenter.classes[each] for each in labels]}
    config = _or_more(config, out, out / _file(augmenter, labels[0], n), redo)
    n = config["n"]
    with Stage.begin(
        out, name="augment sample", config=config, inputs={"augmenter": _stage_or_file(source)}, grows=("n",),
        elsewhere=_ELSEWHERE, redo=redo,
    ) as stage:  # fmt: skip
        if not stage.complete:
            for each in labels:
                _draw_missing(augmenter, each, out, n, seed)
            _write_index(out, augmenter, [(each, index) for each in labels for index in range(n)], seed)
            stage.finish(principal=[out / MANIFEST], summary={"images": n * len(labels)}, licence=augmenter.licence)
    return out / MANIFEST


def write_selection(
    augmenter_file: Path | str,
    out: Path | str,
    images: LabelledImages,
    *,
    rules: Sequence[str],
    ratio: float,
    label: int | str | None = None,
    judge: Judge | None = None,
    least: float = 0.8,
    seed: int = 0,
    inputs: Mapping[str, Path] | None = None,
    device: str = "auto",
    redo: bool = False,
) -> dict[str, Any]:
    """Draw samples and keep those that rules let pass: :func:`hdgan.augmenters.select`, as files.

    The same call after a killed one goes on with the training of the classifier; samples are drawn and judged anew.

    Parameters
    ----------
    augmenter_file, label, seed, device, redo
        As for :func:`write_samples`.
    out
        Folder for the same files as there, each sample under its number; and `selection.json`.
    images
        Real images, to choose and to count by.
    rules
        Of :data:`hdgan.augmenters.selection.RULES`, in the order in which they are tried.
    ratio
        Samples for each real image, class by class.
    judge
        The classifier that rules measure by; None: one is trained on `images`, in `out`.
    least
        Probability of its class that "confidence" asks for.
    inputs
        What `images` come from: see :meth:`Augmenter.fit`.

    Returns
    -------
    dict
        What `selection.json` holds: :meth:`hdgan.augmenters.selection.Selection.to_dict`.

    Raises
    ------
    InputError
        For other rules, numbers out of range, a ratio that asks for no sample; where the images, or the classifier, are
        not of the augmenter's size and classes; where a class has no image that a classifier could be trained on, or a
        centroid be the mean of; and for a classifier that cannot judge by the rules. All before anything is trained.
    """
    source, out, judge = Path(augmenter_file), Path(out), judge or Judge()
    augmenter = load(source, device=device)
    counts = _checked(augmenter, images, judge, rules, label=label, ratio=ratio, least=least, seed=seed)
    fingerprint = images.fingerprint()
    config = {
        "seed": seed, "rules": list(rules), "ratio": ratio, "least": least if CONFIDENCE in rules else None,
        "classes": list(counts), "images": fingerprint, "classifier": judge.training(rules, images),
    }  # fmt: skip
    made_from = {"augmenter": _stage_or_file(source), **judge.inputs(rules), **(inputs or {})}
    with Stage.begin(
        out, name="augment sample --select", config=config, inputs=made_from, origins={"images": ORIGINS["images"]},
        elsewhere=_ELSEWHERE, redo=redo,
    ) as stage:  # fmt: skip
        if not stage.complete:
            criteria = judge.criteria(rules, images, fingerprint, out=out, least=least, device=device)
            found = select(augmenter, counts, ratio=ratio, criteria=criteria, seed=seed)
            remove(out / IMAGES)  # of a choice that was stopped, and may have been another on another device
            samples = list(zip(found.labels.tolist(), found.numbers.tolist(), strict=True))
            for sample, image in zip(samples, found.pixels, strict=True):
                write_png(out / _file(augmenter, *sample), image)
            _write_index(out, augmenter, samples, seed)
            write_json(out / SELECTION, found.to_dict())
            licence = sorted({*augmenter.licence, *images.licence})
            stage.finish(principal=[out / MANIFEST], summary={"images": len(samples)}, licence=licence)
    return read_json(out / SELECTION)


def _checked(
    augmenter: Augmenter,
    images: LabelledImages,
    judge: Judge,
    rules: Sequence[str],
    *,
    label: int | str | None,
    ratio: float,
    least: float,
    seed: int,
) -> dict[str, int]:
    """Real images of each class that is asked for; an :class:`InputError` for what cannot be chosen."""
    check_rules(rules)
    check_number("least", least, 0, 1, whole=False)
    check_number("seed", seed, 0, LAST_SEED)
    if (shape := Shape.of(images)) != augmenter.shape:
        raise InputError(f"the images are {shape}, and the augmenter's samples {augmenter.shape}")
    counts = {augmenter.classes[each]: images.counts[augmenter.classes[each]] for each in _labels(augmenter, label)}
    wanted_of(counts, ratio)
    judge.check(rules, images)
    return counts


def _labels(augmenter: Augmenter, label: int | str | None) -> Sequence[int]:
    """Places of the classes that are asked for."""
    return range(len(augmenter.classes)) if label is None else [augmenter.place(label)]


def _stage_or_file(source: Path) -> Path:
    """What samples are made from: the run folder of a fit, or an augmenter's file elsewhere."""
    return source.parent if (source.parent / RECORD).exists() else source


def _or_more(config: dict[str, Any], out: Path, next_one: Path, redo: bool) -> dict[str, Any]:
    """What is asked for; or what was, if the folder is gone on with and holds more than these samples."""
    mend(out)
    if next_one.exists() and (out / RECORD).exists() and (not redo or replaced(out)):
        before: dict[str, Any] = read_record(out)["config"]
        if before | {"n": config["n"]} == config:
            return before
    return config


def _draw_missing(augmenter: Augmenter, label: int, out: Path, n: int, seed: int) -> None:
    starts = range(0, n, _AT_ONCE)
    for start in track(starts, f"drawing {augmenter.classes[label]}"):
        paths = [out / _file(augmenter, label, index) for index in range(start, min(start + _AT_ONCE, n))]
        if all(path.exists() for path in paths):
            continue
        images = augmenter.sample(len(paths), label, seed=seed, first=start)
        for path, image in zip(paths, images, strict=True):
            if not path.exists():
                write_png(path, image)


def _write_index(out: Path, augmenter: Augmenter, samples: Sequence[tuple[int, int]], seed: int) -> None:
    """The table of samples, by their labels and numbers, and a sheet of the first of each class."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["index", "class", "seed", "file"])
    for label, index in samples:
        table.writerow([index, augmenter.classes[label], seed, _file(augmenter, label, index).as_posix()])
    write_bytes(out / MANIFEST, text.getvalue().encode())
    by_class = [list(of)[:IMAGES_SHOWN] for _, of in itertools.groupby(samples, key=lambda sample: sample[0])]
    rows = [
        (
            ImageFiles([out / _file(augmenter, *sample) for sample in shown]),
            [f"{index} {augmenter.classes[label]}" for label, index in shown],
        )
        for shown in by_class[:CLASSES_SHOWN]
    ]
    if rows:
        write_png(out / SHEET, row_sheet(rows, size=augmenter.shape.size))


def _file(augmenter: Augmenter, label: int, index: int) -> Path:
    """Of a sample, below the folder of all."""
    return Path(IMAGES) / _folders(augmenter.classes)[label] / f"{index:06}.png"


@functools.cache
def _folders(classes: tuple[str, ...]) -> list[str]:
    """Names for the folders of classes.

    A class whose name is no name of a folder, that of a part, or like a number, goes by its number; and so do those
    whose names differ by case alone, as there are disks to which that is no difference.
    """
    times = Counter(name.casefold() for name in classes)
    return [
        name if _SAFE.fullmatch(name) and times[name.casefold()] == 1 else f"class-{label}"
        for label, name in enumerate(classes)
    ]
