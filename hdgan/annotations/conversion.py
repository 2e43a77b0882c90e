"""Annotations of a slide rewritten: as GeoJSON, which any tool reads, or as a label map at a level of the slide."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hdgan.annotations.drawn import label_map
from hdgan.annotations.geojson import to_geojson
from hdgan.annotations.indexed_png import encode_indexed_png, read_indexed_png
from hdgan.labels import ClassList, LabelMap
from tiling import open_slide, regions
from tiling.errors import InputError
from tiling.files import write_bytes

_MOST_PIXELS = 1 << 30  # of a label map, which is held whole


def convert_annotations(
    source: Path,
    out: Path,
    *,
    classes: ClassList,
    slide: str | os.PathLike[str] | None = None,
    level: int = 0,
) -> None:
    """Rewrite one file of annotations.

    Parameters
    ----------
    source
        Regions in any format of :data:`tiling.regions.FORMATS`, or an indexed PNG.
    out
        A `.geojson`: the same regions, vertex by vertex (of an indexed PNG: along the edges of its pixels). Or a
        `.png`: a label map, class indices, 255 where nothing is annotated.
    classes
        Names and colours; a later class covers an earlier one in a label map.
    slide, level
        Which slide's level a label map covers.

    Raises
    ------
    InputError
        If a file is refused by its reader, `out` is of another kind or would replace the source, or a label map is
        asked for without a slide, of a level that it lacks, or of more pixels than are held at once.
    """
    if out.resolve() == source.resolve():
        raise InputError(f"{out} is the file that is read; give another one to write")
    drawn = None if source.suffix.lower() == ".png" and regions.format_of(source) is None else source
    if out.suffix.lower() == ".geojson":
        colours = {each.name: each.colour for each in classes}
        if drawn is None:
            content = to_geojson(read_indexed_png(source, shape=None, classes=classes), classes)
        else:
            content = regions.regions_to_geojson(regions.read_regions(drawn), colours=colours)
        write_bytes(out, json.dumps(content).encode())
    elif out.suffix.lower() == ".png" and drawn is not None:
        write_bytes(out, encode_indexed_png(_at_level(drawn, classes, slide, level), classes))
    else:
        raise InputError(f"annotations are written as .geojson, and regions as .png too, not as {out.name}")


def _at_level(source: Path, classes: ClassList, slide: str | os.PathLike[str] | None, level: int) -> LabelMap:
    if slide is None:
        raise InputError(f"say which slide {source} is about (--slide): a label map has the size of one of its levels")
    with open_slide(slide) as opened:
        if not 0 <= level < len(opened.levels):
            raise InputError(f"{slide} has levels 0 to {len(opened.levels) - 1}, not {level}")
        width, height, downsample = opened.levels[level]
    if width * height > _MOST_PIXELS:
        raise InputError(
            f"level {level} of {slide} has {width} x {height} px, too many to hold at once; take a coarser one"
        )
    return label_map(source, shape=(height, width), classes=classes, downsample=downsample)
