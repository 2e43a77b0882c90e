"""What an expert drew on slides, as polygons of named classes: read from any tool's files, rasterised, compared."""

from tiling.regions.contact import touching
from tiling.regions.geojson import region_to_feature, regions_to_geojson
from tiling.regions.lookup import RegionsFolder
from tiling.regions.object_masks import ObjectMaskName
from tiling.regions.polygons import Polygon, Ring, bounds, outline
from tiling.regions.raster import paint_region, region_mask
from tiling.regions.region import Region, known_names
from tiling.regions.registry import FORMATS, Drawn, RegionFormat, format_of, read_drawn, read_regions

__all__ = [
    "FORMATS",
    "Drawn",
    "ObjectMaskName",
    "Polygon",
    "Region",
    "RegionFormat",
    "RegionsFolder",
    "Ring",
    "bounds",
    "format_of",
    "known_names",
    "outline",
    "paint_region",
    "read_drawn",
    "read_regions",
    "region_mask",
    "region_to_feature",
    "regions_to_geojson",
    "touching",
]
