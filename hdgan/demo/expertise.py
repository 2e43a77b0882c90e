"""The expert's part of the demo: a stand-in learns the phantom's classes, is scored, and labels samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hdgan.annotations import encode_indexed_png
from hdgan.demo.expert import ColourExpert, kmeans_expert, score_expert, train_expert
from hdgan.demo.folders import DemoFolders
from hdgan.demo.truth import labelled_tiles, read_truth
from hdgan.labels import KIDNEY
from hdgan.pictures import read_image
from hdgan.samples import load_samples
from hdgan.segment import Segmenter
from tiling import TileSet
from tiling.files import read_json, write_bytes, write_json
from tiling.progress import track

MASKS = "masks"
SCORE = "score.json"
_COLOUR_CLASSES = 4


def phantom_expert(folders: DemoFolders, *, slide_seed: int, unseen_seed: int, steps: int, seed: int = 0) -> Segmenter:
    """Train the stand-in on the phantom's tiles and exact truth, and score it on the unseen phantom.

    Writes `expert/network`, `expert/score.json` (on phantom tiles it was not trained on).
    """
    classes = len(KIDNEY)
    tiles = TileSet.open(folders.study.require("tile"))
    images, truths = labelled_tiles(tiles, read_truth(folders.truth(slide_seed)), classes)
    expert = train_expert(images, truths, folders.expert / "network", steps=steps, seed=seed)
    unseen = TileSet.open(folders.unseen.require("tile"))
    score = score_expert(expert, *labelled_tiles(unseen, read_truth(folders.truth(unseen_seed)), classes))
    write_json(folders.expert / SCORE, {"kind": "network trained on the phantom's truth", **score.to_dict()})
    return expert


def colour_expert(folders: DemoFolders, *, seed: int = 0) -> ColourExpert:
    """The stand-in for a real slide, whose truth nobody knows: k-means of colour. Writes `expert/classes.json`."""
    tiles = TileSet.open(folders.study.require("tile"))
    chosen = np.linspace(0, len(tiles) - 1, min(len(tiles), 64)).round().astype(int)
    expert = kmeans_expert([tiles.read(int(i)) for i in chosen], classes=_COLOUR_CLASSES, seed=seed)
    expert.classes.save(folders.expert / "classes.json")
    write_json(folders.expert / SCORE, {"kind": f"k-means of colour, {_COLOUR_CLASSES} classes"})
    return expert


def label_picked(folders: DemoFolders, expert: Segmenter | ColourExpert) -> Path:
    """Label the samples that `hdgan annotate pick` chose, as files an expert would hand in."""
    paths = load_samples(folders.study.require("sample"))[1]
    picked = read_json(folders.study.annotations / "picked.json")["indices"]
    masks = folders.expert / MASKS
    for index in track(picked, "label"):
        labels = expert.predict(read_image(paths[index]))
        write_bytes(masks / f"image_{index:04d}.png", encode_indexed_png(labels, expert.classes))
    return masks
