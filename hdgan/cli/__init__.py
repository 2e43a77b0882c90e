"""The command line. Every verb is a thin call of a public function; heavy packages are imported by the verb."""

from __future__ import annotations

import typer

from hdgan.cli import annotate, demo, inspect, pixels, train
from hdgan.cli import tile as tile_command

app = typer.Typer(
    name="hdgan",
    help="From an archive of whole-slide images and a dozen annotated tiles to unlimited image-mask pairs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("tile")(tile_command.tile)
app.command("train")(train.train)
app.command("sample")(train.sample)
app.add_typer(annotate.app, name="annotate")
app.command("features")(pixels.features)
app.command("fit")(pixels.fit)
app.command("synthesize")(pixels.synthesize)
app.command("evaluate")(inspect.evaluate)
app.add_typer(demo.app, name="demo")
app.command("info")(inspect.info)
