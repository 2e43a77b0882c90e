"""PNG files of any size, opened without decoding them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from PIL.PngImagePlugin import PngImageFile

from tiling.errors import InputError


@contextlib.contextmanager
def open_png(path: Path) -> Iterator[PngImageFile]:
    """Open a PNG of any size, decoded when asked for; what cannot be read is an :class:`InputError`.

    `PIL.Image.open` would refuse a 16384 px image as a decompression bomb.
    """
    try:
        with PngImageFile(path) as picture:
            yield picture
    except SyntaxError as error:  # what Pillow raises for a broken header
        raise InputError(f"{path} is not a readable PNG ({error})") from error
    except OSError as error:
        raise InputError(f"cannot read {path} as an image: {error.strerror or error}") from error
