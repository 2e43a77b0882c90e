"""hdgan: from an archive of whole-slide images and a dozen annotated tiles to unlimited image-mask pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hdgan._neighbours import refuse_foreign_neighbours

refuse_foreign_neighbours()

from tiling.lazy import lazy_names  # noqa: E402  (a foreign `tiling` is to be refused before it is imported)

if TYPE_CHECKING:
    from hdgan.labels import ClassList, LabelClass
    from hdgan.latents import Latents, SeededLatents
    from tiling.errors import InputError

__version__ = "0.1.0"
__all__ = ["ClassList", "InputError", "LabelClass", "Latents", "SeededLatents", "__version__"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ClassList": "hdgan.labels",
        "InputError": "tiling.errors",
        "LabelClass": "hdgan.labels",
        "Latents": "hdgan.latents",
        "SeededLatents": "hdgan.latents",
    },
)
