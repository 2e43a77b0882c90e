"""Samples of an augmenter as PNGs in a folder for each class, as :func:`hdgan.augmenters.open_images` reads them."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hdgan.augmenters.base import LAST_SEED, ORIGINS, Augmenter, Shape
from hdgan.augmenters.classifier import CLASSIFIER, Classifier, ClassifierConfig, fit_classifier
from hdgan.augmenters.images import LabelledImages, fingerprint_of
from hdgan.augmenters.registry import load
from hdgan.augmenters.selection import RANDOM, Criterion, check_rules, criteria_named, select, wanted_of
from hdgan.checks import check_number
from hdgan.pictures import ImageFiles, contact_sheet, write_png
from hdgan.provenance import digest
from tiling.errors import InputError
from tiling.files import read_json, write_bytes, write_json
from tiling.progress import note, track
from tiling.stage import RECORD, Stage, read_record
from tiling.wording import counted
from training.devices import choose_device

MANIFEST, SHEET, IMAGES, SELECTION = "manifest.csv", "contact-sheet.png", "images", "selection.json"
_AT_ONCE = 64
_COLUMNS, _MOST_ROWS, _THUMBNAIL = 8, 12, 64
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
        (index, class, seed, file) and `contact-sheet.png` (the first eight of each class).
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
    labels = range(len(augmenter.classes)) if label is None else [augmenter.place(label)]
    if not redo and (out / RECORD).exists() and (out / _file(augmenter, labels[0], n)).exists():
        n = read_record(out)["config"].get("n", n)  # fewer are there already
    config = {"seed": seed, "n": n, "classes": [augmenter.classes[each] for each in labels]}
    inputs = {"augmenter": source.parent if (source.parent / RECORD).exists() else source}
    with Stage.begin(
        out, name="augment sample", config=config, inputs=inputs, grows=("n",), elsewhere=_ELSEWHERE, redo=redo
    ) as stage:
        if not stage.complete:
            for each in labels:
                _draw_missing(augmenter, each, out, n, seed)
            samples = [(each, index) for each in labels for index in range(n)]
            write_bytes(out / MANIFEST, _manifest(augmenter, samples, seed).encode())
            _write_sheet(augmenter, samples, out)
            stage.finish(
                principal=[out / MANIFEST], summary={"images": n * len(labels)}, licence=list(augmenter.licence)
            )
    return out / MANIFEST


def write_selection(
    augmenter_file: Path | str,
    out: Path | str,
    images: LabelledImages,
    *,
    rules: Sequence[str],
    ratio: float,
    label: int | str | None = None,
    classifier: Path | None = None,
    least: float = 0.8,
    config: ClassifierConfig | None = None,
    classifiers: Path | None = None,
    seed: int = 0,
    inputs: Mapping[str, Path] | None = None,
    device: str = "auto",
    redo: bool = False,
) -> dict[str, Any]:
    """Draw samples and keep those that rules let pass: :func:`hdgan.augmenters.select`, as files.

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
    classifier
        File of a classifier of real images; None: one is trained on `images`, unless samples are taken at random.
    least
        Probability of its class that "confidence" asks for.
    config
        How a classifier is trained.
    classifiers
        Folder for the run folder of the one that is trained, where later calls with the same images and `config` find
        it, whatever their rules; None: `out`.
    inputs
        What `images` come from: see :meth:`Augmenter.fit`.

    Returns
    -------
    dict
        What `selection.json` holds, {class: values of :class:`hdgan.augmenters.selection.Account`, with `passed`}.

    Raises
    ------
    InputError
        For other rules, numbers out of range, a ratio that asks for no sample, and where the images, or the classifier,
        are not of the augmenter's size and classes: all before anything is trained.
    """
    check_rules(rules)
    check_number("least", least, 0, 1, whole=False)
    check_number("seed", seed, 0, LAST_SEED)
    source, out = Path(augmenter_file), Path(out)
    augmenter = load(source, device=device)
    _require_same("the images are", Shape.of(images), augmenter)
    chosen = augmenter.classes if label is None else [augmenter.classes[augmenter.place(label)]]
    counts = {name: images.counts[name] for name in chosen}
    wanted_of(counts, ratio)
    config = config or ClassifierConfig()
    config = replace(config, batch=min(config.batch, len(images)))
    of_images = [digest({"labels": images.labels}), fingerprint_of(images.pixels)]
    trains = classifier is None and RANDOM not in rules
    settings = {
        "seed": seed, "rules": list(rules), "ratio": ratio, "least": least if "confidence" in rules else None,
        "classes": list(chosen), "images": of_images, "classifier": asdict(config) if trains else None,
    }  # fmt: skip
    made_from = {"augmenter": source.parent if (source.parent / RECORD).exists() else source, **(inputs or {})}
    if classifier is not None:
        made_from["classifier"] = classifier
    with Stage.begin(
        out, name="augment sample --select", config=settings, inputs=made_from, origins=ORIGINS,
        elsewhere=_ELSEWHERE, redo=redo,
    ) as stage:  # fmt: skip
        if not stage.complete:
            criteria: list[Criterion] = []
            if RANDOM not in rules:
                run = _run_of_classifier(classifiers or out, config, images, of_images)
                judge = _judge(classifier, images, run, config, device)
                _require_same("the classifier takes images", judge.shape, augmenter)
                criteria = criteria_named(rules, images, judge, least=least)
            found = select(augmenter, counts, ratio=ratio, criteria=criteria, seed=seed)
            samples = list(zip(found.labels.tolist(), found.numbers.tolist(), strict=True))
            for sample, image in zip(samples, found.pixels, strict=True):
                write_png(out / _file(augmenter, *sample), image)
            write_bytes(out / MANIFEST, _manifest(augmenter, samples, seed).encode())
            if samples:
                _write_sheet(augmenter, samples, out)
            told = {name: asdict(account) | {"passed": account.passed} for name, account in found.accounts.items()}
            write_json(out / SELECTION, told)
            licence = sorted({*augmenter.licence, *images.licence})
            stage.finish(principal=[out / MANIFEST], summary={"images": len(samples)}, licence=licence)
    return read_json(out / SELECTION)


def _judge(file: Path | None, images: LabelledImages, run: Path, config: ClassifierConfig, device: str) -> Classifier:
    """A classifier from a file, or trained on images."""
    if file is not None:
        return Classifier.load(file, device=choose_device(device))
    if not (run / CLASSIFIER).exists():
        note(
            f"to choose by, a classifier is trained first on {counted(len(images), 'real image')}, {config.steps} "
            f"steps of {config.batch} by --preset. It stays in {run}, for other rules, too; --classifier FILE takes "
            "one that there is"
        )
    return fit_classifier(images, run=run, config=config, device=device)


def _run_of_classifier(
    folder: Path, config: ClassifierConfig, images: LabelledImages, of_images: Sequence[str]
) -> Path:
    """A folder for each classifier, by what it is trained on and how: none stands in another's way."""
    trained_on = json.dumps([asdict(config), images.counts, *of_images])
    return folder / f"classifier-{hashlib.sha256(trained_on.encode()).hexdigest()[:8]}"


