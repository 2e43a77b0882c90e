"""From features and an expert's label maps to an ensemble and a report of what it gets right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hdgan.features import Features
from hdgan.labels import UNLABELLED, ClassList, Image, LabelClass, LabelMap
from hdgan.lazy import LazyMapping
from hdgan.metrics.segmentation import report_of_pairs
from hdgan.pixels.baseline import NearestColour
from hdgan.pixels.ensemble import PixelEnsemble, with_colours
from hdgan.pixels.predict import predict_windows, windows_of
from hdgan.pixels.presets import Preset, preset_of
from hdgan.pixels.sampling import PixelSampler
from hdgan.pixels.statistics import Statistics, upsampled_statistics
from hdgan.pixels.told import digest_by_place, digest_of, names_of
from hdgan.pixels.trainer import EnsembleTrainer, Validation
from tiling.errors import InputError
from tiling.files import remove, write_json
from tiling.progress import track
from tiling.stage import Stage
from tiling.wording import counted
from training.host import Host
from training.loop import CHECKPOINTS, LoopConfig, run_loop
from training.metrics import read_metrics

ENSEMBLE, CONFIG, REPORT = "ensemble.safetensors", "config.json", "report.json"
PARTS = ("train", "validation", "test")
_ORIGINS = {
    "split": "masks of other images (some came or went since, or another split was asked for)",
    "labels": "other masks (they have changed since)",
    "images": "other images",
}
_MANY_CLASSES = 32  # DatasetGAN widens its networks from here on

Split = Mapping[str, Sequence[int]]


def fit(
    store: Features,
    labels: Mapping[int, LabelMap],
    out: str | Path,
    *,
    split: Split,
    members: int = 10,
    preset: str | Preset = "default",
    seed: int = 0,
    classes: Iterable[str | LabelClass] | None = None,
    images: Mapping[int, Image] | None = None,
    device: str | torch.device = "cpu",
    inputs: Mapping[str, Path] | None = None,
    redo: bool = False,
) -> PixelEnsemble:
    """Fit an ensemble on the labelled pixels of the training images, and report on the test images.

    The epoch with the least loss on the validation images is kept (without any, the last). A killed fit goes on with
    the same call after its last whole epoch, and ends with the same weights as one that was not disturbed. The report
    scores the members' vote, as the papers do, whichever rule later labels pairs.

    Parameters
    ----------
    store
        The features.
    labels
        {store index: (H, W) uint8}, 255 where unlabelled. Read one at a time, two or three times each, and not kept, so
        that a mapping may read them from files as they are asked for.
    out
        Folder for `ensemble.safetensors`, `config.json`, `report.json` and `metrics.jsonl` (losses by epoch).
    split
        {"train": [...], "validation": [...], "test": [...]}: store indices; validation and test may be empty.
    members
        How many networks, trained together on the same batches.
    preset
        "default", "paper" (Rizvi et al. 2022), "datasetgan" (Zhang et al. 2021), or a :class:`Preset`.
    seed
        Of weights, batches, noise and dropout.
    classes
        Names in index order or a `ClassList`; without it, "class 0" to the highest label.
    images
        {index: (H, W, 3) uint8}: where given, the report has a nearest-colour baseline beside the ensemble. Read one
        at a time, so that a mapping may read them from files as they are asked for.
    device
        Where to train: "auto" (a GPU if there is one), "cpu", "cuda", or a device. Under `torchrun` or `accelerate
        launch` all processes call this, each on its own device: they share the members, and end with the weights that
        one process ends with. The first writes, and reports.
    inputs
        Folders of other stages the labels come from; their fingerprints and licences are recorded.
    redo
        Discard what is there.
    """
    host = Host(device)

    def task_of(parts: Split, named: ClassList) -> _Task:
        return _Task(store, labels, images, parts, named, preset_of(preset), members, seed)

    def begin() -> tuple[Stage, _Task]:
        """The stage, and what is to be done in it; what cannot be fitted is refused before the folder is touched."""
        if members < 1:
            raise InputError(f"an ensemble has at least 1 member, not {members}")
        if host.count > members:
            raise InputError(
                f"{host.count} processes cannot share {counted(members, 'member')}: start no more of them than members"
            )
        parts = _checked_split(split, store, labels)
        fingerprint, classes_in = _read_once(labels, parts, store)
        task = task_of(parts, _class_list(classes, classes_in))
        sources = {"features": store.path, **(inputs or {})}
        config = task.config(fingerprint)
        stage = Stage.begin(
            Path(out),
            name="fit",
            config=config,
            inputs=sources,
            origins=_ORIGINS,
            as_now=lambda made: task.as_now(made, config),
            redo=redo,
        )
        return stage, task

    begun = host.led(begin)
    if begun is None:  # one of several processes: the first one has the stage, and says what is to be fitted
        if agreed := host.told():
            _train(task_of(*agreed), Path(out), host)
    else:
        stage, task = begun
        with stage:
            host.told(None if stage.complete else (task.parts, task.classes))
            if not stage.complete:
                _finish(task, stage, _train(task, stage.folder, host))
    host.told()  # the ensemble is written
    return PixelEnsemble.load(Path(out) / ENSEMBLE, device=host.device)


@dataclass(frozen=True, eq=False)
class _Task:
    """What is to be fitted, checked."""

    store: Features
    labels: Mapping[int, LabelMap]
    images: Mapping[int, Image] | None
    parts: Split
    classes: ClassList
    preset: Preset
    members: int
    seed: int

    def config(self, labels: str) -> dict[str, Any]:
        """Everything that determines the outcome, with the fingerprint of the labels."""
        return {
            "members": self.members,
            "preset": asdict(self.preset),
            "seed": self.seed,
            "split": names_of(self.parts, self.store),
            "classes": self.classes.names,
            "labels": labels,
            "images": None if self.images is None else _digest(self.images, self.parts, self.store),
        }

    def as_now(self, made: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a record; of one by an earlier version, which told images by their places in the store."""
        if made["split"] != self.parts:
            return dict(made)
        of_images = {"labels": self.labels, "images": self.images}
        same = [
            key
            for key, values in of_images.items()
            if values is not None and made[key] == digest_by_place(values, _chosen(self.parts))
        ]
        return {**made, **{key: config[key] for key in ("split", *same)}}

    def trainer(self, host: Host) -> EnsembleTrainer:
        """A fresh ensemble with what it is to be trained on, by this process or by several."""
        store, preset = self.store, self.preset
        if preset.standardise:
            statistics = upsampled_statistics(store, self.parts["train"], host)
        else:
            statistics = Statistics.neutral(store.channels)
        ensemble = PixelEnsemble(
            layers=store.layers,
            classes=self.classes,
            members=self.members,
            hidden=preset.hidden_of_many if len(self.classes) >= _MANY_CLASSES else preset.hidden,
            generator=torch.Generator().manual_seed(self.seed),
            dropout=preset.dropout,
            weight_deviation=preset.weight_deviation,
        )
        ensemble.mean.copy_(torch.from_numpy(statistics.mean))
        ensemble.deviation.copy_(torch.from_numpy(statistics.deviation))
        sampler, validation = self._sampler("train", statistics), None
        if self.parts["validation"]:
            validation = Validation.draw(self._sampler("validation", statistics), self.seed, host.device)
        return EnsembleTrainer(ensemble.to(host.device), sampler, validation, preset, self.seed, host)

    def _sampler(self, part: str, statistics: Statistics) -> PixelSampler:
        return PixelSampler(
            self.store,
            self.labels,
            self.parts[part],
            classes=len(self.classes),
            balanced=self.preset.balanced,
            statistics=statistics,
        )


