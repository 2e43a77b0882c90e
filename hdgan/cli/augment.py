"""`hdgan augment fit | settings | sample | benchmark | classify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hdgan.cli.labelled import open_as, open_parts
from hdgan.cli.options import (
    DEFAULT_SPACE,
    DEFAULT_STUDY,
    DeviceOption,
    JsonOption,
    QuietOption,
    RedoOption,
    SeedOption,
    SpaceOption,
    StudyOption,
    say,
)
from hdgan.cli.settings import parse_ratios, parse_settings
from hdgan.study import Study
from tiling.errors import InputError
from tiling.wording import counted, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hdgan.augmenters import LabelledImages
    from hdgan.augmenters.images import Pixels

app = typer.Typer(
    help="More labelled images for classifiers: fit augmenters, draw from them, compare them; classify.\n\n"
    "Example: hdgan augment fit dcgan --study chest --images pneumoniamnist.npz"
)

MethodArgument = Annotated[
    str, typer.Argument(metavar="METHOD", help="geometric, cvae, dcgan, cvaedcgan, stylegan2 or gmcl.")
]
ImagesOption = Annotated[
    Path,
    typer.Option(help="MedMNIST's .npz, a folder with a folder of images for each class, or a folder of tiles."),
]
SizeOption = Annotated[int | None, typer.Option(help="Average the images down to this edge, px; default: as they are.")]
ClassesOption = Annotated[
    str | None, typer.Option(help="Names of the classes in a .npz, in order, with commas; default: their numbers.")
]
ConditionOption = Annotated[
    str | None, typer.Option(help="The label that tells the class, of tiles, or of images with a table of labels.")
]
LabelsOption = Annotated[
    Path | None, typer.Option(help="CSV file with labels of the images in a folder: columns image, and one a label.")
]

_SAMPLES, _RATIO, _LEAST = 64, 100, 0.8
_CHOSEN = "Which are kept"


@app.command()
def fit(
    method: MethodArgument,
    images: ImagesOption,
    study: StudyOption = DEFAULT_STUDY,
    size: SizeOption = None,
    classes: ClassesOption = None,
    condition: ConditionOption = None,
    labels: LabelsOption = None,
    preset: Annotated[str, typer.Option(help="default, or quick (for a trial).")] = "default",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Settings of the method, like steps=2000,width=32: see `hdgan augment settings`. Several are put "
            "together.",
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Of the networks: fp32, bf16, or auto (bf16 on a GPU); gmcl has fp32 alone.")
    ] = "auto",
    tensorboard: Annotated[bool, typer.Option(help="Log for TensorBoard, too.")] = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fit an augmenter on labelled images: the part of them that is to train on.

    Example: hdgan augment fit dcgan --study chest --images pneumoniamnist.npz --set steps=2000,width=32
    """
    from hdgan.augmenters import create
    from hdgan.augmenters.presets import preset as preset_of
    from hdgan.augmenters.sources import stage_of

    made = create(method, **{**preset_of(preset, method), **parse_settings(method, ",".join(settings or []))})
    train = open_parts(images, size, classes, condition, labels, held_out=False)["train"]
    run = Study(study).augmenters / method
    made.fit(
        train, run=run, seed=seed, device=device, precision=precision, tensorboard=tensorboard, inputs=stage_of(images),
        redo=redo,
    )  # fmt: skip
    holds = ", all of which its file holds in the clear" if made.holds_images else ""
    next_step = f"hdgan augment sample {method} --study {quoted(study)}"
    say(f"{run}: {method}, fitted on {counted(len(train), 'image')}{holds}. Next: {next_step}", quiet)


@app.command()
def settings(method: MethodArgument, quiet: QuietOption = False) -> None:
    """Tell the settings of a method, with their defaults and those of --preset quick, as `fit --set` takes them.

    Example: hdgan augment settings dcgan
    """
    from hdgan.augmenters.presets import settings_of
    from hdgan.cli.tables import print_table

    rows = [
        {
            "setting": "\n".join(each.names),
            "default": "\n".join(map(str, each.defaults)),
            "quick": "\n".join(map(str, each.quick)),
            "meaning": each.meaning,
        }
        for each in settings_of(method)
    ]
    if not quiet:
        print_table(f"Settings of {method}", rows, words=("setting", "meaning"), prose=("meaning",))


