"""Annotations of a slide rewritten: as GeoJSON, which any tool reads, or as a label map at a level of the slide."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hdgan.annotations.drawn import label_map, lies_outside
from hdgan.annotations.geojson import colours_of, regions_of
from hdgan.annotations.indexed_png import encode_indexed_png, read_indexed_png
from hdgan.annotations.registry import required_format
from hdgan.labels import UNLABELLED, ClassList, LabelMap
from tiling import open_slide, regions
from tiling.backends.base import Level
from tiling.errors import InputError
from tiling.files import write_bytes
from tiling.png import open_png
from tiling.progress import note
from tiling.regions import ObjectMaskName, Region, RegionsFolder, read_drawn, regions_to_geojson
from tiling.wording import counted, first_few

_MOST_PIXELS = 1 << 30  # of a label map, which is held whole
_GEOJSON, _PNG = ".geojson", ".png"


@dataclass(frozen=True)
class _Slide:
    """What a conversion has to know of a slide."""

    path: Path
    levels: Sequence[Level]

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), level-0 px."""
        return self.levels[0].height, self.levels[0].width


def convert_annotations(
    source: Path,
    out: Path,
    *,
    classes: ClassList,
    from_classes: ClassList | None = None,
    slide: str | os.PathLike[str] | None = None,
    level: int = 0,
) -> None:
    """Rewrite the annotations of a slide or image.

    Parameters
    ----------
    source
        Regions in any format of :data:`tiling.regions.FORMATS`; a folder of QuPath's masks of objects, or of
        annotations named after slides, of which those of `slide` are taken; or an indexed PNG of the whole slide, at
        any size.
    out
        A `.geojson`: the same regions, vertex by vertex (of an indexed PNG: along the edges of its pixels), in level-0
        px of the slide. Or a `.png`: a label map, class indices, 255 where nothing is annotated.
    classes
        Names and colours; a later class covers an earlier one in a label map.
    from_classes
        What the indices of an indexed PNG mean, if something else than `classes`; matched by name.
    slide, level
        Which slide's level a label map covers. Only an indexed PNG can do without: it stays at its size.

    Raises
    ------
    InputError
        If a file is refused by its reader, `out` is of another kind or would replace the source, a label map is asked
        for without a slide, of a level that it lacks, or of more pixels than are held at once, or the source has
        another shape than the slide or lies outside it.
    """
    if out.resolve() == source.resolve():
        raise InputError(f"{out} is the file that is read; give another one to write")
    kind = out.suffix.lower()
    if kind not in (_GEOJSON, _PNG):
        raise InputError(
            f"annotations are written as .geojson (regions, for QuPath) or as .png (a mask of class indices), not as "
            f"{out.name}"
        )
    if not source.exists():
        raise InputError(f"no such file or folder: {source}")
    if level and (slide is None or kind == _GEOJSON):
        raise InputError(
            f"level {level} (--level) is of a slide (--slide) that a .png is to cover; .geojson is in px of level 0"
        )
    files = _files(source, slide)
    known = None if slide is None else _known(slide)
    if len(files) == 1 and regions.format_of(files[0]) is None:
        labels = _labels(files[0], classes, from_classes)
        content = _of_mask(labels, files[0], kind, classes, known, level)
    else:
        if from_classes is not None:
            raise InputError(f"{source} names its classes itself; those of the source (--from-classes) are for a .png")
        drawn = _drawn(files, source, known)
        content = _of_regions(drawn, source, kind, classes, known, level)
    write_bytes(out, content)


def _files(source: Path, slide: str | os.PathLike[str] | None) -> list[Path]:
    """The file itself; of a folder, the annotations of the slide, or the masks of the objects of its one image."""
    if not source.is_dir():
        required_format(source)
        return [source]
    if slide is not None and (found := RegionsFolder(source).of(Path(slide).name)):
        return found
    named = {path: ObjectMaskName.parse(path.name) for path in sorted(source.iterdir())}
    masks = {path: name.image for path, name in named.items() if name is not None}
    images = sorted(set(masks.values()))
    if len(images) == 1:
        return list(masks)
    if not images:
        raise InputError(
            f"{source} is a folder without QuPath's masks of objects, like "
            "biopsy.svs_Glomerulus_(1.00,8,16,300,260)-mask.png"
            + (f", or annotations named after {Path(slide).name}" if slide is not None else "")
            + "; name one file of annotations"
        )
    what = "and not of this slide" if slide is not None else "and says not of which to take them: give the --slide"
    raise InputError(f"{source} holds masks of objects of {len(images)} images, {first_few(images)}, {what}")


def _known(slide: str | os.PathLike[str]) -> _Slide:
    with open_slide(slide) as opened:
        return _Slide(Path(slide), opened.levels)