def _train(task: _Task, folder: Path, host: Host) -> EnsembleTrainer:
    """Train, or go on with it."""
    trainer = task.trainer(host)
    loop = LoopConfig(steps=task.preset.epochs, log_every=1, checkpoint_every=1)
    run_loop(trainer, folder, loop, "fit", finished=trainer.out_of_patience, host=host)
    return trainer


def _finish(task: _Task, stage: Stage, trainer: EnsembleTrainer) -> None:
    """Report, and write it all down."""
    folder = stage.folder
    ensemble = trainer.best_ensemble()
    ensemble.licence = tuple(stage.record["licence"])
    ensemble.fitted_on = task.store.generator
    ensemble.save(folder / ENSEMBLE)
    report = _report(ensemble, task)
    history = read_metrics(folder)
    training = {"epochs": len(history), "best_epoch": trainer.best_epoch, "history": history}
    write_json(folder / CONFIG, stage.record["config"] | {"layers": task.store.layers})
    write_json(folder / REPORT, {"training": training} | report)
    stage.finish(principal=[folder / ENSEMBLE], summary={"accuracy": report["accuracy"], "epochs": len(history)})
    remove(folder / CHECKPOINTS)


def _report(ensemble: PixelEnsemble, task: _Task) -> dict[str, Any]:
    """Measures on the test images: of the ensemble's vote, and of colour alone where there are images."""
    test, labels, images = task.parts["test"], task.labels, task.images
    if not test:
        return {"accuracy": None, "ensemble": None, "nearest_colour": None}
    of_ensemble = report_of_pairs(_predicted(ensemble, task), task.classes)
    of_colour = None
    if images is not None:
        baseline = NearestColour(((images[i], labels[i]) for i in task.parts["train"]), len(task.classes))
        of_colour = report_of_pairs(_coloured(baseline, images, task), task.classes).to_dict()
    return {"accuracy": of_ensemble.accuracy, "ensemble": of_ensemble.to_dict(), "nearest_colour": of_colour}


