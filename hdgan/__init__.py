"""hdgan: from an archive of whole-slide images and a dozen annotated tiles to unlimited image-mask pairs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hdgan.labels import ClassList, LabelClass
    from hdgan.latents import Latents
    from tiling.errors import InputError

__version__ = "0.1.0"
__all__ = ["ClassList", "InputError", "LabelClass", "Latents", "__version__"]

_HOME = {
    "ClassList": "hdgan.labels",
    "InputError": "tiling.errors",
    "LabelClass": "hdgan.labels",
    "Latents": "hdgan.latents",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
