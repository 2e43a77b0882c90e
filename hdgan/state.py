"""How far a study is: what every stage holds, and whether it still fits what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hdgan.annotations import stored_masks
from hdgan.features import stored_latents
from hdgan.pairs import read_ledger
from hdgan.study import SETTINGS, Study, kimg_of
from tiling.errors import InputError
from tiling.files import fingerprint
from tiling.info import describe_tiles
from tiling.lock import is_locked
from tiling.progress import note
from tiling.stage import RECORD, read_record
from tiling.wording import quoted
from training.metrics import read_metrics
from training.steps import saved_steps

_AUGMENTING = tuple(f"{folder}/{RECORD}" for folder in ("augmenters/*", "augmented/*", "benchmark"))
"""Records of what `hdgan augment` makes, beside the pipeline: patterns of paths in a study."""

_TYPED = {"augment": "augment fit", "augment sample --select": "augment sample", "classifier": "augment sample"}
"""What is typed for stages of it that go by another name."""


def study_state(study: Study) -> dict[str, Any]:
    """What every stage of a study holds, by command, in order; all beside the pipeline where it was made.

    Returns
    -------
    dict
        "not yet", or {"status": "complete", "running" (another process works in it now; not told on file systems
        without locks) or "stopped" (half made: the same command goes on), "outdated": why, where what it was made from
        has changed since, the stage's summary, and "licence", where terms hold for what was made}.

    Raises
    ------
    InputError
        When the folder is no study, or a stage's files cannot be read.
    """
    if not is_study(study):
        raise InputError(f"{study.root} is no study: it has none of {', '.join(marks_of(study))}")
    made = [command for command, folder in _beside(study).items() if (folder / RECORD).exists()]
    told = {command: _stage_state(study, command) for command in (*study.stages(), *made)}
    folders = [record.parent for mark in _AUGMENTING for record in sorted(study.root.glob(mark))]
    for folder in folders:
        for command, state in augmenting_state(folder).items():
            told[command if folder == study.benchmark else f"{command} {folder.name}"] = state
    return told


def augmenting_state(folder: Path) -> dict[str, Any]:
    """How far an augmenter, its samples or a benchmark of some is, in a study or elsewhere, under the command for it.

    What it was made from is not looked at again.
    """
    record = read_record(folder)
    command, config = record["stage"], record["config"]
    methods = config["methods"] if command == "augment benchmark" else [config["method"]] if "method" in config else []
    told = {"method": ", ".join(methods)} if methods else {}
    return {_TYPED.get(command, command): told | _folder_state(folder, command, "")}


def is_augmenting(folder: Path) -> bool:
    """Whether a stage's folder is one of `hdgan augment`."""
    return str(read_record(folder)["stage"]) in (*_TYPED, "augment sample", "augment benchmark")


def pairs_state(folder: Path) -> dict[str, Any]:
    """What a folder of pairs holds, in a study or elsewhere: as :func:`study_state` tells it, with their format."""
    record = read_record(folder)
    command, study = record["stage"], Study(folder.parent)
    in_study = _folders(study)[command].resolve() == folder.resolve()
    told = _folder_state(folder, command, outdated(study, command) if in_study else "")
    return {command: told | {"format": record["config"]["format"]}}


def holds_pairs(folder: Path) -> bool:
    """Whether a stage's folder is one of pairs."""
    return read_record(folder)["stage"] in ("synthesize", "export")


def is_study(study: Study) -> bool:
    """Whether anything in a folder is a study's."""
    return any(any(study.root.glob(mark)) for mark in marks_of(study))


def marks_of(study: Study) -> list[str]:
    """What tells that a folder is a study's, if any of it is there: paths in the folder, or patterns of them."""
    records = [folder / RECORD for folder in {**study.stages(), "annotate": study.picks}.values()]
    marks = [study.root / SETTINGS, *records, study.annotations / "masks"]
    return [*(mark.relative_to(study.root).as_posix() for mark in marks), *_AUGMENTING]


def outdated(study: Study, command: str) -> str:
    """What changed since a stage was made that it, or a stage before it, was made from, in words; empty if nothing."""
    folder = _folders(study)[command]
    if not (folder / RECORD).exists():
        return ""
    record = read_record(folder)
    made_from = record["inputs"]
    stages = {"tiles": "tile", "generator": "train", "features": "features", "classifiers": "fit"}
    if command == "export" and _is_of(study.pairs, folder, record):
        stages["pairs"] = "synthesize"
    for name, before in stages.items():
        if name in made_from and (why := outdated(study, before)):
            return why
        if name in made_from and _fingerprint(study.stages()[before]) not in (None, made_from[name]):
            return f"the {name} changed since then"
    masks = study.annotations / "masks"
    if "masks" in made_from and (not masks.is_dir() or fingerprint(masks) != made_from["masks"]):
        return "the masks changed since then"
    if command == "fit" and _latents_of(record) - stored_latents(study.features):
        return "the features changed since then"
    if command == "features" and _is_complete(study.latents):
        stored, samples = stored_latents(folder), study.sample_fingerprints()
        if stored - set(samples):
            return "the samples changed since then"
        if {samples[index] for index in stored_masks(study.annotations) if index < len(samples)} - stored:
            return "masks of other samples were imported since then"
    return ""


def warn_if_outdated(study: Study, command: str) -> None:
    """Say on standard error that a stage is not what it would be if it were made now."""
    if why := outdated(study, command):
        note(f"{study.stages()[command]} is out of date: {why}; `{again(study, command)}` makes it anew")


def again(study: Study, command: str) -> str:
    """The command that makes a stage, or makes it anew where it is out of date."""
    needs_redo = (study.stages()[command] / RECORD).exists() and outdated(study, command)
    growing = command == "features" and needs_redo == "masks of other samples were imported since then"
    return f"hdgan {command}{' --redo' if needs_redo and not growing else ''} --study {quoted(study.root)}"


def _fingerprint(folder: Path) -> str | None:
    """What a complete stage made; None of any other, which is about to change or not there."""
    return read_record(folder)["fingerprint"] if _is_complete(folder) else None


def _folders(study: Study) -> dict[str, Path]:
    return study.stages() | _beside(study)


def _beside(study: Study) -> dict[str, Path]:
    """What no stage waits for: command and folder."""
    return {"protocol": study.protocol, "export": study.export}


def _is_of(pairs: Path, folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether a complete export, by its record, is of the pairs in a folder."""
    place = record.get("summary", {}).get("pairs are in")
    return place is not None and (folder / place).resolve() == pairs.resolve()


def _latents_of(fitted: Mapping[str, Any]) -> set[str]:
    """Fingerprints of the latents that a fit is of, by its record; earlier versions told places in the store."""
    return {name for part in fitted["config"].get("split", {}).values() for name in part if isinstance(name, str)}


def _is_complete(folder: Path) -> bool:
    return (folder / RECORD).exists() and bool(read_record(folder)["status"] == "complete")


def _stage_state(study: Study, command: str) -> str | dict[str, Any]:
    if command == "annotate":
        return _annotations_state(study)
    folder = _folders(study)[command]
    if not (folder / RECORD).exists():
        return "not yet"
    return _folder_state(folder, command, outdated(study, command))


def _folder_state(folder: Path, command: str, why: str) -> dict[str, Any]:
    running = is_locked(folder)  # before the record: a stage that ends in between is complete, not stopped
    record = read_record(folder)
    status = record["status"] if record["status"] == "complete" else "running" if running else "stopped"
    return {
        "status": status,
        **({"outdated": why} if why else {}),
        **record.get("summary", {}),
        **({"licence": "; ".join(record["licence"])} if record.get("licence") else {}),
        **(_progress(command, folder, record, running) if status != "complete" or command == "tile" else {}),
    }


def _progress(command: str, folder: Path, record: Mapping[str, Any], running: bool) -> dict[str, Any]:
    """How far a stage is that is not complete, where that is quickly told; of tiles, also which slides failed."""
    config = record["config"]
    if command == "tile":
        facts = describe_tiles(folder)
        for each in (facts, facts.get("growing", {})):
            places = " ".join(quoted(Path(place)) for place in each.pop("given", ["SLIDES"]))
            if each.get("status") == "stopped":
                each["continue"] = f"hdgan tile {places} --study {quoted(folder.parent)}"
        return facts
    if command == "train" and "kimg" in config:  # not where a generator was imported
        return {"kimg": f"{_kimg(folder, running):g} of {config['kimg']:g}"}
    if command == "sample":
        return {"images": f"{sum(1 for _ in folder.glob('images/image_*.png'))} of {config['n']}"}
    if command == "synthesize":
        return {"pairs": f"{len(read_ledger(folder))} of {config['n']}"}
    if command == "augment" and "kimg" in config:
        return {"kimg": f"{_kimg(folder / 'training', running):g} of {config['kimg']:g}"}
    if command in ("augment", "classifier"):
        return {"steps": f"{_steps(folder, running)} of {config['steps']}"} if "steps" in config else {}
    if command == "augment sample":
        return {"images": f"{sum(1 for _ in folder.glob('images/*/*.png'))} of {config['n'] * len(config['classes'])}"}
    if command == "augment benchmark":
        return {"rows": sum(1 for _ in folder.glob("seed-*/measures/*.json"))}
    return {}


def _steps(folder: Path, running: bool) -> int:
    """Of a training: those that it would go on from, and while it runs those that it logged since."""
    logged = [int(line["step"]) for line in read_metrics(folder)] if running else []
    return max([0, *saved_steps(folder / "checkpoints"), *logged])


def _kimg(folder: Path, running: bool) -> float:
    """The same of a generator's training, in thousands of images."""
    steps = _steps(folder, running)
    return kimg_of(folder, steps) if steps else 0.0


def _annotations_state(study: Study) -> str | dict[str, Any]:
    masks = len(stored_masks(study.annotations))
    picked = {"picked": read_record(study.picks)["summary"]["images"]} if _is_complete(study.picks) else {}
    if not masks:
        return {"status": "no masks yet", **picked} if picked else "not yet"
    why = study.void_annotations() or outdated(study, "sample") if _is_complete(study.latents) else ""
    return {"status": "complete", **({"outdated": why} if why else {}), **picked, "masks": masks}
