"""The command line. Every verb is a thin call of a public function; heavy packages are imported by the verb."""

from __future__ import annotations

import typer

from hdgan.cli.annotate import app as annotate
from hdgan.cli.demo import app as demo
from hdgan.cli.evaluate import evaluate
from hdgan.cli.inspect import info
from hdgan.cli.pixels import features, fit, synthesize
from hdgan.cli.tile import tile
from hdgan.cli.train import sample, train

app = typer.Typer(
    name="hdgan",
    help="From an archive of whole-slide images and a dozen annotated tiles to unlimited image-mask pairs.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for verb in (tile, train, sample, features, fit, synthesize, evaluate, info):
    app.command()(verb)
app.add_typer(annotate, name="annotate")
app.add_typer(demo, name="demo")
