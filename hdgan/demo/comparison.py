"""What the product is for: does a segmenter gain from the pairs, compared with the labelled images alone?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdgan.annotated import annotated_samples
from hdgan.demo.folders import DemoFolders
from hdgan.demo.truth import labelled_tiles, read_truth
from hdgan.labels import ClassList, Image, LabelMap
from hdgan.metrics import segmentation_report
from hdgan.pairs import PairSet
from hdgan.pixels.fitting import CONFIG
from hdgan.segment import fit_segmenter
from hdgan.study import Study
from tiling import TileSet
from tiling.errors import InputError
from tiling.files import read_json, write_json
from tiling.stage import Stage, fingerprint_of, read_record

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


def compare_segmenters(
    folders: DemoFolders, *, unseen_seed: int, steps: int, seed: int = 0, redo: bool = False
) -> dict[str, Any]:
    """Fit one segmenter on the pairs and one on the annotated images alone; score both on the unseen phantom.

    Same network, same steps, same settings. Both descend from the same of the stand-in expert's labels, those that the
    ensemble was fitted on, and see generated images only: the phantom's truth is seen by neither. Writes
    `comparison/result.json`; the same call continues a killed one. `redo` discards what is in `comparison`.
    """
    study = folders.study
    labelled, classes = labelled_images(study)
    inputs = {
        "masks": study.annotations / "masks",
        "latents": study.latents,
        "classifiers": study.classifiers,
        "pairs": study.require("synthesize"),
        "unseen tiles": folders.unseen.require("tile"),
    }
    config = {"unseen_seed": unseen_seed, "steps": steps, "seed": seed, "drop_uncertain": _DROP_UNCERTAIN}
    with Stage.begin(folders.comparison, name="demo compare", config=config, inputs=inputs, redo=redo) as stage:
        if not stage.complete:
            pairs = PairImages(PairSet.open(study.pairs).select(drop_uncertain=_DROP_UNCERTAIN))
            truth = read_truth(folders.truth(unseen_seed))
            images, truths = labelled_tiles(TileSet.open(folders.unseen.tiles), truth, len(classes))
            crop = min(96, images.shape[1] // 8 * 8)
            result: dict[str, Any] = {}
            for name, examples, sources in (
                ("pairs", pairs, ["pairs"]),
                ("labelled images alone", labelled, ["latents", "classifiers"]),
            ):
                segmenter = fit_segmenter(
                    examples,
                    folders.comparison / name.replace(" ", "-"),
                    classes=classes,
                    steps=steps,
                    crop=crop,
                    seed=seed,
                    inputs={source: inputs[source] for source in sources},
                )
                report = segmentation_report(iter(truths), map(segmenter.predict, images), classes)
                result[name] = {"images": len(examples), **report.to_dict()}
            write_json(result_path(folders), result)
            stage.finish(principal=[result_path(folders)])
    return read_json(result_path(folders))


def labelled_images(study: Study) -> tuple[list[tuple[Image, LabelMap]], ClassList]:
    """What the ensemble learnt from: the annotated images of its training and validation, none of its test."""
    fitted = study.require("fit")
    if read_record(fitted)["inputs"]["features"] != fingerprint_of(study.features):
        raise InputError(f"{fitted} was fitted on other features than there are now: run `hdgan fit --redo` first")
    samples, split = annotated_samples(study), read_json(fitted / CONFIG)["split"]
    place = {name: position for position, name in enumerate(samples.store.latents)}
    seen = sorted(place.get(name, name) for name in split["train"] + split["validation"])  # once told by place
    return [(samples.images[position], samples.masks[position]) for position in seen], samples.classes


def result_path(folders: DemoFolders) -> Path:
    """Where :func:`compare_segmenters` wrote."""
    return folders.comparison / RESULT
