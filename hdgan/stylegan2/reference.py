"""Taking over networks of the StyleGAN2-ADA reference: from a `.pkl` file to a run folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from hdgan.stylegan2.checkpoint import save_discriminator, save_generator
from hdgan.stylegan2.discriminator import Discriminator
from hdgan.stylegan2.generator import Generator
from hdgan.stylegan2.importing import refuse_trained
from hdgan.stylegan2.reference_modules import read_modules
from hdgan.stylegan2.reference_networks import discriminator_of, generator_of
from hdgan.stylegan2.run import CONFIG, DISCRIMINATOR, GENERATOR
from tiling.errors import InputError
from tiling.files import write_json
from tiling.stage import RECORD, Stage

REFERENCE_LICENCE = "NVIDIA Source Code License for StyleGAN2-ADA: non-commercial use only"
GENERATOR_NON_EMA = "generator-non-ema.safetensors"
_SETTINGS = {"source": "StyleGAN2-ADA reference"}
_LARGEST_FILE = 4 << 30  # bytes; networks of 4096 px take half a GB

Network = TypeVar("Network", Generator, Discriminator)


@dataclass(frozen=True)
class Reference:
    """The networks of a file: the moving average, and what the training goes on with."""

    generator: Generator
    generator_non_ema: Generator | None
    discriminator: Discriminator | None


def convert_reference(
    pkl: Path | str, out: Path | str, *, before_replacing: Callable[[], None] = lambda: None, redo: bool = False
) -> Path:
    """Take over the networks in a `.pkl` file of StyleGAN2-ADA's PyTorch release, into a run folder like a training's.

    Nothing in the file is executed: see :mod:`hdgan.stylegan2.reference_pickle`. The licence of the reference, which
    allows non-commercial use only, is recorded with the networks, and passes to all that is made by them.

    Parameters
    ----------
    pkl
        The file: a dictionary with `G_ema`, and perhaps `G` and `D`. Reading it takes memory twice its size.
    out
        Run folder: `generator.safetensors` (`G_ema`), `generator-non-ema.safetensors` (`G`),
        `discriminator.safetensors` (`D`) and `config.json`. A training can begin with it.
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
        For a file that asks for anything beyond networks, is damaged, or holds networks that ours cannot express
        exactly; and for a folder with another generator. `out` is as it was.
    """
    pkl, out = Path(pkl), Path(out)
    refuse_trained(out, redo=redo)
    reference = read_reference(pkl)
    if redo and (out / RECORD).exists():
        before_replacing()
    with Stage.begin(out, name="train", config=_SETTINGS, inputs={"reference": pkl}, redo=redo) as stage:
        if not stage.complete:
            _write(reference, out, pkl.name)
            summary = {"imported": pkl.name, "resolution": reference.generator.resolution}
            stage.finish(principal=[out / GENERATOR], summary=summary, licence=[REFERENCE_LICENCE])
    return out / GENERATOR


def read_reference(pkl: Path) -> Reference:
    """The networks of a file, with their licence, in evaluation mode, on the CPU.

    Raises
    ------
    InputError
        As :func:`convert_reference`.
    """
    if not pkl.is_file():
        raise InputError(f"{pkl} is a folder, not a .pkl file" if pkl.is_dir() else f"no such file: {pkl}")
    if pkl.stat().st_size > _LARGEST_FILE:
        raise InputError(f"{pkl} has {pkl.stat().st_size} bytes, and files of networks have at most {_LARGEST_FILE}")
    try:
        modules = read_modules(pkl.read_bytes())
        generator = _named("G_ema", modules, generator_of)
        if generator is None:
            raise InputError("it holds no G_ema, the generator to take over")
        return Reference(generator, _named("G", modules, generator_of), _named("D", modules, discriminator_of))
    except InputError as error:
        raise InputError(f"{pkl}: {error} (nothing in it was executed)") from error


def _named(name: str, modules: dict[str, object], make: Callable[[object], Network]) -> Network | None:
    """The network of this name; None if it was left out."""
    if modules.get(name) is None:
        return None
    try:
        network = make(modules.pop(name))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if isinstance(network, Generator):
        network.licence = (REFERENCE_LICENCE,)
    return network


def _write(reference: Reference, out: Path, name: str) -> None:
    about: dict[str, Any] = {"imported": name, "licence": [REFERENCE_LICENCE]}
    settings = about | {"generator": asdict(reference.generator.config)}
    save_generator(reference.generator, out / GENERATOR, about=about)
    if reference.generator_non_ema is not None:
        save_generator(reference.generator_non_ema, out / GENERATOR_NON_EMA, about=about)
    if reference.discriminator is not None:
        settings |= {"discriminator": asdict(reference.discriminator.config)}
        save_discriminator(reference.discriminator, out / DISCRIMINATOR, about=about)
    write_json(out / CONFIG, settings)
