"""What is cut out of a region as holes of its polygons, for formats that know no other way to say it."""

from __future__ import annotations

import numpy as np

from tiling.errors import InputError
from tiling.regions.contact import contains, edges_of, split_at
from tiling.regions.polygons import Polygon
from tiling.regions.region import Region


def with_holes(region: Region) -> list[Polygon]:
    """The polygons of a region, with what is cut out of them as holes.

    Raises
    ------
    InputError
        When something that is cut out lies across the outline of a polygon or of another hole: cutting there would
        take new vertices.
    """
    return [_with_holes(polygon, region) for polygon in region.polygons]


def _with_holes(polygon: Polygon, region: Region) -> Polygon:
    rings = list(polygon)
    for hole in region.cut:
        inside = contains(rings, np.concatenate(hole))
        crosses = len(split_at(edges_of(hole), edges_of(rings))) > len(edges_of(hole))
        encloses = contains(hole, np.concatenate(rings)).any()
        if crosses or encloses or inside.any() != inside.all():
            raise InputError(
                f"{region.where} has a negative region that is not wholly within it, or that meets another one, which "
                "GeoJSON cannot say; write a mask (a .png, with --slide), and that as .geojson"
            )
        if inside.all():
            rings += hole
    return rings
