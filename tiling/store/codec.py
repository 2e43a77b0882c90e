"""A zarr codec whose chunks are the compressed cells of slides, byte by byte as the scanner wrote them."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON, parse_named_configuration

from tiling.backends.base import Image
from tiling.cells import CellCoding

NAME = "hdgan.cell"


@dataclass(frozen=True)
class CellCodec(ArrayBytesCodec):  # type: ignore[misc]
    """Decodes chunks (1, height, width, 3) uint8 that are JPEG or JPEG 2000 cells of a slide.

    It only decodes: pixels that were compressed a second time would not be the slide's any more.

    Attributes
    ----------
    compression
        "jpeg" or "jpeg2000".
    colour_space
        "RGB" or "YCBCR": what a JPEG's components are.
    tables
        The JPEG tables that the cells share (TIFF's JPEGTables), base64; empty if each cell has its own.
    """

    is_fixed_size = False

    compression: str
    colour_space: str
    tables: str

    @classmethod
    def of(cls, coding: CellCoding) -> Self:
        """The codec for the cells of a slide."""
        tables = base64.b64encode(coding.tables or b"").decode()
        return cls("jpeg" if coding.jpeg else "jpeg2000", coding.colour_space, tables)

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """From the array's metadata."""
        configuration: Any = parse_named_configuration(data, NAME)[1]
        return cls(**configuration)

    def to_dict(self) -> dict[str, JSON]:
        """As it stands in the array's metadata."""
        about: dict[str, JSON] = {"compression": self.compression, "colour_space": self.colour_space}
        return {"name": NAME, "configuration": {**about, "tables": self.tables}}

    def coding(self, width: int, height: int) -> CellCoding:
        """How cells of a size are decoded."""
        return CellCoding(
            cell_width=width,
            cell_height=height,
            jpeg=self.compression == "jpeg",
            tables=base64.b64decode(self.tables) or None,
            colour_space=self.colour_space,
        )

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Unknown before a cell is looked at."""
        raise TypeError("the size of a compressed cell does not follow from its shape")

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        _, height, width, _ = chunk_spec.shape
        pixels: Image = await asyncio.to_thread(self.coding(width, height).decode, chunk_data.to_bytes())
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(np.ascontiguousarray(pixels[None]))

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        raise TypeError("cells of slides are copied and never made: this array cannot be written to")