def _size(known: _Slide, level: int) -> Level:
    """The level that a label map is to cover."""
    if not 0 <= level < len(known.levels):
        raise InputError(f"{known.path} has levels 0 to {len(known.levels) - 1}, not {level}")
    size = known.levels[level]
    if size.width * size.height > _MOST_PIXELS:
        raise InputError(
            f"level {level} of {known.path} has {size.width} x {size.height} px, too many to hold at once; take a "
            "coarser one"
        )
    return size


def _drawn(files: Sequence[Path], source: Path, known: _Slide | None) -> list[Region]:
    """The regions in files, refused if none of them is on the slide."""
    drawn = read_drawn(files, shape=None if known is None else known.shape)
    drawn.tell(source)
    if known is not None and drawn.regions:
        outside = [region for region in drawn.regions if lies_outside(region, known.shape)]
        height, width = known.shape
        slide = f"{known.path} ({width} x {height} px)"
        if len(outside) == len(drawn.regions):
            raise InputError(f"all regions of {source} lie outside {slide}; were they drawn on another slide?")
        if outside:
            part = f"{len(outside)} of {counted(len(drawn.regions), 'region')}"
            note(f"{part} lie outside {slide}: {outside[0].where}, ...")
    return drawn.regions


def _of_regions(
    drawn: Sequence[Region], source: Path, kind: str, classes: ClassList, known: _Slide | None, level: int
) -> bytes:
    if kind == _GEOJSON:
        return json.dumps(regions_to_geojson(drawn, colours=colours_of(classes))).encode()
    if known is None:
        raise InputError(
            f"say which slide {source} is about (--slide): a mask has the size of one of its levels; without a slide, "
            "regions become .geojson only"
        )
    size = _size(known, level)
    labels = label_map(drawn, shape=(size.height, size.width), classes=classes, downsample=size.downsample)
    return encode_indexed_png(labels, classes)


def _labels(path: Path, classes: ClassList, from_classes: ClassList | None) -> LabelMap:
    """An indexed PNG (h, w) in indices of `classes`."""
    with open_png(path) as picture:
        width, height = picture.size
    if width * height > _MOST_PIXELS:
        raise InputError(f"{path} has {width} x {height} px, too many to hold at once")
    labels = read_indexed_png(path, shape=None, classes=from_classes or classes)
    if from_classes is None:
        return labels
    index_of = {name.casefold(): index for index, name in enumerate(classes.names)}
    table = np.full(256, UNLABELLED, np.uint8)
    for before, name in enumerate(from_classes.names):
        if name.casefold() in index_of:
            table[before] = index_of[name.casefold()]
        elif (labels == before).any():
            raise InputError(
                f"{path} has pixels of the class {name!r}, which is none of: {', '.join(classes.names)}; list it in "
                "the classes.json that is given with --classes"
            )
    mapped: LabelMap = table[labels]
    return mapped


def _of_mask(labels: LabelMap, path: Path, kind: str, classes: ClassList, known: _Slide | None, level: int) -> bytes:
    if known is not None:
        _check_proportions(labels, path, known)
    if kind == _PNG:
        return encode_indexed_png(labels if known is None else _resized(labels, _size(known, level)), classes)
    drawn: Iterable[Region] = regions_of(labels, classes)
    if known is not None:
        drawn = [_scaled(region, labels.shape, known.shape) for region in drawn]
    return json.dumps(regions_to_geojson(drawn, colours=colours_of(classes))).encode()


def _check_proportions(labels: LabelMap, path: Path, known: _Slide) -> None:
    """Refuse a mask that no rounding of the slide's size at any scale gives."""
    (height, width), (slide_height, slide_width) = labels.shape, known.shape
    if abs(width * slide_height - height * slide_width) > slide_width + slide_height:
        raise InputError(
            f"{path} is {width} x {height} px (width x height), which is {known.path} ({slide_width} x {slide_height} "
            "px) at no scale; give a mask of the whole slide"
        )


def _resized(labels: LabelMap, size: Level) -> LabelMap:
    """A label map at another size: of every pixel, what lies at its centre."""
    height, width = labels.shape
    rows = ((np.arange(size.height) + 0.5) * height / size.height).astype(int)
    columns = ((np.arange(size.width) + 0.5) * width / size.width).astype(int)
    resized: LabelMap = labels[rows[:, None], columns]
    return resized


def _scaled(region: Region, shape: tuple[int, ...], to: tuple[int, int]) -> Region:
    scale = to[1] / shape[1], to[0] / shape[0]
    return replace(region, polygons=[[ring * scale for ring in polygon] for polygon in region.polygons])
