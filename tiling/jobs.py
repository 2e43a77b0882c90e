"""The slides of an archive as jobs: what is to be tiled, and what tells whether it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tiling.backends import SUFFIXES
from tiling.discovery import slides_in
from tiling.errors import InputError
from tiling.files import fingerprint
from tiling.fingerprint import slide_fingerprint
from tiling.folds import patients_by_name
from tiling.job import Orders, SlideJob
from tiling.names import PublicNames
from tiling.progress import track
from tiling.regions import RegionsFolder
from tiling.slide import open_slide
from tiling.wording import first_few

_MASK_SUFFIXES = (".png", ".tif", ".tiff")  # of pictures that say where the tissue of a slide is
_VERSION = 1  # of how slides are tiled: what another made is made again
_READERS = 8  # fingerprints wait for disks, not for cores

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Archive:
    """The slides of one call: paths relative to a root, in order, with what tells whether they changed."""

    root: Path
    fingerprints: Mapping[str, str]  # empty where the file cannot be read

    @property
    def names(self) -> list[str]:
        """The slides' paths below the root."""
        return list(self.fingerprints)


def find_archive(slides: Paths, out: Path, *, beside: Path | None = None, patient: str | None = None) -> Archive:
    """Search folders for slides, and fingerprint them.

    Parameters
    ----------
    slides
        Slides, and folders of them.
    out
        The tile folder, which is passed over.
    beside
        A folder that paths are to be relative to as well, if it is there.
    patient
        A pattern that is to find the patient in every file name: tried before a slide is looked into.

    Raises
    ------
    InputError
        If nothing is given, nothing of it is there, it lies in the output folder, or no slide is found; or if the
        pattern does not match.
    """
    given = [slides] if isinstance(slides, str | os.PathLike) else list(slides)
    if not given:
        raise InputError("no slides given: name a slide, a folder of slides, or several")
    if not any(Path(place).exists() for place in given):
        raise InputError(f"no such slide: {', '.join(map(str, given))}")
    places = [Path(os.path.normpath(Path(place).absolute())) for place in given]
    out = Path(os.path.normpath(out.absolute()))
    for place in places:
        if place == out or out in place.parents:
            raise InputError(f"{place} lies in the output folder {out}; choose another output folder")
    found = sorted({slide for place in places for slide in slides_in(place, out)})
    if not found:
        raise InputError(
            f"no slides in {', '.join(map(str, places))}; looked for {' '.join(sorted(SUFFIXES))}, "
            "but not in what studies and stages made"
        )
    for slide in found:
        if not str(slide).isprintable() and any("\udc80" <= letter <= "\udcff" for letter in str(slide)):
            raise InputError(f"{str(slide)!r} has a name that is no UTF-8, which no table can hold; rename it")
    patients_by_name([slide.name for slide in found], patient)
    folders = [place if place.is_dir() and place not in found else place.parent for place in places]
    root = Path(os.path.commonpath(folders))
    below, names = Path(), [path.relative_to(root) for path in found]
    if beside is not None and beside.is_dir():
        here, root = root.resolve(), Path(os.path.commonpath([root.resolve(), beside.resolve()]))
        below = here.relative_to(root)
    with ThreadPoolExecutor(_READERS) as pool:
        marks = list(track(pool.map(_fingerprint, found), "looking at slides", total=len(found)))
    return Archive(root, {(below / name).as_posix(): mark for name, mark in zip(names, marks, strict=True)})


