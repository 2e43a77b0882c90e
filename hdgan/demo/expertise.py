"""The expert's part of the demo: a stand-in learns the phantom's classes, is scored, and labels samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hdgan.annotations import encode_indexed_png, picked_samples
from hdgan.demo.expert import ColourExpert, kmeans_expert, score_expert, train_expert
from hdgan.demo.folders import DemoFolders
from hdgan.demo.truth import labelled_tiles, read_truth
from hdgan.labels import KIDNEY
from hdgan.pictures import read_image
from hdgan.samples import image_path
from hdgan.segment import Segmenter
from tiling import TileSet
from tiling.files import write_bytes, write_json
from tiling.progress import track
from tiling.stage import Stage

MASKS = "masks"
SCORE = "score.json"
CLASSES = "classes.json"
_NAME = "demo expert"
_COLOUR_CLASSES = 4


def label_phantom(
    folders: DemoFolders, *, slide_seed: int, unseen_seed: int, steps: int, seed: int = 0, redo: bool = False
) -> Path:
    """Train the stand-in on the phantom's tiles and exact truth, score it, and let it label the picked samples.

    Writes `expert/network`, `expert/score.json` (on tiles of the unseen phantom, which it was not trained on) and
    `expert/masks`, whose path it returns; the same call continues a killed one. `redo` discards what is in `expert`.
    """
    tiles, unseen = folders.study.require("tile"), folders.unseen.require("tile")
    config = {"kind": "network", "slide_seed": slide_seed, "unseen_seed": unseen_seed, "steps": steps, "seed": seed}
    picked = _picked(folders)
    inputs = {"tiles": tiles, "unseen tiles": unseen, "picks": folders.study.picks}
    with Stage.begin(folders.expert, name=_NAME, config=config, inputs=inputs, redo=redo) as stage:
        if not stage.complete:
            learnt = labelled_tiles(TileSet.open(tiles), read_truth(folders.truth(slide_seed)), len(KIDNEY))
            expert = train_expert(*learnt, folders.expert / "network", steps=steps, seed=seed)
            asked = labelled_tiles(TileSet.open(unseen), read_truth(folders.truth(unseen_seed)), len(KIDNEY))
            score = {"kind": "network trained on the phantom's truth", **score_expert(expert, *asked).to_dict()}
            _label(folders, expert, picked, score)
            stage.finish(principal=_principal(folders), summary={"masks": len(picked)})
    return folders.expert / MASKS


def label_by_colour(folders: DemoFolders, *, seed: int = 0, redo: bool = False) -> Path:
    """Label the picked samples by k-means of colour, for a real slide, whose truth nobody knows.

    Writes `expert/classes.json`, `expert/score.json` (without a score) and `expert/masks`, whose path it returns.
    `redo` discards what is in `expert`.
    """
    tiles = folders.study.require("tile")
    picked = _picked(folders)
    config = {"kind": "colour", "seed": seed}
    inputs = {"tiles": tiles, "picks": folders.study.picks}
    with Stage.begin(folders.expert, name=_NAME, config=config, inputs=inputs, redo=redo) as stage:
        if not stage.complete:
            opened = TileSet.open(tiles)
            chosen = np.linspace(0, len(opened) - 1, min(len(opened), 64)).round().astype(int)
            expert = kmeans_expert([opened.read(int(i)) for i in chosen], classes=_COLOUR_CLASSES, seed=seed)
            expert.classes.save(folders.expert / CLASSES)
            _label(folders, expert, picked, {"kind": f"k-means of colour, {_COLOUR_CLASSES} classes"})
            stage.finish(principal=_principal(folders), summary={"masks": len(picked)})
    return folders.expert / MASKS


def _picked(folders: DemoFolders) -> list[int]:
    """Which samples to label: those that `hdgan annotate pick` chose."""
    made_by = f"hdgan annotate pick --study {folders.study.root}"
    return picked_samples(folders.study.picks, folders.study.require("sample"), made_by=made_by)


def _label(folders: DemoFolders, expert: Segmenter | ColourExpert, picked: list[int], score: dict[str, object]) -> None:
    """Write the expert's score, and its masks as files that an expert would hand in."""
    write_json(folders.expert / SCORE, score)
    for index in track(picked, "labelling samples"):
        labels = expert.predict(read_image(image_path(folders.study.latents, index)))
        write_bytes(folders.expert / MASKS / f"image_{index:04d}.png", encode_indexed_png(labels, expert.classes))


def _principal(folders: DemoFolders) -> list[Path]:
    return [folders.expert / SCORE, folders.expert / MASKS]
