"""What the product is for: does a segmenter gain from the pairs, compared with the labelled images alone?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdgan.annotations import load_masks
from hdgan.demo.folders import DemoFolders
from hdgan.demo.truth import labelled_tiles, read_truth
from hdgan.features import FeatureStore
from hdgan.labels import ClassList, Image, LabelMap
from hdgan.metrics import segmentation_report
from hdgan.pairs import PairSet
from hdgan.pictures import read_image
from hdgan.pixels.fitting import CONFIG
from hdgan.samples import load_samples
from hdgan.segment import LabelledImages, fit_segmenter
from hdgan.study import Study
from tiling import TileSet
from tiling.files import read_json, write_json

RESULT = "result.json"
_DROP_UNCERTAIN = 0.1


class PairImages(Sequence[tuple[Image, LabelMap]]):
    """A pair set as (image, mask) tuples, read as they are asked for."""

    def __init__(self, pairs: PairSet) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: Any) -> Any:
        pair = self._pairs[index]
        return pair.image(), pair.mask()


def compare_segmenters(folders: DemoFolders, *, unseen_seed: int, steps: int, seed: int = 0) -> dict[str, Any]:
    """Fit one segmenter on the pairs and one on the annotated images alone; score both on the unseen phantom.

    Same network, same steps, same settings. Both descend from the same of the stand-in expert's labels, those that the
    ensemble was fitted on, and see generated images only: the phantom's truth is seen by neither. Writes
    `comparison/result.json`.
    """
    study = folders.study
    labelled, classes = labelled_images(study)
    pairs = PairSet.open(study.require("synthesize")).select(drop_uncertain=_DROP_UNCERTAIN)
    training: dict[str, tuple[LabelledImages, dict[str, Path]]] = {
        "pairs": (PairImages(pairs), {"pairs": pairs.path}),
        "labelled images alone": (labelled, {"latents": study.latents, "classifiers": study.classifiers}),
    }
    unseen = TileSet.open(folders.unseen.require("tile"))
    images, truths = labelled_tiles(unseen, read_truth(folders.truth(unseen_seed)), len(classes))
    crop = min(96, images.shape[1] // 8 * 8)
    result: dict[str, Any] = {}
    for name, (examples, inputs) in training.items():
        out = folders.comparison / name.replace(" ", "-")
        segmenter = fit_segmenter(examples, out, classes=classes, steps=steps, crop=crop, seed=seed, inputs=inputs)
        report = segmentation_report(iter(truths), (segmenter.predict(image) for image in images), classes)
        result[name] = {"images": len(examples), **report.to_dict()}
    write_json(folders.comparison / RESULT, result)
    return result


def labelled_images(study: Study) -> tuple[list[tuple[Image, LabelMap]], ClassList]:
    """What the ensemble learnt from: the annotated images of its training and validation, none of its test."""
    masks, classes = load_masks(study.annotations)
    split = read_json(study.require("fit") / CONFIG)["split"]
    seeds = FeatureStore.open(study.require("features")).seeds
    latents, paths = load_samples(study.require("sample"))
    sample_of = {int(seed): index for index, seed in enumerate(latents.seed)}
    seen = [sample_of[int(seeds[position])] for position in split["train"] + split["validation"]]
    return [(read_image(paths[index]), masks[index]) for index in sorted(seen)], classes


def result_path(folders: DemoFolders) -> Path:
    """Where :func:`compare_segmenters` wrote."""
    return folders.comparison / RESULT