@app.command()
def sample(
    method: MethodArgument,
    study: StudyOption = DEFAULT_STUDY,
    n: Annotated[
        int | None, typer.Option("-n", help="Of each class, 64 by default; asked for more later, it adds them.", min=1)
    ] = None,
    label: Annotated[str | None, typer.Option(help="A class, by name or number; default: all.")] = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="Keep those that pass these rules, in this order: centroid, distance, confidence; or random.",
            rich_help_panel=_CHOSEN,
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Real images to choose by, as those of fit.", rich_help_panel=_CHOSEN)
    ] = None,
    condition: Annotated[
        str | None, typer.Option(help="The label that tells their class.", rich_help_panel=_CHOSEN)
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV file with labels of the images in a folder.", rich_help_panel=_CHOSEN)
    ] = None,
    ratio: Annotated[
        int | None,
        typer.Option(
            help="Samples to keep, % of the real images of their class; default: 100.", min=1, rich_help_panel=_CHOSEN
        ),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="Its file, to measure by; default: one is trained on the images, once for all rules.",
            rich_help_panel=_CHOSEN,
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Of that training: default, or quick (for a trial).", rich_help_panel=_CHOSEN)
    ] = None,
    least: Annotated[
        float | None,
        typer.Option(
            help="Probability of its class that `confidence` asks for; default: 0.8.", rich_help_panel=_CHOSEN
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; default: augmented/METHOD, or augmented/METHOD-RULES.")
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw images of each class from an augmenter, as PNGs in a folder for each, with a table and a contact sheet.

    Example: hdgan augment sample dcgan --study chest -n 200 --label pneumonia

    Example: hdgan augment sample dcgan --study chest --select centroid,confidence --images pneumoniamnist.npz
    """
    from hdgan.augmenters import Judge, load
    from hdgan.augmenters.base import AUGMENTER
    from hdgan.augmenters.presets import classifier_preset
    from hdgan.augmenters.selection import CONFIDENCE, RANDOM, check_rules
    from hdgan.augmenters.sources import stage_of
    from hdgan.augmenters.writing import SELECTION, write_samples, write_selection
    from hdgan.cli.tables import print_table
    from tiling.stage import read_record

    place = Study(study)
    run = place.augmenters / method
    _require_fitted(method, run, study)
    if select is None:
        if given := _given(images=images, condition=condition, labels=labels, ratio=ratio, classifier=classifier,
                           preset=preset, least=least):  # fmt: skip
            raise InputError(f"to choose samples by {given}, give --select, too")
        n = n or _SAMPLES
        out = out or place.augmented / method
        manifest = write_samples(run / AUGMENTER, out, n=n, label=label, seed=seed, device=device, redo=redo)
        there = read_record(out)["config"]["n"]
        say(f"{manifest}: {counted(there, 'image')} of {'each class' if label is None else label}", quiet)
        return
    if images is None or n is not None:
        raise InputError("--select takes --images, the real ones, and --ratio instead of -n")
    rules = [rule.strip() for rule in select.split(",")]
    check_rules(rules)
    idle = {
        "classifier": classifier if RANDOM in rules else None,
        "preset": preset if RANDOM in rules or classifier is not None else None,
        "least": None if CONFIDENCE in rules else least,
    }
    if given := _given(**idle):
        why = " and --classifier" * (classifier is not None and RANDOM not in rules and preset is not None)
        raise InputError(f"{given} does nothing with --select {select}{why}: leave it out")
    out = out or place.augmented / "-".join([method, *rules])
    real = open_as(load(run / AUGMENTER).shape, images, condition, labels, held_out=False)["train"]
    found = write_selection(
        run / AUGMENTER, out, real, rules=rules, ratio=(ratio or _RATIO) / 100, label=label,
        judge=Judge(classifier, classifier_preset(preset or "default"), place.augmented),
        least=_LEAST if least is None else least, seed=seed, inputs=stage_of(images), device=device, redo=redo,
    )  # fmt: skip
    if not quiet:
        rows = [
            {"class": name, "drawn": of["drawn"], **of["passed"], "taken": of["taken"], "wanted": of["wanted"]}
            for name, of in found.items()
        ]
        texts = [{heading: str(value) for heading, value in row.items()} for row in rows]
        print_table("Samples, and how many each rule let pass", texts, words=("class",))
        say(f"{out / SELECTION}: the same", quiet)


@app.command()
def benchmark(
    images: ImagesOption,
    methods: Annotated[
        list[str] | None, typer.Argument(metavar="[METHOD]...", help="Whose samples; default: cvae, dcgan, cvaedcgan.")
    ] = None,
    study: StudyOption = DEFAULT_STUDY,
    size: SizeOption = None,
    classes: ClassesOption = None,
    condition: ConditionOption = None,
    labels: LabelsOption = None,
    plan: Annotated[str, typer.Option(help="full (for a GPU) or quick (minutes on two cores, for small images).")] = (
        "full"
    ),
    seeds: Annotated[int | None, typer.Option(help="How many; default by plan, 3.", min=1)] = None,
    ratios: Annotated[
        str | None, typer.Option(help="Samples, % of the real images, like 50,100,200; default by plan.")
    ] = None,
    students: Annotated[bool, typer.Option(help="Train GMCL's students, too.")] = True,
    figure: Annotated[bool, typer.Option(help="Draw benchmark.png, too; it takes matplotlib.")] = False,
    space: SpaceOption = DEFAULT_SPACE,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell what classifiers of real test images gain by training with augmenters' samples, over several seeds.

    Example: hdgan augment benchmark dcgan --study chest --images pneumoniamnist.npz --plan quick
    """
    import json

    from hdgan.augmenters.benchmark import TABLES, run_benchmark
    from hdgan.augmenters.benchmark_plan import plan_named
    from hdgan.augmenters.benchmark_table import explanations, tables
    from hdgan.augmenters.sources import stage_of
    from hdgan.cli.tables import print_table
    from hdgan.embedding import open_space
    from training.devices import choose_device

    changed: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    if ratios is not None:
        changed["ratios"] = parse_ratios(ratios)
    out = Study(study).benchmark
    report = run_benchmark(
        open_parts(images, size, classes, condition, labels),
        out,
        methods=methods or None,
        students=students,
        plan=plan_named(plan, **changed),
        seed=seed,
        space=open_space(space, choose_device(device)),
        device=device,
        inputs=stage_of(images),
        redo=redo,
    )
    if figure:
        from hdgan.explore import benchmark_figure

        benchmark_figure(report).savefig(out / "benchmark.png")
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    elif not quiet:
        for title, rows in tables(report).items():
            print_table(title, rows, words=("method", "short"))
        for line in explanations(report):
            say(line, quiet)
        say(f"{out / TABLES}: the same", quiet)


@app.command()
def classify(
    classifier: Annotated[
        Path, typer.Argument(metavar="CLASSIFIER", help="classifier.safetensors, or a student of gmcl.", dir_okay=False)
    ],
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="As the --images of fit.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")],
    unlabelled: Annotated[bool, typer.Option("--unlabelled", help="Of this folder of images no class is known.")] = (
        False
    ),
    condition: ConditionOption = None,
    labels: LabelsOption = None,
    device: DeviceOption = "auto",
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell what a classifier takes each image for, with the probabilities; and how good it is where that is known.

    Example: hdgan augment classify chest/augmenters/gmcl/student.safetensors pneumoniamnist.npz --out classified.csv
    """
    from hdgan.augmenters.classified import classify as classify_images
    from hdgan.augmenters.classifier import Classifier
    from hdgan.augmenters.sources import open_unlabelled
    from hdgan.cli.tables import print_table
    from hdgan.metrics import CLASSIFICATION_MEASURES, measure_text, positive_note
    from training.devices import choose_device

    if unlabelled and (given := _given(condition=condition, labels=labels)):
        raise InputError(f"--unlabelled images have no class: leave {given} out")
    judge = Classifier.load(classifier, device=choose_device(device))
    parts: Mapping[str, LabelledImages | Pixels]
    if unlabelled:
        parts = {"": open_unlabelled(images, size=judge.shape.size)}
    else:
        parts = open_as(judge.shape, images, condition, labels, by_fold=False)
    reports = classify_images(judge, parts, out, redo=redo)
    if reports and not quiet:
        rows = [
            {"part": part, "images": str(sum(of.support.values()))}
            | {heading: measure_text(of.measures[name]) for name, heading in CLASSIFICATION_MEASURES.items()}
            for part, of in reports.items()
        ]
        print_table(f"Measures by part{positive_note(judge.shape.classes)}", rows, words=("part",))
    say(f"{out}: what each image is taken for", quiet)


def _require_fitted(method: str, run: Path, study: Path) -> None:
    """An :class:`InputError` with the command to run if a method is not fitted, or a fit of it was stopped.

    What its record tells of the options is in the command; how the images were opened it does not tell.
    """
    from tiling.stage import RECORD, completed, read_record

    command = f"hdgan augment fit {method} --images IMAGES --study {quoted(study)}"
    if (run / RECORD).exists() and (record := read_record(run))["status"] != "complete":
        from hdgan.augmenters.presets import changed_settings

        config = record["config"]
        changed = ",".join(f"{name}={value}" for name, value in changed_settings(method, config).items())
        command += f" --set {changed}" * bool(changed) + f" --seed {config.get('seed')}" * bool(config.get("seed"))
        raise InputError(
            f"{run} is only half made: run `{command}` again to finish it, with the IMAGES and the options for these "
            "(--size, --classes, --condition, --labels) that it was begun with"
        )
    completed(run, made_by=command)


def _given(**options: object) -> str:
    """Those of some options that were given, as they are typed."""
    return " and ".join(f"--{name}" for name, value in options.items() if value is not None)
