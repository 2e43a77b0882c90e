"""How far a study is: what every stage holds, and whether it still fits what the stages before it hold now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hdgan.annotations import stored_masks
from hdgan.study import SETTINGS, Study
from tiling.errors import InputError
from tiling.lock import is_locked
from tiling.stage import RECORD, read_record
from tiling.wording import counted
from training.metrics import read_metrics

_MADE_BY: Mapping[str, str] = MappingProxyType(
    {"tiles": "tile", "generator": "train", "features": "features", "classifiers": "fit"}
)
"""The command behind each input that stages record."""


def study_state(study: Study) -> dict[str, Any]:
    """What every stage of a study holds, by command, in order.

    Returns
    -------
    dict
        "not yet", or {"status": "complete", "running" (another process works in it now) or "stopped" (half made: the
        same command goes on), "outdated": why, where a stage before it has changed since, and the stage's summary}.

    Raises
    ------
    InputError
        When the folder is no study, or a stage's record cannot be read.
    """
    folders = study.stages()
    marks = [study.root / SETTINGS, study.annotations / "masks", *(folder / RECORD for folder in folders.values())]
    if not any(mark.exists() for mark in marks):
        raise InputError(f"{study.root} is no study: it has none of {', '.join(at.name for at in folders.values())}")
    return {command: _stage_state(study, command, folder) for command, folder in folders.items()}


def outdated(study: Study, command: str) -> str:
    """Why a stage does not fit what the stages before it hold now, in words; empty if it does."""
    folder = study.stages()[command]
    if not (folder / RECORD).exists():
        return ""
    for name, made_from in read_record(folder)["inputs"].items():
        before = _MADE_BY.get(name)
        if before is None:  # a file or folder from outside the study
            continue
        if why := outdated(study, before):
            return why
        if _fingerprint(study.stages()[before]) not in (None, made_from):
            return f"{study.stages()[before].name} changed after {folder.name} was made"
    return ""


def void_annotations(study: Study) -> str:
    """Why the masks do not fit the samples of the study now, in words; empty if they do."""
    try:
        study.check_annotations()
    except InputError as error:
        return str(error)
    return ""


def _fingerprint(folder: Path) -> str | None:
    """What a complete stage made; None of any other, which is about to change or not there."""
    return read_record(folder).get("fingerprint") if (folder / RECORD).exists() else None


def _stage_state(study: Study, command: str, folder: Path) -> str | dict[str, Any]:
    if command == "annotate":
        return _annotations_state(study)
    if not (folder / RECORD).exists():
        return "not yet"
    record = read_record(folder)
    state: dict[str, Any] = {"status": "complete"}
    if record["status"] != "complete":
        state = {"status": "running" if is_locked(folder) else "stopped"}
    if why := outdated(study, command):
        state["outdated"] = why
    return {**state, **record.get("summary", {}), **_progress(folder, command, record)}


def _progress(folder: Path, command: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """How far a training is that is not complete."""
    if command != "train" or record["status"] == "complete":
        return {}
    logged = read_metrics(folder)
    return {"kimg": f"{logged[-1]['kimg'] if logged else 0:g} of {record['config']['kimg']:g}"}


def _annotations_state(study: Study) -> str | dict[str, Any]:
    masks = len(stored_masks(study.annotations))
    if not masks:
        return "not yet"
    why = void_annotations(study)
    return {"status": counted(masks, "mask")} | ({"outdated": why} if why else {})
