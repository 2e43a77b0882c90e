"""The demo: every stage of the pipeline, each as the command a user would type."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hdgan.demo.costs import run_measured
from hdgan.demo.folders import DemoFolders
from hdgan.demo.plan import DemoPlan
from hdgan.study import SETTINGS, Study
from tiling import open_slide
from tiling.errors import InputError
from tiling.files import write_bytes
from tiling.stage import RECORD

WORK_SEED, UNSEEN_SEED = 0, 1
_TILES_OF_A_REAL_SLIDE = 4000
_TILES_ACROSS = 8
WEIGHTS = Path(__file__).parent / "weights"


class StageFailedError(RuntimeError):
    """A command of the demo ended with an error, which it has printed."""

    def __init__(self, code: int) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        super().__init__(f"the stage above {how}; run the demo again to go on from there")
        self.code = 128 - code if code < 0 else code


def run_demo(
    root: Path,
    plan: DemoPlan,
    plan_name: str,
    *,
    slide: Path | None = None,
    from_scratch: bool = False,
    quiet: bool = False,
) -> Path:
    """Run what is missing of the demo in a study folder, and write its report.

    Parameters
    ----------
    root
        The study's folder.
    plan
        Sizes of the stages; `plan_name` is how the command line calls it.
    slide
        A real slide to work on instead of the phantom. Nobody knows its truth: the stand-in for the expert is then
        k-means of colour, and nothing is scored against truth.
    from_scratch
        Train the generator from random weights instead of the shipped ones.

    Returns
    -------
    Path
        The report, an HTML page.
    """
    folders = DemoFolders(Study(root))
    if slide is not None and not slide.exists():
        raise InputError(f"no such slide: {slide}")
    start_from_shipped = slide is None and not from_scratch and plan.preset == "small"
    _write_settings(root / SETTINGS, _settings(plan, slide, shipped=start_from_shipped))
    for command in demo_commands(folders, plan, plan_name, slide=slide, shipped=start_from_shipped):
        _run(command, root, quiet=quiet)
    return folders.report


def demo_commands(
    folders: DemoFolders, plan: DemoPlan, plan_name: str, *, slide: Path | None, shipped: bool
) -> list[list[str]]:
    """The arguments of every `hdgan` command of the demo, in order."""
    root = str(folders.study.root)
    study = ["--study", root]
    unseen = ["--study", str(folders.unseen.root)]
    sized = ["--plan", plan_name, *study]
    start = ["--from", str(WEIGHTS)] if shipped else []
    real = ["--real"] if slide else []
    classes = ["--classes", str(folders.expert / "classes.json")] if slide else []
    tiling = [f"--{name}={value}" for name, value in _tiling(plan, None).items()]
    phantoms = [
        ["demo", "phantom", str(folders.slides), "--size", str(plan.slide_size), f"--seed={WORK_SEED}"],
        ["demo", "phantom", str(folders.slides), "--size", str(plan.unseen_size), f"--seed={UNSEEN_SEED}"],
        ["tile", str(folders.slide(UNSEEN_SEED)), *tiling, *unseen],
    ]
    return [
        *([] if slide else phantoms),
        ["tile", str(slide or folders.slide(WORK_SEED)), *study],
        ["train", *start, *study],
        ["sample", *study],
        ["annotate", "pick", *study],
        ["demo", "expert", *real, *sized],
        ["annotate", "export", *classes, *study],
        ["annotate", "import", str(folders.expert / "masks"), *classes, *study],
        ["features", *study],
        ["fit", *study],
        ["synthesize", *study],
        ["evaluate", *study],
        *([] if slide else [["demo", "compare", *sized]]),
        ["demo", "report", *study],
    ]


def _tiling(plan: DemoPlan, slide: Path | None) -> dict[str, object]:
    """Options of `hdgan tile`: at the plan's resolution, or by level on a slide that does not say its own."""
    options: dict[str, object] = {"size": plan.tile, "overlap": plan.overlap}
    if slide is None:
        return options | {"mpp": plan.mpp}
    options |= {"limit": _TILES_OF_A_REAL_SLIDE}
    with open_slide(slide) as opened:
        if opened.mpp is not None:
            return options | {"mpp": max(plan.mpp, opened.mpp)}
        wide = [
            i for i, level in enumerate(opened.levels) if min(level.width, level.height) >= _TILES_ACROSS * plan.tile
        ]
        return options | {"level": max(wide, default=0)}


def _settings(plan: DemoPlan, slide: Path | None, *, shipped: bool) -> str:
    """`study.toml` of the demo: every option that differs from its default."""
    tables: dict[str, dict[str, object]] = {
        "tile": _tiling(plan, slide),
        "train": {"preset": plan.preset, "gamma": plan.gamma, "kimg": plan.kimg if shipped else plan.kimg_from_scratch},
        "sample": {"n": plan.samples, "psi": plan.psi},
        "annotate.pick": {"n": plan.annotated},
        "features": {"blocks": plan.blocks},
        "fit": {"members": plan.members, "split": "/".join(map(str, plan.split))},
        "synthesize": {"n": plan.pairs, "psi": plan.psi},
    }
    lines = ["# What this study asks for: an option given on the command line overrides the one here."]
    for name, options in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in options.items())]
    return "\n".join(lines) + "\n"


def _write_settings(path: Path, settings: str) -> None:
    """Write `study.toml`, unless the folder is somebody's work."""
    if path.exists() and path.read_bytes() != settings.encode():
        raise InputError(
            f"{path} is of another study, or of a demo with other options; choose another folder with --study"
        )
    if not path.exists() and any(path.parent.glob(f"*/{RECORD}")):
        raise InputError(f"{path.parent} is a study that no demo made; choose another folder with --study")
    write_bytes(path, settings.encode())


def _run(arguments: Sequence[str], root: Path, *, quiet: bool) -> None:
    """Run one command in a process of its own, so that its memory is its own."""
    if not quiet:
        print(f"\n$ hdgan {shlex.join(arguments)}", flush=True)
    flags = ["--quiet"] if quiet else []
    code = run_measured([sys.executable, "-P", "-m", "hdgan", *arguments, *flags], _title(arguments), root)
    if code:
        raise StageFailedError(code)


def _title(arguments: Sequence[str]) -> str:
    """Short name of a command: its verb, and what sets it apart from another of the same verb."""
    verbs = 2 if arguments[0] in ("demo", "annotate") else 1
    unseen = (
        " (unseen slide)" if any(argument.endswith(("unseen", f"={UNSEEN_SEED}")) for argument in arguments) else ""
    )
    return " ".join(arguments[:verbs]) + unseen
