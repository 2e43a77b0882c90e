"""Samples beside the training tiles that are most like them: whether the generator repeats what it saw."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from hdgan.image_folder import ImageFolder
from hdgan.labels import Image
from hdgan.metrics import Chosen, FeatureSpace, Turned, embed_images, nearest
from hdgan.metrics.distribution import Doubles
from hdgan.pictures import ImageFiles, contact_sheet, read_image, write_png
from hdgan.quality import RealTiles, TileSplit, keeping_features
from hdgan.samples import NEAREST_SHEET, NEAREST_TABLE, load_samples
from tiling.files import write_bytes

_PAIRS = 24  # on the sheet
_PAIRS_IN_ROW = 4
_THUMBNAIL = 128  # px


def nearest_training_tiles(
    samples: Path, tiles: RealTiles, split: TileSplit, *, space: FeatureSpace, kept: Path | None = None
) -> Path:
    """Find the training tile nearest to each sample, in any orientation; write a table and a sheet beside the samples.

    Parameters
    ----------
    samples
        Folder of a finished sampling. `nearest.csv` has a row for each image: its number and seed; the tile's number,
        and its slide and place (level-0 px) or its file; the distance of the two in the feature space; and, if tiles
        were held out from the training, `held_out_nearer`, the share of these that are nearer to a training tile than
        the sample is: 0 is suspicious, 0.5 is as it should be. `nearest.png` shows the nearest pairs, sample and tile
        side by side.
    tiles
        The tiles that the generator was trained on.
    split
        Which of them, see :func:`hdgan.quality.training_split`. If the training cropped them, one crop of each counts.
    space
        What makes features, see :mod:`hdgan.embedding`.
    kept
        Folder in which features of tiles are kept, as for :func:`hdgan.quality.compare_generator`.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    InputError
        If the sampling is not finished, or tiles are smaller than the samples.
    """
    latents, paths = load_samples(samples)
    turned = Turned(space)
    like = read_image(paths[0])
    shown = split.prepared(tiles, len(like))
    with keeping_features(tiles, shown, kept) as embed:
        of_training = embed(Chosen(shown, split.training), space, what="training tiles", like=like)
        held_out = turned.apart(embed(Chosen(shown, split.held_out), turned, what="held-out tiles", like=like))
    drawn = turned.apart(embed_images(ImageFiles(paths), turned, what="samples"))
    places, distances = nearest(drawn, of_training)
    found = [split.training[place] for place in places]
    shares = _shares_below(distances, nearest(held_out, of_training)[1])
    rows = [
        {
            "image": paths[i].name,
            "seed": int(latents.seed[i]),
            "tile": tile,
            **_place(tiles, tile),
            "distance": f"{distances[i]:.6g}",
            "held_out_nearer": shares[i],
        }
        for i, tile in enumerate(found)
    ]
    closest = np.argsort(distances, kind="stable")[:_PAIRS]
    pairs = [(i, found[i]) for i in closest.tolist()]
    images = [_thumbnail(image) for i, tile in pairs for image in (read_image(paths[i]), shown.read(tile))]
    captions = [text for i, tile in pairs for text in (f"image {i}", f"tile {tile}: {distances[i]:.3g}")]
    write_png(samples / NEAREST_SHEET, contact_sheet(images, columns=2 * _PAIRS_IN_ROW, captions=captions))
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(samples / NEAREST_TABLE, table.getvalue().encode())
    return samples / NEAREST_TABLE


def _place(tiles: RealTiles, index: int) -> dict[str, str | int]:
    """Where a tile is, as columns of the table."""
    if isinstance(tiles, ImageFolder):
        return {"file": tiles.names[index]}
    tile = tiles[index]
    return {"slide": tile.slide, "x": tile.x, "y": tile.y}


def _shares_below(distances: Doubles, others: Doubles) -> list[str]:
    """For each distance the share of the others that are smaller; nothing where there are no others."""
    if len(others) == 0:
        return [""] * len(distances)
    return [f"{share:.4f}" for share in np.searchsorted(np.sort(others), distances) / len(others)]


def _thumbnail(image: Image) -> Image:
    small = PillowImage.fromarray(image).resize((_THUMBNAIL, _THUMBNAIL), PillowImage.Resampling.BOX)
    return np.array(small)
