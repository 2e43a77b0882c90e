"""What came out of the demo, in a few sentences that are computed from its results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hdgan.annotations import stored_masks
from hdgan.demo.comparison import result_path
from hdgan.demo.expertise import SCORE
from hdgan.demo.folders import DemoFolders
from hdgan.metrics import beats, measure_text, verdict
from hdgan.pairs import PairSet
from hdgan.pixels.fitting import CONFIG, REPORT
from hdgan.study import Study
from tiling import TileSet
from tiling.files import read_json
from tiling.wording import counted

_PHANTOM = "a phantom: a slide that was drawn, not scanned, so that the true class of every pixel is known"
_WHY_NO_BETTER = "It may be that too few images were labelled, or that the generator was trained too briefly."


def conclusion(folders: DemoFolders) -> str:
    """What was made, and how good the stand-in, the ensemble and the segmenters are.

    Of a real slide nobody knows the truth: only the ensemble is scored, against labels that go by colour.
    """
    score = read_json(folders.expert / SCORE)
    known = "per_class" in score
    sentences = [
        _what_was_made(folders.study, phantom=known),
        _of_expert(score if known else None, len(stored_masks(folders.study.annotations))),
        _of_ensemble(folders.study, why=_WHY_NO_BETTER if known else ""),
    ]
    if not known:
        sentences.append("As the labels go by colour alone, this shows that the stages work, not how good they can be.")
    if result_path(folders).exists():
        sentences.append(segmenters_compared(read_json(result_path(folders))))
    return " ".join(sentences)


def segmenters_compared(result: Mapping[str, Any]) -> str:
    """Whether the pairs are of more use than the labelled images alone, from `comparison/result.json`."""
    pairs, labelled = result["pairs"], result["labelled images alone"]
    from_pairs, from_labelled = (measure_text(report["macro"]["dice"]) for report in (pairs, labelled))
    if beats(pairs, labelled):
        outcome = "the pairs help"
    elif beats(labelled, pairs):
        outcome = "the pairs do not help, it does better without them"
    else:
        outcome = "the pairs neither help nor harm"
    return (
        f"A segmenter trained on the pairs has a macro Dice of {from_pairs} on the second phantom, "
        f"and the same network trained on the {counted(labelled['images'], 'labelled image')} alone {from_labelled}: "
        f"{outcome}, as far as one training of each can tell."
    )


def _what_was_made(study: Study, *, phantom: bool) -> str:
    pairs = PairSet.open(study.require("synthesize"))
    source = _PHANTOM if phantom else f"the slide {TileSet.open(study.require('tile'))[0].slide}"
    return f"{counted(len(pairs), 'image-mask pair')} were made from {source}."


def _of_expert(score: Mapping[str, Any] | None, masks: int) -> str:
    role = f"labelled {counted(masks, 'generated image')} in place of a pathologist"
    if score is None:
        return f"A stand-in expert, here a grouping of pixels by colour, {role}; it cannot be scored without a truth."
    dice = measure_text(score["macro"]["dice"])
    return (
        f"A stand-in expert, here a network that learnt the phantom's true classes, {role}; "
        f"on a second phantom, which it had not seen, its macro Dice is {dice}."
    )


def _of_ensemble(study: Study, *, why: str) -> str:
    folder = study.require("fit")
    report, split = read_json(folder / REPORT), read_json(folder / CONFIG)["split"]
    fitted = (
        f"An ensemble of pixel classifiers was fitted on {len(split['train'] + split['validation'])} of these images"
    )
    if report["ensemble"] is None:
        return f"{fitted}; none was kept for a test."
    where = f"{fitted}; on another {len(split['test'])}"
    return verdict(report["ensemble"], report["nearest_colour"], where=where, why=why)
