"""The command line. Every verb is a thin call of a public function; heavy packages are imported by the verb."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup

import hdgan
from hdgan.cli.annotate import app as annotate
from hdgan.cli.demo import app as demo
from hdgan.cli.evaluate import evaluate
from hdgan.cli.inspect import info
from hdgan.cli.pixels import features, fit, synthesize
from hdgan.cli.tile import tile
from hdgan.cli.train import sample, train

_ORDER = ("demo", "tile", "train", "sample", "annotate", "features", "fit", "evaluate", "synthesize", "info")


class _InOrder(TyperGroup):
    """Lists the verbs as they are used, one after the other."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return sorted(self.commands, key=_ORDER.index)


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


for verb in (tile, train, sample, features, fit, evaluate, synthesize, info):
    app.command()(verb)
app.add_typer(annotate, name="annotate")
app.add_typer(demo, name="demo")
