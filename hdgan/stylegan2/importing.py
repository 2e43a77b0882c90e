"""Taking over a generator of hdgan's own: from its file to a run folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from hdgan.stylegan2.checkpoint import load_generator
from hdgan.stylegan2.run import CONFIG, GENERATOR
from tiling.errors import InputError
from tiling.files import replacing, write_json
from tiling.stage import RECORD, Stage, read_record
from training.checkpoint import read_about

_SETTINGS = {"source": "hdgan"}
_TOLD = ("kimg", "score")  # what `hdgan info` shows of the training that a file tells of


def import_generator(
    file: Path | str, out: Path | str, *, before_replacing: Callable[[], None] = lambda: None, redo: bool = False
) -> Path:
    """Take over a generator that hdgan trained elsewhere, into a run folder like a training's.

    The file is copied as it is, with its licence, its classes and all that it says of its training.

    Parameters
    ----------
    file
        A generator's `.safetensors`: of a colleague, say, or the `generator-best.safetensors` of another study.
    out
        Run folder: `generator.safetensors` and `config.json`. A training can begin with it.
    before_replacing
        Called when the file is read and `out` is about to lose its generator; what it raises leaves it there.
    redo
        Discard what is in `out`.

    Returns
    -------
    Path
        The generator file, for :func:`load_generator`.

    Raises
    ------
    InputError
        For a file that is no generator of hdgan, or lies in `out`; and for a folder with another generator. `out` is as
        it was.
    """
    file, out = Path(file), Path(out)
    if out.resolve() in file.resolve().parents:
        raise InputError(f"{file} lies in {out}, in whose place it would come; import it into another study")
    refuse_trained(out, redo=redo)
    generator, about = load_generator(file), read_about(file)
    if redo and (out / RECORD).exists():
        before_replacing()
    with Stage.begin(out, name="train", config=_SETTINGS, inputs={"file": file}, redo=redo) as stage:
        if not stage.complete:
            with replacing(out / GENERATOR) as partial:
                shutil.copyfile(file, partial)
            write_json(out / CONFIG, {"imported": file.name, **about})
            told = {name: about[name] for name in _TOLD if name in about}
            summary = {"imported": file.name, "resolution": generator.resolution, **told}
            stage.finish(principal=[out / GENERATOR], summary=summary, licence=generator.licence)
    return out / GENERATOR


def refuse_trained(out: Path, *, redo: bool) -> None:
    """Refuse to import into a run folder with a training, unless it is to be replaced."""
    if not redo and (out / RECORD).exists() and "source" not in read_record(out)["config"]:
        raise InputError(f"{out} holds what was not imported; add --redo to replace it, or use another study")
