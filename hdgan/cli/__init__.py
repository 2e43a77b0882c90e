"""The command line. Every verb is a thin call of a public function; heavy packages are imported by the verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated

import typer
from typer.core import TyperGroup

import hdgan
from hdgan.cli.annotate import app as annotate
from hdgan.cli.augment import app as augment
from hdgan.cli.compare import compare
from hdgan.cli.demo import app as demo
from hdgan.cli.evaluate import evaluate
from hdgan.cli.inspect import info
from hdgan.cli.memory import RememberingCommand
from hdgan.cli.pairs import export, synthesize
from hdgan.cli.pixels import features, fit
from hdgan.cli.protocol import protocol
from hdgan.cli.sample import sample
from hdgan.cli.tile import tile
from hdgan.cli.train import import_, train

_VERBS: Mapping[str, Callable[..., None] | typer.Typer] = MappingProxyType(
    {
        "demo": demo,
        "tile": tile,
        "train": train,
        "import": import_,
        "compare": compare,
        "sample": sample,
        "annotate": annotate,
        "features": features,
        "fit": fit,
        "evaluate": evaluate,
        "protocol": protocol,
        "synthesize": synthesize,
        "export": export,
        "augment": augment,
        "info": info,
    }
)
"""In the order in which they are used."""


_MAKE_STAGES = ("tile", "train", "sample", "features", "fit", "protocol", "synthesize")


class _InOrder(TyperGroup):
    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return list(_VERBS)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"hdgan {hdgan.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="hdgan",
    help="From an archive of whole-slide images and a dozen annotated tiles to unlimited image-mask pairs.",
    cls=_InOrder,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


for name, verb in _VERBS.items():
    if isinstance(verb, typer.Typer):
        app.add_typer(verb, name=name)
    else:
        app.command(name, cls=RememberingCommand if name in _MAKE_STAGES else None)(verb)
