"""Images out to the expert's annotation tool, masks back in; what was imported before is never lost."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from hdgan.annotations.drawn import read_object_masks
from hdgan.annotations.indexed_png import encode_indexed_png, read_indexed_png
from hdgan.annotations.registry import FORMATS, format_of, read_mask, required_format
from hdgan.labels import ClassList, Image, LabelMap
from hdgan.lazy import LazyMapping
from hdgan.pictures import png_bytes
from tiling.errors import InputError
from tiling.files import read_json, remove, sweep_partials, write_bytes, write_json
from tiling.progress import note, track
from tiling.regions import ObjectMaskName
from tiling.stage import NOT_SLIDES, RECORD
from tiling.wording import counted, first_few

CLASSES, SAMPLES, EXPORTED = "classes.json", "samples.json", "export.json"
_EXPORTED_NAME = re.compile(r"image_\d{4,}\.png")
_IMAGE_NAME = re.compile(r"(?:image|label)_(\d+)(?:\.png)?", re.IGNORECASE)  # QuPath may keep the image's suffix

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
        The folder. Images of an earlier export that are not among these go (`export.json` lists them); everything
        else stays.
    classes
        The classes to annotate.

    Raises
    ------
    InputError
        When `out` is a stage's folder, or holds masks of other classes.
    """
    if (out / RECORD).exists():
        raise InputError(f"{out} is the folder of a stage of the pipeline; export to a folder of its own")
    set_classes(out, classes)
    wanted = {f"image_{index:04d}.png": index for index in sorted(images)}
    earlier = _exported_before(out)
    write_json(out / EXPORTED, {"images": sorted(earlier | set(wanted))})  # a killed export knows its images, too
    for name in earlier - set(wanted):
        remove(out / "images" / name)  # the expert is to label these images, not those of an earlier choice
    for name, index in track(wanted.items(), "writing images to annotate"):
        write_bytes(out / "images" / name, png_bytes(images[index]))
    write_json(out / EXPORTED, {"images": list(wanted)})
    lines = "\n".join(f"   - {c.name} (colour {', '.join(map(str, c.colour))})" for c in classes)
    write_bytes(out / "README.txt", _README.format(classes=lines).encode())


def _exported_before(out: Path) -> set[str]:
    """Names of the images of an earlier export; the list has travelled, and nothing else is to be removed by it."""
    if not (out / EXPORTED).exists():
        return set()
    listed = read_json(out / EXPORTED).get("images")
    if not isinstance(listed, list) or not all(
        isinstance(name, str) and _EXPORTED_NAME.fullmatch(name) for name in listed
    ):
        raise InputError(f"{out / EXPORTED} is no list of exported images; export to another folder")
    return set(listed)


def set_classes(folder: Path, classes: ClassList) -> None:
    """Say which classes a folder of annotations is about; refused when it holds masks of others."""
    check_classes(folder, classes)
    _save_classes(folder, classes)


def check_classes(folder: Path, classes: ClassList) -> None:
    """Masks are class indices: an :class:`InputError` when a folder holds some of another list of classes."""
    if stored_masks(folder) and ClassList.load(folder / CLASSES) != classes:
        before = ", ".join(ClassList.load(folder / CLASSES).names)
        raise InputError(
            f"{folder} holds masks of the classes {before}, and now {', '.join(classes.names)} are given (or their "
            "colours differ); use the same classes or another folder, or, where classes were added at the end, move "
            "those masks elsewhere and import them again"
        )


def check_samples(folder: Path, samples: Sequence[str]) -> None:
    """An :class:`InputError` unless every mask of a folder was drawn on the present image of its index."""
    if why := void_masks(folder, samples):
        raise InputError(why)


def void_masks(folder: Path, samples: Sequence[str]) -> str:
    """Why the masks of a folder do not belong to the present images of their indices, in words; empty if they do.

    Parameters
    ----------
    folder
        The annotations folder.
    samples
        Fingerprints of the present images, by index, as :func:`import_masks` was given them. Images that were added
        since do no harm.
    """
    masks = stored_masks(folder)
    noted = read_json(folder / SAMPLES) if (folder / SAMPLES).exists() else {}
    if unknown := [index for index in masks if str(index) not in noted]:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        return (
            f"{folder / SAMPLES} does not tell which sample {_mask_path(folder, unknown[0])}{more} was drawn on; "
            "move such masks to a folder elsewhere, then import that folder with `hdgan annotate import`"
        )
    if any(index >= len(samples) or noted[str(index)] != samples[index] for index in masks):
        return (
            f"masks in {folder} were drawn on other samples than those of the study now; "
            "move them away, or use another study"
        )
    return ""


