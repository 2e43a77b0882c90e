"""What a slide, a folder of slides or a folder of tiles is, in a few facts: `hdgan info`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tiling.backends import SUFFIXES
from tiling.companions import size_of
from tiling.discovery import slides_in
from tiling.errors import InputError
from tiling.ledger import counts, read_ledger, reasons
from tiling.lock import is_locked
from tiling.parts import asked_of, rows_of
from tiling.progress import track
from tiling.slide import Slide, open_slide
from tiling.stage import read_record

_READERS = 8  # opening slides waits for disks, not for cores
_FEW = 3  # places that are still told: not all the slides that a shell made of *.svs


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The facts of a slide that matter for tiling it, JSON-able.

    Nothing of the file's own comments is told: scanners write names of users and patients there.

    Raises
    ------
    InputError
        If it cannot be opened or read.
    """
    with open_slide(path) as slide:
        width, height = slide.dimensions
        return {
            "slide": slide.path.name,
            "bytes": _size(slide.path),
            "backend": slide.backend,
            "format": _format(slide),
            "width": width,
            "height": height,
            "levels": [level._asdict() for level in slide.levels],
            "mpp": slide.mpp,
            "objective_power": slide.objective_power,
            "kind": "fluorescence" if slide.dark_background else "bright field",
            "background": list(slide.background),
        }


def describe_archive(place: str | os.PathLike[str]) -> dict[str, Any]:
    """The facts of a folder of slides that matter for tiling it, JSON-able. Every slide is opened, and no pixel read.

    Returns
    -------
    dict
        How many slides and bytes; how many slides by format, backend, mpp (two digits) and objective power, the most
        frequent first; the least and greatest width and height; `without_mpp`, the slides that do not say theirs, which
        tiles of an mpp cannot be made of without `mpp_of`; and `would_fail`, a line for each that cannot be opened.

    Raises
    ------
    InputError
        If there is no slide in it.
    """
    place = Path(place)
    slides = sorted(slides_in(place))
    if not slides:
        raise InputError(f"no slides in {place}; looked for {' '.join(sorted(SUFFIXES))}")
    pool = ThreadPoolExecutor(_READERS)
    try:
        looked_at = list(track(pool.map(_opened, slides), "opening slides", total=len(slides)))
    finally:
        pool.shutdown(cancel_futures=True)
    facts = [each for each in looked_at if isinstance(each, dict)]
    errors = [each for each in looked_at if isinstance(each, str)]
    names = [slide.relative_to(place).as_posix() if slide != place else slide.name for slide in slides]
    mpps = {name: each["mpp"] for name, each in zip(names, looked_at, strict=True) if isinstance(each, dict)}
    return {
        "slides": len(slides),
        "bytes": sum(each["bytes"] for each in facts),
        "formats": _numbers(each["format"] for each in facts),
        "backends": _numbers(each["backend"] for each in facts),
        "mpp": _numbers(mpp and f"{mpp:.2g}" for mpp in mpps.values()),
        "objective_power": _numbers(each["power"] and f"{each['power']:g}" for each in facts),
        "width": _range(each["width"] for each in facts),
        "height": _range(each["height"] for each in facts),
        "without_mpp": [name for name, mpp in mpps.items() if mpp is None],
        "would_fail": [error.replace(f"{place}{os.sep}", "") for error in errors],
    }


def describe_tiles(folder: Path) -> dict[str, Any]:
    """How far a tile folder is, JSON-able.

    Returns
    -------
    dict
        `status`: complete, running or stopped; `slides`: how many are done, empty and failed, and, until it is
        complete, of how many; `failures`: why the first failed, where any did; `given`: the slides or folders to give
        again, where it was stopped and they are few and may be told; `growing`: the same of a call that is to add to
        what is complete.

    Raises
    ------
    InputError
        If it is no tile folder.
    """
    running = is_locked(folder)  # before the record: what ends in between is complete, not stopped
    record = read_record(folder)
    if record["stage"] != "tile":
        raise InputError(f"{folder} was made by `hdgan {record['stage']}`; name the study that it is in")
    asked, places = asked_of(folder)
    facts: dict[str, Any] = {"status": "complete"}
    if record["status"] == "complete":
        facts |= _results(read_ledger(folder))
    if asked is None and record["status"] == "complete":
        return facts
    under_way = {"status": "running" if running else "stopped", **_results(rows_of(folder, asked))}
    under_way["slides"] |= {} if asked is None else {"of": len(asked)}
    if not running and 0 < len(places) <= _FEW:
        under_way["given"] = [str(place) for place in places]
    return facts | {"growing": under_way} if record["status"] == "complete" else under_way


def _results(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many slides are done, empty and failed, and why the first failed."""
    failed = [row for row in rows if row["status"] == "failed"]
    return {"slides": counts(rows), **({"failures": reasons(failed)} if failed else {})}


def _opened(path: Path) -> dict[str, Any] | str:
    """What is told of a slide without reading pixels; or why it cannot be opened."""
    try:
        with open_slide(path) as slide:
            width, height = slide.dimensions
            sizes = {"bytes": _size(path), "width": width, "height": height}
            about = {"mpp": slide.mpp, "power": slide.objective_power}
            return {"backend": slide.backend, "format": _format(slide), **sizes, **about}
    except InputError as error:
        return str(error)


def _format(slide: Slide) -> str | None:
    return slide.properties.get("openslide.vendor") or slide.properties.get("image.format")


def _numbers(values: Iterable[str | None]) -> dict[str, int]:
    """How often each occurs, the most frequent first."""
    return dict(Counter(value or "unknown" for value in values).most_common())


def _range(values: Iterable[int]) -> dict[str, int]:
    found = list(values)
    return {"least": min(found), "greatest": max(found)} if found else {}


def _size(path: Path) -> int:
    """Bytes of a slide's files."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return size_of(path)