def _predicted(ensemble: PixelEnsemble, task: _Task) -> Iterator[tuple[LabelMap, LabelMap]]:
    """True and predicted labels of the test images, window by window."""
    for i in track(task.parts["test"], "test images"):
        truth = task.labels[i]
        for here, labels, _ in predict_windows(ensemble, task.store, i):
            yield truth[here], labels


def _coloured(baseline: NearestColour, images: Mapping[int, Image], task: _Task) -> Iterator[tuple[LabelMap, LabelMap]]:
    """True labels of the test images and those of their colours, window by window."""
    for i in task.parts["test"]:
        truth, image = task.labels[i], images[i]
        for here in windows_of(truth.shape):
            yield truth[here], baseline.predict(image[here])


def _checked_split(split: Split, store: Features, labels: Mapping[int, LabelMap]) -> dict[str, list[int]]:
    unknown = set(split) - set(PARTS)
    if unknown:
        raise InputError(f"a split has the parts {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    parts = {part: [int(i) for i in split.get(part, [])] for part in PARTS}
    chosen = [i for part in PARTS for i in parts[part]]
    if not parts["train"]:
        raise InputError("the split names no image to train on")
    if len(set(chosen)) < len(chosen):
        repeated = sorted({i for i in chosen if chosen.count(i) > 1})
        raise InputError(f"an image may be in one part of the split only; in more are {repeated}")
    for i in chosen:
        if i not in labels:
            raise InputError(f"image {i} of the split has no label map; labelled are {sorted(labels)}")
        if not 0 <= i < len(store):
            raise InputError(f"image {i} of the split is not among the {len(store)} whose features are stored")
    return parts


def _read_once(labels: Mapping[int, LabelMap], parts: Split, store: Features) -> tuple[str, Mapping[int, int]]:
    """Fingerprint of the label maps of a split, and how many classes it takes to label each, up to its highest."""
    classes_in: dict[int, int] = {}

    def checked(i: int) -> LabelMap:
        values = labels[i]
        if values.shape != store.shape or values.dtype != np.uint8:
            raise InputError(
                f"label map {i} is {values.shape} {values.dtype}; the features are of {store.shape} px, and labels are "
                "uint8"
            )
        classes_in[i] = int((values - np.uint8(UNLABELLED)).max())  # modulo 256: 0 of an unlabelled pixel
        return values

    chosen = _chosen(parts)
    fingerprint = digest_of(LazyMapping(chosen, checked), chosen, store)
    for part in ("train", "validation"):
        if parts[part] and not any(classes_in[i] for i in parts[part]):
            raise InputError(f"no pixel is labelled in the {part} images {parts[part]}")
    return fingerprint, classes_in


def _class_list(classes: Iterable[str | LabelClass] | None, classes_in: Mapping[int, int]) -> ClassList:
    most = max(classes_in.values())
    named = with_colours([f"class {k}" for k in range(most)] if classes is None else classes)
    if most > len(named):
        raise InputError(f"the label maps hold class {most - 1}; the classes are {', '.join(named.names)}")
    return named


def _chosen(parts: Split) -> list[int]:
    """The images of all parts, in order."""
    return sorted(i for part in parts.values() for i in part)


def _digest(images: Mapping[int, Image], parts: Split, store: Features) -> str:
    """Fingerprint of all images of the split."""
    chosen = _chosen(parts)
    absent = [i for i in chosen if i not in images]
    if absent:
        raise InputError(f"image {absent[0]} of the split is missing from images; given are {sorted(images)}")
    return digest_of(images, chosen, store)
