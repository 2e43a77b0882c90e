"""Label maps of what was drawn: regions, painted in the order of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hdgan.labels import UNLABELLED, ClassList, LabelMap
from tiling.errors import InputError
from tiling.regions import Region, Ring, bounds, paint_region, read_drawn, read_regions


def label_map(
    path_or_regions: Path | Sequence[Region],
    *,
    shape: tuple[int, int],
    classes: ClassList,
    x: float = 0.0,
    y: float = 0.0,
    downsample: float = 1.0,
) -> LabelMap:
    """Rasterise annotations in a window of a slide, at any of its levels.

    Parameters
    ----------
    path_or_regions
        A file of annotations in any format of regions (see :func:`tiling.regions.read_regions`), or what was read from
        some. Coordinates are level-0 px of the slide. Regions that lie outside the window are fine.
    shape
        (height, width) of the window, in px of its own resolution.
    classes
        Overlaps are painted in their order: a later class covers an earlier one.
    x, y
        Upper left corner of the window, level-0 px.
    downsample
        Level-0 px per px of the window.

    Returns
    -------
    LabelMap
        (height, width) uint8 class indices: of what a pixel's centre lies in, 255 where nothing is annotated.

    Raises
    ------
    InputError
        When the file is refused, or a region is of no class.

    Examples
    --------
    >>> from hdgan.labels import KIDNEY
    >>> square = np.array([[100.0, 100.0], [120.0, 100.0], [120.0, 140.0], [100.0, 140.0]])
    >>> drawn = [Region(("Glomerulus",), [[square]], "drawn")]
    >>> label_map(drawn, shape=(2, 3), classes=KIDNEY, x=90, y=90, downsample=10)
    array([[255, 255, 255],
           [255,   2,   2]], dtype=uint8)
    """
    regions = read_regions(path_or_regions) if isinstance(path_or_regions, Path) else path_or_regions
    labels = np.full(shape, UNLABELLED, np.uint8)
    valued = [(_class_index(region, classes), region) for region in regions]
    for value, region in sorted(valued, key=lambda pair: pair[0]):
        paint_region(labels, region, value, x=x, y=y, downsample=downsample)
    return labels


def read_polygons(path: Path, /, *, shape: tuple[int, int], classes: ClassList) -> LabelMap:
    """Read a file in any format of regions; called like :func:`hdgan.annotations.read_mask`."""
    return of_image(read_regions(path, shape=shape), shape=shape, classes=classes)


def read_object_masks(files: Sequence[Path], *, shape: tuple[int, int], classes: ClassList) -> LabelMap:
    """Read QuPath's masks of single objects, all those of an image, to one label map.

    Parameters
    ----------
    files
        PNGs named like `image_7.png_Glomerulus_(1.00,8,16,300,260)-mask.png`: downsample, x, y, width and height of
        the mask, in px of the image. A mask may begin and end outside the image.
    shape, classes
        As for :func:`hdgan.annotations.read_mask`, and so are the result and the errors.
    """
    drawn = read_drawn(files)
    drawn.tell(files[0].parent)
    return of_image(drawn.regions, shape=shape, classes=classes)


def of_image(regions: Sequence[Region], *, shape: tuple[int, int], classes: ClassList) -> LabelMap:
    """The label map of a whole image (height, width): an :class:`InputError` for a region wholly outside it."""
    for region in regions:
        if lies_outside(region, shape):
            least, most = _bounds(region)
            raise InputError(
                f"{region.where} lies at x {least[0]:g} to {most[0]:g}, y {least[1]:g} to {most[1]:g}, outside the "
                f"image of {shape[1]} x {shape[0]} px; was it drawn on another image?"
            )
    return label_map(regions, shape=shape, classes=classes)


def lies_outside(region: Region, shape: tuple[int, int]) -> bool:
    """Whether no part of a region is on an image or slide (height, width)."""
    least, most = _bounds(region)
    return bool((most <= 0).any() or (least >= shape[::-1]).any())


def _class_index(region: Region, classes: ClassList) -> int:
    """Index of the class of a region, by the first of its names that is one, in any case."""
    by_name = {name.casefold(): index for index, name in enumerate(classes.names)}
    for name in region.names:
        if name.casefold() in by_name:
            return by_name[name.casefold()]
    known = ", ".join(classes.names)
    where = region.layer or region.where
    if not region.names:
        raise InputError(
            f"{where} has no class; set it in the tool that it was drawn with or delete it; the classes are: {known}"
        )
    if not region.is_named and len(classes) == 1:
        return 0  # layers are seldom named, and there is nothing else that they can be
    if not region.is_named:
        raise InputError(
            f"{where} has no name to tell its class; name it as one of: {known}; or list a class "
            f"{region.names[-1]!r} in a classes.json and give that with --classes"
        )
    raise InputError(
        f"{where} has the unknown class {region.names[0]!r}; the classes are: {known}; rename it, or list it in a "
        "classes.json and give that with --classes"
    )


def _bounds(region: Region) -> tuple[Ring, Ring]:
    return bounds([ring for polygon in region.polygons for ring in polygon])
