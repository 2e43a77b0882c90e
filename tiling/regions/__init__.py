"""What an expert drew on slides, as polygons of named classes: read from any tool's files, rasterised, compared."""

from tiling.regions.contact import touching
from tiling.regions.geojson import read_geojson, regions_to_geojson
from tiling.regions.lookup import regions_file
from tiling.regions.object_masks import ObjectMaskName, read_object_mask
from tiling.regions.polygons import Polygon, Ring, bounds, outline, paint
from tiling.regions.raster import paint_region, rasterise, region_mask
from tiling.regions.region import Region, known_names
from tiling.regions.registry import FORMATS, RegionFormat, format_of, read_regions

__all__ = [
    "FORMATS",
    "ObjectMaskName",
    "Polygon",
    "Region",
    "RegionFormat",
    "Ring",
    "bounds",
    "format_of",
    "known_names",
    "outline",
    "paint",
    "paint_region",
    "rasterise",
    "read_geojson",
    "read_object_mask",
    "read_regions",
    "region_mask",
    "regions_file",
    "regions_to_geojson",
    "touching",
]
