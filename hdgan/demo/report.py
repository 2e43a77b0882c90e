"""The demo's report: what every stage made, how good it is, what it cost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from hdgan.annotations import load_masks
from hdgan.demo.comparison import result_path
from hdgan.demo.conclusion import conclusion
from hdgan.demo.costs import COSTS
from hdgan.demo.expertise import SCORE
from hdgan.demo.folders import DemoFolders
from hdgan.demo.page import curve, figure, heading, legend, page, paragraph, report_table, table
from hdgan.labels import Image
from hdgan.metrics import measure_text
from hdgan.pairs import PairSet
from hdgan.pictures import ImageFiles, contact_sheet
from hdgan.samples import load_samples
from tiling import TileSet, open_slide
from tiling.files import read_json, write_bytes
from tiling.picture import draw_tiles
from tiling.wording import counted
from training.metrics import read_metrics

_TITLE = "hdgan: from a slide to image-mask pairs"
_SHOWN_SAMPLES, _SHOWN_PAIRS, _SHOWN_TILES = 24, 8, 12
_PAIR_PX = 160


def write_report(folders: DemoFolders) -> Path:
    """Collect the demo's results into one HTML page, without links to other files."""
    parts = [
        *_slide_section(folders),
        *_generator_section(folders),
        *_expert_section(folders),
        *_ensemble_section(folders),
        *_pairs_section(folders),
        *(_comparison_section(folders) if result_path(folders).exists() else []),
        *_cost_section(folders),
    ]
    parts = [heading("In short"), paragraph(conclusion(folders)), *parts]
    write_bytes(folders.report, page(_TITLE, parts).encode())
    return folders.report


def _slide_section(folders: DemoFolders) -> list[str]:
    tiles = TileSet.open(folders.study.require("tile"))
    name = tiles[0].slide
    with open_slide(tiles.root / name) as slide:
        width, height = slide.dimensions
        shown = [tile for tile in tiles if tile.slide == name]
        picture = draw_tiles(slide, shown, max_size=900)
    count = min(_SHOWN_TILES, len(tiles))
    chosen = np.linspace(0, len(tiles) - 1, count).round().astype(int)
    real = [tiles.read(int(i)) for i in chosen]
    return [
        heading("The slide and its tiles"),
        paragraph(f"{name}: {width} x {height} px, {counted(len(tiles), 'tile')} of {tiles[0].size} px."),
        figure(picture, "tissue outlined in green, tiles in blue"),
        figure(contact_sheet(real, columns=6, captions=[""] * count), "some tiles, as the generator sees them"),
    ]


def _generator_section(folders: DemoFolders) -> list[str]:
    metrics = read_metrics(folders.study.generator)
    lines = {
        label: [(row["kimg"], row[key]) for row in metrics if key in row]
        for label, key in (("generator loss", "loss_g"), ("discriminator loss", "loss_d"))
    }
    record = read_json(folders.study.require("train") / "stage.json")
    started = (
        "from the generator that comes with the package (docs/demo-generator.md tells how it was trained)"
        if "start_from" in record["inputs"]
        else "from random weights"
    )
    latents, paths = load_samples(folders.study.require("sample"))
    images = ImageFiles(paths[:_SHOWN_SAMPLES])
    sheet = contact_sheet(images, columns=8, captions=[f"seed {seed}" for seed in latents.seed[: len(images)]])
    return [
        heading("The generator"),
        paragraph(f"Trained {record['summary']['kimg']:g} thousand images long, {started}."),
        curve(lines, x_label="kimg"),
        figure(sheet, f"samples at truncation psi = {latents.psi[0]:g}"),
    ]


def _expert_section(folders: DemoFolders) -> list[str]:
    score = read_json(folders.expert / SCORE)
    masks, _ = load_masks(folders.study.annotations)
    parts = [
        heading("The expert's part, played by a stand-in"),
        paragraph(
            f"No pathologist was asked: a stand-in, a {score['kind']}, labelled {counted(len(masks), 'sample')}. "
            "All scores on generated images below compare with the stand-in, not with a person."
        ),
    ]
    if "per_class" not in score:
        return [*parts, paragraph("The truth of this slide is not known, so the stand-in cannot be scored.")]
    return [
        *parts,
        paragraph("On tiles of a second phantom, which it has not seen, against exact truth:"),
        report_table(score),
    ]