def _require_same(what: str, shape: Shape, augmenter: Augmenter) -> None:
    if shape != augmenter.shape:
        raise InputError(f"{what} {shape}, and the augmenter's samples {augmenter.shape}")


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


def _manifest(augmenter: Augmenter, samples: Sequence[tuple[int, int]], seed: int) -> str:
    """Of samples by their labels and numbers."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["index", "class", "seed", "file"])
    for label, index in samples:
        table.writerow([index, augmenter.classes[label], seed, _file(augmenter, label, index).as_posix()])
    return text.getvalue()


def _write_sheet(augmenter: Augmenter, samples: Sequence[tuple[int, int]], out: Path) -> None:
    """The first of each class, a row for each where there are as many."""
    by_class = [list(each) for _, each in itertools.groupby(samples, key=lambda sample: sample[0])][:_MOST_ROWS]
    columns = min(max(map(len, by_class)), _COLUMNS)
    shown = [sample for each in by_class for sample in each[:columns]]
    images = ImageFiles([out / _file(augmenter, *each) for each in shown])
    captions = [f"{index} {augmenter.classes[label]}" for label, index in shown]
    size = max(augmenter.shape.size, _THUMBNAIL)
    write_png(out / SHEET, contact_sheet(images, columns=columns, captions=captions, size=size))


def _file(augmenter: Augmenter, label: int, index: int) -> Path:
    """Of a sample, below the folder of all.

    A class whose name is no name of a folder, that of a part, or like a number, goes by its number.
    """
    name = augmenter.classes[label]
    return Path(IMAGES) / (name if _SAFE.fullmatch(name) else f"class-{label}") / f"{index:06}.png"
