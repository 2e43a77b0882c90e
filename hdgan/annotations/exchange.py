"""Images out to the expert's annotation tool, masks back in; what was imported before is never lost."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from hdgan.annotations.indexed_png import encode_image, encode_indexed_png, read_indexed_png
from hdgan.annotations.registry import FORMATS, format_of, read_mask
from hdgan.labels import ClassList, Image, LabelMap
from tiling.errors import InputError
from tiling.files import remove, sweep_partials, write_bytes
from tiling.progress import track

CLASSES = "classes.json"
_FILE_NAME = re.compile(r"(?:image|label)_(\d+)(?:\.png)?\.\w+", re.IGNORECASE)  # QuPath may keep the image's suffix

_README = """\
How to annotate these images in QuPath
======================================
1. Create a project and add the images of the folder `images` (drag them in; image type: Brightfield).
2. Make the classes, named exactly so (a later class covers an earlier one where they overlap):
{classes}
3. Draw every region with the brush, wand or polygon tool and set its class. What you leave free counts as
   unlabelled, which is fine: only what is drawn is learnt from.
4. File > Export objects as GeoJSON, all objects, as a FeatureCollection, under the image's own name:
   `image_0007.geojson` for `image_0007.png`. Masks may also be PNGs of class indices, `image_0007.png`.
5. Put the exported files together in a folder of their own and import that folder.
"""


def export_images(images: Mapping[int, Image], out: Path, classes: ClassList) -> None:
    """Write images for the expert: `images/image_0007.png`, `classes.json` and a README on annotating in QuPath.

    Parameters
    ----------
    images
        By index, (H, W, 3) uint8 each; read one at a time, so a mapping may make them as they are asked for.
    out
        The folder; masks that are there stay, images of an earlier choice go.
    classes
        The classes to annotate.

    Raises
    ------
    InputError
        When `out` holds masks of other classes.
    """
    set_classes(out, classes)
    wanted = {index: out / "images" / f"image_{index:04d}.png" for index in sorted(images)}
    for earlier in set((out / "images").glob("image_*.png")) - set(wanted.values()):
        remove(earlier)  # the expert is to label these images, not those of an earlier choice
    for index, path in track(wanted.items(), "writing images to annotate"):
        write_bytes(path, encode_image(images[index]))
    lines = "\n".join(f"   - {c.name} (colour {', '.join(map(str, c.colour))})" for c in classes)
    write_bytes(out / "README.txt", _README.format(classes=lines).encode())


def set_classes(folder: Path, classes: ClassList) -> None:
    """Say which classes a folder of annotations is about; refused when it holds masks of others."""
    _refuse_other_classes(folder, classes)
    classes.save(folder / CLASSES)


def import_masks(
    source: Path, out: Path, *, shape: tuple[int, int], classes: ClassList, known: Collection[int]
) -> list[int]:
    """Take over the expert's masks as `masks/label_0007.png` (palette PNG) and `classes.json`.

    Everything is validated before anything is written. A mask replaces an earlier one of the same index; masks
    of other indices stay.

    Parameters
    ----------
    source
        A folder of annotation files named after their images, `image_7.geojson` or `image_0007.png`, or one
        such file. Hidden files and files of other kinds (a README) are passed over.
    out
        The annotations folder.
    shape
        (height, width) of the images, px.
    classes
        The study's classes.
    known
        Indices of the images that exist.

    Returns
    -------
    list of int
        The imported indices, ascending.

    Raises
    ------
    InputError
        When there is nothing to import, a name tells no index, an index is unknown or comes twice, a mask is
        refused by its reader, or `out` holds masks of other classes.
    """
    _refuse_other_classes(out, classes)
    files = _by_index(source, known)
    # Encoded, a mask takes a hundredth of its memory: all can be validated before the first is written.
    encoded = {
        index: encode_indexed_png(read_mask(files[index], shape=shape, classes=classes), classes)
        for index in track(sorted(files), "reading masks")
    }
    classes.save(out / CLASSES)
    masks = out / "masks"
    sweep_partials(masks)
    for index, content in encoded.items():
        write_bytes(masks / f"label_{index:04d}.png", content)
    return list(encoded)


def load_masks(folder: Path) -> tuple[dict[int, LabelMap], ClassList]:
    """The imported masks of an annotations folder, (H, W) uint8 each by image index, and their classes."""
    paths = _masks(folder)
    if not paths:
        raise InputError(f"{folder} holds no masks yet: bring the expert's with `hdgan annotate import`")
    classes = ClassList.load(folder / CLASSES)
    return {index: read_indexed_png(path, shape=None, classes=classes) for index, path in paths.items()}, classes


def _masks(folder: Path) -> dict[int, Path]:
    paths = {int(path.stem.removeprefix("label_")): path for path in (folder / "masks").glob("label_*.png")}
    return dict(sorted(paths.items()))


def _refuse_other_classes(out: Path, classes: ClassList) -> None:
    """Masks are class indices: under another list of classes they would mean something else."""
    if _masks(out) and ClassList.load(out / CLASSES) != classes:
        before = ", ".join(ClassList.load(out / CLASSES).names)
        raise InputError(
            f"{out} holds masks of the classes {before}, and now {', '.join(classes.names)} are given (or their "
            "colours differ); use the same classes or another folder"
        )


def _by_index(source: Path, known: Collection[int]) -> dict[int, Path]:
    if not source.exists():
        raise InputError(f"no such file or folder: {source}")
    candidates = sorted(source.iterdir()) if source.is_dir() else [source]
    files: dict[int, Path] = {}
    for path in candidates:
        if source.is_dir() and (path.name.startswith(".") or path.is_dir() or format_of(path) is None):
            continue
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise InputError(
                f"{path} does not say which image it labels; name it after it, like image_0007{path.suffix}"
            )
        index = int(match[1])
        if index not in known:
            raise InputError(f"{path} labels image {index}, which does not exist; there are {_summary(known)}")
        if index in files:
            raise InputError(f"{files[index]} and {path} both label image {index}; keep one of them")
        files[index] = path
    if not files:
        suffixes = ", ".join(f"image_0007{known_format.suffix}" for known_format in FORMATS)
        raise InputError(f"{source} holds no annotation files; expected names like {suffixes}")
    return files


def _summary(known: Collection[int]) -> str:
    indices = sorted(known)
    if indices == list(range(len(indices))):
        return f"images 0 to {len(indices) - 1}" if indices else "no images"
    shown = ", ".join(map(str, indices[:12]))
    return f"images {shown}" + (f" and {len(indices) - 12} more" if len(indices) > 12 else "")
