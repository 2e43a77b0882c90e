"""`hdgan demo` and the parts of it that the other verbs do not have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdgan.cli.options import QuietOption, RedoOption, SeedOption, say
from hdgan.study import Study
from tiling.wording import counted, quoted

app = typer.Typer(invoke_without_command=True)
PlanOption = Annotated[str, typer.Option("--plan", help="full (under 10 minutes on 2 cores) or quick (for tests).")]
FolderOption = Annotated[Path, typer.Option("--study", "-s", help="The demo's folder.", file_okay=False)]
DEMO_STUDY = Path("demo-study")


@app.callback()
def demo(
    context: typer.Context,
    study: FolderOption = DEMO_STUDY,
    plan: PlanOption = "full",
    slide: Annotated[
        Path | None, typer.Option(help="Work on this slide instead of the phantom (the stand-in is then k-means).")
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Do not start from the generator that comes with hdgan.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Run every stage on a slide that the demo draws itself, and write a report.

    Example: hdgan demo --study demo-study
    """
    if context.invoked_subcommand is not None:
        return
    from hdgan.demo.plan import plan_named
    from hdgan.demo.run import StageFailedError, run_demo

    try:
        report = run_demo(study, plan_named(plan), plan, slide=slide, from_scratch=from_scratch, quiet=quiet)
    except StageFailedError as failure:
        typer.echo(f"hdgan: {failure}", err=True)
        raise typer.Exit(failure.code) from failure
    say(f"\nThe report: {report}", quiet)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder for phantom-SEED.tiff; the truth goes to OUT-truth.")],
    size: Annotated[int, typer.Option(help="Edge, px; a multiple of 256 from 1024 up.")] = 8192,
    n: Annotated[int, typer.Option("-n", help="How many, with seeds counting up.", min=1)] = 1,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Draw kidney biopsies as whole-slide images with exact truth.

    Example: hdgan demo phantom slides -n 4 --size 8192
    """
    from hdgan.demo.folders import truth_folder
    from hdgan.demo.phantom import make_phantom
    from tiling import open_slide
    from tiling.errors import InputError
    from tiling.files import sweep_partials, write_bytes
    from tiling.stage import NOT_SLIDES

    for folder in (out, truth_folder(out)):
        sweep_partials(folder)  # of a drawing that was killed
    for number in range(seed, seed + n):
        slide, truth = out / f"phantom-{number}.tiff", truth_folder(out) / f"phantom-{number}.tiff"
        if slide.exists() and truth.exists():
            with open_slide(slide) as made:
                if made.dimensions != (size, size):
                    raise InputError(
                        f"{slide} is a phantom of {made.dimensions[0]} px, and now {size} px are asked for; "
                        "choose another folder or delete it"
                    )
        else:
            make_phantom(slide, truth, size=size, seed=number)
        write_bytes(truth.parent / NOT_SLIDES, b"")
        say(f"{slide}: {size} x {size} px at 0.5 um per px; truth in {truth}", quiet)


@app.command()
def expert(
    study: FolderOption = DEMO_STUDY,
    plan: PlanOption = "full",
    real: Annotated[bool, typer.Option("--real", help="The slide is real: the stand-in is k-means of colour.")] = False,
    seed: SeedOption = 0,
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Let a stand-in for the expert label the picked samples.

    Example: hdgan demo expert --study demo-study
    """
    from hdgan.demo.expertise import CLASSES, label_by_colour, label_phantom
    from hdgan.demo.folders import DemoFolders
    from hdgan.demo.plan import plan_named
    from hdgan.demo.run import UNSEEN_SEED, WORK_SEED

    folders = DemoFolders(Study(study))
    if real:
        masks = label_by_colour(folders, seed=seed, redo=redo)
    else:
        steps = plan_named(plan).expert_steps
        masks = label_phantom(folders, slide_seed=WORK_SEED, unseen_seed=UNSEEN_SEED, steps=steps, seed=seed, redo=redo)
    classes = f" --classes {folders.expert / CLASSES}" if real else ""
    say(f"{masks}: the stand-in's masks. Next: hdgan annotate import {masks}{classes} --study {quoted(study)}", quiet)


@app.command()
def compare(
    study: FolderOption = DEMO_STUDY,
    plan: PlanOption = "full",
    seed: SeedOption = 0,
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fit segmenters on the pairs and on the labelled images alone, and score both on the unseen phantom.

    Example: hdgan demo compare --study demo-study
    """
    from hdgan.demo.comparison import compare_segmenters
    from hdgan.demo.folders import DemoFolders
    from hdgan.demo.plan import plan_named
    from hdgan.demo.run import UNSEEN_SEED

    folders = DemoFolders(Study(study))
    steps = plan_named(plan).segmenter_steps
    result = compare_segmenters(folders, unseen_seed=UNSEEN_SEED, steps=steps, seed=seed, redo=redo)
    for name, report in result.items():
        say(f"fitted on {name} ({counted(report['images'], 'image')}): macro Dice {report['macro']['dice']:.3f}", quiet)
    say(f"{folders.comparison}: scores on the unseen phantom. Next: hdgan demo report --study {quoted(study)}", quiet)


@app.command()
def report(study: FolderOption = DEMO_STUDY, quiet: QuietOption = False) -> None:
    """Write the demo's report, an HTML page with everything in it.

    Example: hdgan demo report --study demo-study
    """
    from hdgan.demo.folders import DemoFolders
    from hdgan.demo.report import write_report

    say(f"{write_report(DemoFolders(Study(study)))}: open it in a browser", quiet)
