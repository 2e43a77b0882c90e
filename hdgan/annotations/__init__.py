"""What an expert drew, whatever tool it was drawn with: read into label maps, written for the next stages.

No torch here: annotating needs a light installation only.
"""

from hdgan.annotations.conversion import convert_annotations
from hdgan.annotations.drawn import label_map, read_object_masks
from hdgan.annotations.exchange import (
    check_classes,
    check_samples,
    export_images,
    import_masks,
    load_masks,
    mask_indices,
    set_classes,
    stored_masks,
    void_masks,
)
from hdgan.annotations.geojson import to_geojson, write_geojson
from hdgan.annotations.indexed_png import encode_indexed_png, read_indexed_png
from hdgan.annotations.pick import pick
from hdgan.annotations.registry import FORMATS, AnnotationFormat, read_mask
from hdgan.annotations.selection import pick_samples, picked_samples

__all__ = [
    "FORMATS",
    "AnnotationFormat",
    "check_classes",
    "check_samples",
    "convert_annotations",
    "encode_indexed_png",
    "export_images",
    "import_masks",
    "label_map",
    "load_masks",
    "mask_indices",
    "pick",
    "pick_samples",
    "picked_samples",
    "read_indexed_png",
    "read_mask",
    "read_object_masks",
    "set_classes",
    "stored_masks",
    "to_geojson",
    "void_masks",
    "write_geojson",
]
