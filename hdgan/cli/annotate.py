"""`hdgan annotate pick | export | import | convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdgan.cli.memory import RememberingCommand
from hdgan.cli.options import DEFAULT_STUDY, QuietOption, RedoOption, SeedOption, StudyOption, say
from hdgan.labels import ClassList
from hdgan.study import Study
from tiling.wording import counted, first_few, quoted

app = typer.Typer(
    help="The expert's part: choose samples, hand them out, take masks back.\n\n"
    "Example: hdgan annotate pick --study kidney"
)


@app.command(cls=RememberingCommand)
def pick(
    study: StudyOption = DEFAULT_STUDY,
    n: Annotated[int, typer.Option("-n", help="How many to choose.", min=1)] = 36,
    seed: SeedOption = 0,
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Propose a diverse subset of the samples, as a contact sheet to look at. Masks are never discarded.

    Example: hdgan annotate pick --study kidney -n 36
    """
    from hdgan.annotations import pick_samples, stored_masks
    from hdgan.annotations.selection import SHEET
    from hdgan.pictures import ImageFiles
    from hdgan.samples import load_samples

    place = Study(study)
    samples = place.require_samples()
    images = ImageFiles(load_samples(samples)[1])
    chosen = pick_samples(images, place.picks, samples=samples, n=n, seed=seed, redo=redo)
    masks = stored_masks(place.annotations) if redo else []
    kept = f" Kept: {counted(len(masks), 'mask')} imported before." if masks else ""
    picked = f"{len(chosen)} of {counted(len(images), 'sample')}"
    say(f"{place.picks / SHEET}: {picked}.{kept} Next: hdgan annotate export --study {quoted(study)}", quiet)


@app.command()
def export(
    study: StudyOption = DEFAULT_STUDY,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: annotations/export.")] = None,
    classes: Annotated[
        Path | None, typer.Option(help="classes.json; default: the study's, else the kidney's five.")
    ] = None,
    indices: Annotated[str | None, typer.Option(help="Samples, like 3,17,20-25; default: those picked.")] = None,
    quiet: QuietOption = False,
) -> None:
    """Write the chosen images for the expert, with instructions for QuPath.

    Example: hdgan annotate export --study kidney --out for-the-expert
    """
    from hdgan.annotations import check_classes, export_images, picked_samples, set_classes
    from hdgan.lazy import LazyMapping
    from hdgan.pictures import ImageFiles
    from hdgan.samples import load_samples

    place = Study(study)
    samples = place.require("sample")
    images = ImageFiles(load_samples(samples)[1])
    made_by = f"hdgan annotate pick --study {quoted(study)}"
    chosen = _parse_indices(indices) if indices is not None else picked_samples(place.picks, samples, made_by=made_by)
    _refuse_unknown(chosen, len(images))
    out = out or place.annotations / "export"
    listed = ClassList.load(classes) if classes else place.classes()
    check_classes(place.annotations, listed)
    export_images(LazyMapping(chosen, images.__getitem__), out, listed)
    set_classes(place.annotations, listed)
    say(f"{out}: {counted(len(chosen), 'image')}. Next: hdgan annotate import MASKS --study {quoted(study)}", quiet)


@app.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(help="Folder of masks (or one): PNG, QuPath's GeoJSON or object masks, labelme, ImageScope."),
    ],
    study: StudyOption = DEFAULT_STUDY,
    classes: Annotated[
        Path | None, typer.Option(help="classes.json; default: the study's, else the kidney's five.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Read the expert's masks, named like their images: image_0007.geojson or image_0007.png.

    Example: hdgan annotate import from-the-expert --study kidney
    """
    from hdgan.annotations import import_masks
    from hdgan.samples import image_path
    from hdgan.state import again, outdated
    from tiling.png import open_png

    place = Study(study)
    with open_png(image_path(place.require_samples(), 0)) as first:
        width, height = first.size
    samples = place.sample_fingerprints()
    before = _mask_files(place)
    imported = import_masks(
        source,
        place.annotations,
        shape=(height, width),
        classes=ClassList.load(classes) if classes else place.classes(),
        known=range(len(samples)),
        samples=samples,
    )
    changed = [name for name, content in _mask_files(place).items() if before.get(name, content) != content]
    replaced = f" ({len(changed)} replaced: {first_few(changed)})" if changed else ""
    then = f", then {again(place, 'fit')}" if outdated(place, "fit") else ""
    say(
        f"{place.annotations}: {counted(len(imported), 'mask')} imported{replaced}; {_coverage(place)}. "
        f"Next: {again(place, 'features')}{then}",
        quiet,
    )


@app.command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="Annotations of a slide: GeoJSON, ImageScope, labelme, a PNG, or a folder of QuPath's object masks."
        ),
    ],
    out: Annotated[Path, typer.Option(help="File to write: .geojson, or .png for a mask.")],
    slide: Annotated[Path | None, typer.Option(help="The slide that they are of, and a mask is to cover.")] = None,
    level: Annotated[int, typer.Option(help="Level of the slide that a mask is drawn at.", min=0)] = 0,
    study: StudyOption = DEFAULT_STUDY,
    classes: Annotated[
        Path | None, typer.Option(help="classes.json; default: the study's, else the kidney's five.")
    ] = None,
    from_classes: Annotated[
        Path | None, typer.Option(help="classes.json of a PNG that is read, if its indices mean others.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Rewrite annotations of a slide: as GeoJSON for QuPath, or as a mask at any of the slide's levels.

    Example: hdgan annotate convert biopsy.xml --out mask.png --slide biopsy.svs --level 2
    """
    from hdgan.annotations import convert_annotations

    listed = ClassList.load(classes) if classes else Study(study).classes()
    before = ClassList.load(from_classes) if from_classes else None
    convert_annotations(source, out, classes=listed, from_classes=before, slide=slide, level=level)
    say(str(out), quiet)


def _mask_files(place: Study) -> dict[str, str]:
    """Fingerprints of the imported masks by file name."""
    from tiling.files import fingerprint

    return {path.name: fingerprint(path) for path in sorted((place.annotations / "masks").glob("label_*.png"))}


def _coverage(place: Study) -> str:
    """How many images have masks by now: of those picked, if any were, and of the others."""
    from hdgan.annotations import picked_samples, stored_masks
    from tiling.errors import InputError

    masks = set(stored_masks(place.annotations))
    try:
        picked = set(picked_samples(place.picks, place.require("sample")))
    except InputError:  # none are picked, or among other samples: masks may come without a choice
        return f"{counted(len(masks), 'image')} {_have_masks(len(masks))}"
    done, others = len(masks & picked), len(masks - picked)
    more = f" (and {others} of the others)" if others else ""
    return f"{done} of the {counted(len(picked), 'picked image')} {_have_masks(done)}{more}"


def _have_masks(images: int) -> str:
    return "has a mask" if images == 1 else "have masks"


def _parse_indices(text: str) -> list[int]:
    """Numbers and ranges: "3,17,20-25"."""
    from tiling.errors import InputError

    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise InputError(f"--indices takes numbers and ranges like 3,17,20-25, not {text!r}")
        found += range(int(first), int(last or first) + 1)
    return sorted(set(found))


def _refuse_unknown(indices: list[int], count: int) -> None:
    from tiling.errors import InputError

    unknown = [index for index in indices if index >= count]
    if unknown:
        raise InputError(f"there is no sample {unknown[0]}, only {counted(count, 'sample')} numbered from 0")