def _ensemble_section(folders: DemoFolders) -> list[str]:
    report = read_json(folders.study.require("fit") / "report.json")
    ensemble, colour = report["ensemble"], report["nearest_colour"]
    if ensemble is None:
        return [heading("The pixel classifiers"), paragraph("No annotated sample was kept for a test.")]
    pixels = sum(ensemble["support"].values())
    common = [name for name in ensemble["classes"] if ensemble["support"][name] >= 0.01 * pixels]
    rows = [
        [name, measure_text(ensemble["per_class"][name]["recall"]), measure_text(colour["per_class"][name]["recall"])]
        for name in common
    ]
    return [
        heading("The pixel classifiers"),
        paragraph("The ensemble on annotated samples that it was not trained on:"),
        report_table(ensemble),
        paragraph("Its recall beside that of a nearest-colour baseline, for classes with at least 1% of the pixels:"),
        table(["class", "ensemble", "nearest colour"], rows),
    ]


def _pairs_section(folders: DemoFolders) -> list[str]:
    pairs = PairSet.open(folders.study.require("synthesize"))
    rows = [pair_strip(pairs, i) for i in range(min(_SHOWN_PAIRS, len(pairs)))]
    return [
        heading("Image-mask pairs"),
        paragraph(
            f"{counted(len(pairs), 'pair')} written. "
            "Image, mask, mask over image, uncertainty (bright: members disagree)."
        ),
        legend([(c.name, c.colour) for c in pairs.classes]),
        figure(np.concatenate(rows), "pairs by rising seed, not chosen"),
    ]


def pair_strip(pairs: PairSet, index: int, *, size: int = _PAIR_PX) -> Image:
    """Image, mask, mask over image and uncertainty of a pair side by side: (size, 4 size, 3) uint8."""
    pair = pairs[index]
    image, mask = pair.image(), pairs.classes.coloured(pair.mask())
    blended = (0.6 * image + 0.4 * mask).astype(np.uint8)
    uncertainty = np.clip(pair.uncertainty() / np.log(max(len(pairs.classes), 2)) * 255 * 2, 0, 255).astype(np.uint8)
    panels = [image, mask, blended, np.repeat(uncertainty[..., None], 3, axis=2)]
    return np.concatenate([_resized(panel, size) for panel in panels], axis=1)


def _resized(image: Image, size: int) -> Image:
    rows = np.arange(size) * image.shape[0] // size
    columns = np.arange(size) * image.shape[1] // size
    resized: Image = image[rows][:, columns]
    return resized


def _comparison_section(folders: DemoFolders) -> list[str]:
    result: dict[str, Any] = read_json(result_path(folders))
    parts = [
        heading("What it is for: training a segmenter"),
        paragraph(
            "The same network, trained for the same number of steps on the pairs and on the labelled images alone, "
            "scored on tiles of the second phantom with exact truth. Neither has seen the phantom or its truth. "
            "The labelled images are those that the ensemble behind the pairs was trained and stopped on; its test "
            "images are left out of both."
        ),
        table(
            ["trained on", "images", "macro Dice", "macro recall", "pixel accuracy"],
            [
                [
                    name,
                    str(r["images"]),
                    measure_text(r["macro"]["dice"]),
                    measure_text(r["macro"]["recall"]),
                    measure_text(r["micro"]["recall"]),
                ]
                for name, r in result.items()
            ],
        ),
    ]
    for name, report in result.items():
        parts += [paragraph(f"Trained on {name}:"), report_table(report)]
    return parts


def _cost_section(folders: DemoFolders) -> list[str]:
    costs = read_json(folders.study.root / COSTS)
    rows = [[name, f"{c['seconds']:.0f}", f"{c['peak_rss_bytes'] / 2**30:.2f}"] for name, c in costs.items()]
    rows.append(["together", f"{sum(c['seconds'] for c in costs.values()):.0f}", ""])
    return [
        heading("Time and memory"),
        paragraph(f"Each command ran in a process of its own, on {os.cpu_count()} processor cores."),
        table(["command", "seconds", "peak GiB"], rows),
    ]
