"""Tiles stored beside their manifest, as the slides' own compressed cells or as pixels."""

from tiling.store.arrays import (
    STORE_NAMES,
    ArrayPlan,
    begin_array,
    count_lacking,
    finish_store,
    is_begun,
    plan_array,
    write_tile,
    write_tiles,
)
from tiling.store.reading import StoredTiles

__all__ = [
    "STORE_NAMES",
    "ArrayPlan",
    "StoredTiles",
    "begin_array",
    "count_lacking",
    "finish_store",
    "is_begun",
    "plan_array",
    "write_tile",
    "write_tiles",
]