def jobs_of(
    archive: Archive,
    orders: Orders,
    *,
    names: PublicNames,
    mpps: Mapping[str, tuple[float, bool]],
    says_mpp: Mapping[str, bool],
    annotations: Path | None,
    tissue: Path | None,
) -> list[SlideJob]:
    """What is to be done, slide by slide.

    Parameters
    ----------
    archive
        The slides.
    orders
        What is wanted of them.
    names
        What they are called in the manifest.
    mpps
        Resolutions that the user knows, see :func:`tiling.mpp.mpp_by_slide`.
    says_mpp
        Whether a slide says its own, by fingerprint; the others are opened, if that matters.
    annotations
        A folder of annotation files named after slides, or one file, of regions on them.
    tissue
        The same of files that say where the tissue is: annotations, or pictures.
    """
    for place in (annotations, tissue):
        if place is not None and not place.exists():
            raise InputError(f"no such file or folder of annotations: {place}")
        if place is not None and place.is_file() and len(archive.names) > 1:
            raise InputError(
                f"{place} is one file, and there are {len(archive.names)} slides; put a file for each, named after it, "
                "into a folder and give that"
            )
    known = _that_count(mpps, archive, says_mpp)
    drawn = None if annotations is None else RegionsFolder(annotations)
    around = None if tissue is None else RegionsFolder(tissue)
    jobs = []
    for name, mark in archive.fingerprints.items():
        regions = () if drawn is None else tuple(drawn.of(name))
        inside = None if tissue is None or around is None else _tissue_files(name, tissue, around, archive.root / name)
        mpp = known.get(name)
        made_from = {
            "version": _VERSION,
            "file": mark or name,  # one that cannot be read is told by its name, and fails
            "mpp": mpp,
            "annotations": [fingerprint(path) for path in regions],
            "tissue": None if inside is None else [fingerprint(path) for path in inside],
            "orders": orders.to_dict(),
        }
        key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]
        jobs.append(SlideJob(archive.root / name, name, names.slide(name), mark, key, mpp, regions, inside))
    return jobs


def in_order(jobs: Iterable[SlideJob], names: PublicNames) -> list[SlideJob]:
    """Jobs in the order of what their slides are called in the manifest.

    In the order of their own names, rows would tell of hashes which comes before which in the alphabet.
    """
    return sorted(jobs, key=lambda job: job.name if names.key is None else job.public)


def digest_of(jobs: Iterable[SlideJob], kept: Collection[str]) -> str:
    """Tells whether the slides, what is known of them, and if they are there, are still the same: 16 hex digits."""
    known = [(job.public, job.key, job.name in kept) for job in jobs]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _that_count(
    mpps: Mapping[str, tuple[float, bool]], archive: Archive, says_mpp: Mapping[str, bool]
) -> dict[str, float]:
    """The resolutions by the user that go before the slides' own, and those of slides that say none."""
    open_questions = [
        name for name, (_, first) in mpps.items() if not first and archive.fingerprints[name] not in says_mpp
    ]
    with ThreadPoolExecutor(_READERS) as pool:
        asked = pool.map(_says_mpp, [archive.root / name for name in open_questions])
        answers = track(asked, "asking slides for their resolution", total=len(open_questions))
        says = dict(zip(open_questions, answers, strict=True))
    return {
        name: mpp
        for name, (mpp, first) in mpps.items()
        if first or not (says[name] if name in says else says_mpp[archive.fingerprints[name]])
    }


def _says_mpp(slide: Path) -> bool:
    try:
        with open_slide(slide) as opened:
            return opened.mpp is not None
    except InputError:  # told by the ledger
        return False


def _fingerprint(slide: Path) -> str:
    try:
        return slide_fingerprint(slide)
    except InputError:  # told by the ledger, when opening it fails as well
        return ""


def _tissue_files(slide: str, place: Path, drawn: RegionsFolder, itself: Path) -> tuple[Path, ...]:
    """The picture or the annotations that say where a slide's tissue is; the slide may lie beside them."""
    if place.is_file():
        return (place,)
    path = Path(slide)
    bases = dict.fromkeys([slide, str(path.with_suffix("")), path.name, path.stem])
    named = [place / f"{base}{suffix}" for base in bases for suffix in _MASK_SUFFIXES]
    pictures = [path for path in dict.fromkeys(named) if path.is_file() and path.resolve() != itself.resolve()]
    regions = drawn.of(slide)
    if len(pictures) > 1 or (pictures and regions):
        several = first_few([str(path) for path in (*pictures, *regions)])
        raise InputError(f"more than one file says where the tissue of {slide} is: {several}; keep one of them")
    return (*pictures, *regions)