def import_masks(
    source: Path,
    out: Path,
    *,
    shape: tuple[int, int],
    classes: ClassList,
    known: Collection[int],
    samples: Sequence[str] | None = None,
) -> list[int]:
    """Take over the expert's masks as `masks/label_0007.png` (palette PNG) and `classes.json`.

    Everything is validated before anything is written. A mask replaces an earlier one of the same index; masks
    of other indices stay.

    Parameters
    ----------
    source
        A folder of annotation files named after their images, `image_7.geojson` or `image_0007.png`, or one
        such file; QuPath's masks of objects are several for an image. Hidden files, a README and the files that an
        export or import writes beside the images are passed over silently, files of other kinds with a note.
    out
        The annotations folder.
    shape
        (height, width) of the images, px.
    classes
        The study's classes.
    known
        Indices of the images that exist.
    samples
        Fingerprints of these images, by index. Those of the annotated ones are noted in `samples.json`, before any
        mask is written, for :func:`check_samples`.

    Returns
    -------
    list of int
        The imported indices, ascending.

    Raises
    ------
    InputError
        When there is nothing to import, a name tells no index, an index is unknown or comes twice, a mask is
        refused by :func:`read_mask`, or `out` holds masks of other classes or of other samples.
    """
    check_classes(out, classes)
    if samples is not None:
        check_samples(out, samples)
    candidates, others = _annotation_files(source)
    files = _by_index(candidates, known)
    # Encoded, a mask takes a hundredth of its memory: all can be validated before the first is written.
    encoded = {
        index: encode_indexed_png(_read(files[index], shape=shape, classes=classes), classes)
        for index in track(sorted(files), "reading masks")
    }
    _save_classes(out, classes)
    if samples is not None:
        noted = read_json(out / SAMPLES) if (out / SAMPLES).exists() else {}
        write_json(out / SAMPLES, noted | {str(index): samples[index] for index in encoded})
    sweep_partials(out / "masks")
    for index, content in encoded.items():
        write_bytes(_mask_path(out, index), content)
    if others:
        note(f"passed over {_of_other_kinds(others)}: {first_few(others)}")
    return list(encoded)


def mask_indices(folder: Path) -> list[int]:
    """Which images of an annotations folder have masks, ascending; an :class:`InputError` if none has."""
    indices = stored_masks(folder)
    if not indices:
        raise InputError(f"{folder} holds no masks yet: bring the expert's with `hdgan annotate import`")
    return indices


def load_masks(folder: Path) -> tuple[Mapping[int, LabelMap], ClassList]:
    """The imported masks of an annotations folder, (H, W) uint8 each by image index, and their classes.

    A mask is read, and refused if it is none of these classes', whenever it is asked for: hundreds take no memory.
    """
    indices = mask_indices(folder)
    classes = ClassList.load(folder / CLASSES)
    masks = LazyMapping(indices, lambda i: read_indexed_png(_mask_path(folder, i), shape=None, classes=classes))
    return masks, classes


def stored_masks(folder: Path) -> list[int]:
    """Which images of an annotations folder have masks, ascending; none of a folder that is not there."""
    return sorted(int(path.stem.removeprefix("label_")) for path in (folder / "masks").glob("label_*.png"))


def _save_classes(folder: Path, classes: ClassList) -> None:
    classes.save(folder / CLASSES)
    write_bytes(folder / NOT_SLIDES, b"")  # generated images and label maps: nothing to train a generator on


def _mask_path(folder: Path, index: int) -> Path:
    return folder / "masks" / f"label_{index:04d}.png"


def _annotation_files(source: Path) -> tuple[list[Path], list[str]]:
    """The annotation files of a folder, or the one given, and the names of the folder's files of other kinds."""
    if not source.exists():
        raise InputError(f"no such file or folder: {source}")
    if not source.is_dir():
        required_format(source)
        return [source], []
    visible = [path for path in sorted(source.iterdir()) if not (path.name.startswith(".") or path.is_dir())]
    ours = (CLASSES, SAMPLES, EXPORTED)  # they lie beside images and masks, wherever these went
    files = [path for path in visible if format_of(path) and path.name not in ours]
    others = [path.name for path in visible if not format_of(path) and path.stem.casefold() != "readme"]
    if not files:
        only = f", only {_of_other_kinds(others)} ({first_few(others)})" if others else ""
        suffixes = ", ".join(f"image_0007{known.suffix}" for known in FORMATS)
        raise InputError(f"{source} holds no annotation files{only}; expected names like {suffixes}")
    return files, others


def _of_other_kinds(names: Sequence[str]) -> str:
    return counted(len(names), "file of another kind", "files of other kinds")


def _by_index(candidates: Sequence[Path], known: Collection[int]) -> dict[int, list[Path]]:
    """The file of each image, or the masks of all its objects."""
    files: dict[int, list[Path]] = {}
    for path in candidates:
        mask = ObjectMaskName.parse(path.name)
        match = _IMAGE_NAME.fullmatch(mask.image if mask else path.stem)
        if match is None:
            raise InputError(
                f"{path} does not say which image it labels; name it after it, like image_0007{path.suffix}"
            )
        index = int(match[1])
        if index not in known:
            raise InputError(f"{path} labels image {index}, which does not exist; there {_summary(known)}")
        others = files.setdefault(index, [])
        if others and not (mask and ObjectMaskName.parse(others[0].name)):
            raise InputError(f"{others[0]} and {path} both label image {index}; keep one of them")
        others.append(path)
    return files


def _read(files: Sequence[Path], *, shape: tuple[int, int], classes: ClassList) -> LabelMap:
    if ObjectMaskName.parse(files[0].name):
        return read_object_masks(files, shape=shape, classes=classes)
    return read_mask(files[0], shape=shape, classes=classes)


def _summary(known: Collection[int]) -> str:
    indices = sorted(known)
    if not indices:
        return "are no images"
    if len(indices) == 1:
        return f"is image {indices[0]} only"
    if indices == list(range(len(indices))):
        return f"are images 0 to {len(indices) - 1}"
    shown = ", ".join(map(str, indices[:12]))
    return f"are images {shown}" + (f" and {len(indices) - 12} more" if len(indices) > 12 else "")
