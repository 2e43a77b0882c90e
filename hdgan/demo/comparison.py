"""What the product is for: does a segmenter gain from the pairs, compared with the labelled images alone?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdgan.annotations import load_masks
from hdgan.demo.folders import DemoFolders
from hdgan.demo.truth import labelled_tiles, read_truth
from hdgan.labels import Image, LabelMap
from hdgan.metrics import segmentation_report
from hdgan.pairs import PairSet
from hdgan.pictures import read_image
from hdgan.sampling import load_samples
from hdgan.segment import LabelledImages, fit_segmenter
from tiling import TileSet
from tiling.files import write_json

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

    Same network, same steps, same settings. Both learn from the stand-in expert's labels of generated images only:
    the phantom's truth is seen by neither. Writes `comparison/result.json`.
    """
    masks, classes = load_masks(folders.study.annotations)
    paths = load_samples(folders.study.require("sample"))[1]
    labelled: list[tuple[Image, LabelMap]] = [(read_image(paths[i]), mask) for i, mask in masks.items()]
    pairs = PairSet.open(folders.study.require("synthesize")).select(drop_uncertain=_DROP_UNCERTAIN)
    training: dict[str, LabelledImages] = {"pairs": PairImages(pairs), "labelled images alone": labelled}
    unseen = TileSet.open(folders.unseen.require("tile"))
    images, truths = labelled_tiles(unseen, read_truth(folders.truth(unseen_seed)), len(classes))
    crop = min(96, images.shape[1] // 8 * 8)
    result: dict[str, Any] = {}
    for name, examples in training.items():
        out = folders.comparison / name.replace(" ", "-")
        segmenter = fit_segmenter(examples, out, classes=classes, steps=steps, crop=crop, seed=seed)
        report = segmentation_report(iter(truths), (segmenter.predict(image) for image in images), classes)
        result[name] = {"images": len(examples), **report.to_dict()}
    write_json(folders.comparison / RESULT, result)
    return result


def result_path(folders: DemoFolders) -> Path:
    """Where :func:`compare_segmenters` wrote."""
    return folders.comparison / RESULT
