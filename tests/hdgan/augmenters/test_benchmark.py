"""The benchmark of augmenters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_augmenters import SMALL, two_classes

import hdgan.augmenters.benchmark_round as benchmark
from hdgan.augmenters.benchmark import run_benchmark
from hdgan.augmenters.benchmark_plan import Arm, Plan, arms_of
from hdgan.augmenters.benchmark_table import _best, _of_fit, tables
from hdgan.augmenters.classifier import Classifier, ClassifierConfig
from hdgan.embedding import ModuleSpace
from hdgan.metrics import classification_report
from tiling.errors import InputError
from tiling.stage import read_record
from training.errors import DivergedError

PLAN = Plan(
    seeds=2, ratios=(0.5, 1.0), classifier=ClassifierConfig(steps=2, batch=8, width=4), least=0.1, passes=2, most=3.0
)
MEAN = ModuleSpace(lambda x: x.mean(dim=(2, 3)), name="mean", dimensions=3)


@pytest.fixture(autouse=True)
def small_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    short = {"steps": 3, "inner_steps": 1}
    monkeypatch.setattr(
        benchmark, "preset", lambda name, of: {key: short.get(key, value) for key, value in SMALL[of].items()}
    )


def parts() -> dict:
    return {"train": two_classes(), "test": two_classes(12)}


def test_rows_are_what_is_compared() -> None:
    assert [arm.name for arm in arms_of(["dcgan"], PLAN)] == [
        "real", "geometric", "dcgan 50 %", "dcgan 50 % selected", "dcgan 100 %", "dcgan 100 % selected",
        "geometric + dcgan 100 % selected",
    ]  # fmt: skip
    assert Arm("dcgan", 0.5) != Arm("dcgan", 0.5, selected=True)


def test_a_benchmark_that_is_stopped_goes_on_and_tells_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit, fits = benchmark.fit_classifier, list[Path]()

    def stopped(*args, run: Path, **settings):
        fits.append(run)
        if len(fits) == 6:
            raise KeyboardInterrupt
        return fit(*args, run=run, **settings)

    monkeypatch.setattr(benchmark, "fit_classifier", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(parts(), tmp_path, methods=["dcgan"], students=False, plan=PLAN, space=MEAN)
    report = run_benchmark(parts(), tmp_path, methods=["dcgan"], students=False, plan=PLAN, space=MEAN)
    again = [run for run in set(fits) if fits.count(run) > 1]
    assert {run.name for run in again} == {fits[5].name}
    assert len(set(fits)) == 2 * 7

    assert list(report["classifiers"]) == [arm.name for arm in arms_of(["dcgan"], PLAN)]
    of = report["classifiers"]["dcgan 50 %"]
    test, run = parts()["test"], tmp_path / "seed-1" / "classifiers" / "dcgan-50"
    chances = Classifier.load(run / "classifier.safetensors").predict(test.pixels)
    measures = classification_report(test.labels, chances, test.classes).measures
    assert {name: of["of_seeds"][1][name] for name in measures} == pytest.approx(measures)
    both = [each["accuracy"] for each in of["of_seeds"]]
    assert of["mean"]["accuracy"] == pytest.approx(np.mean(both))
    assert of["deviation"]["accuracy"] == pytest.approx(np.std(both, ddof=1))
    assert (of["mean"]["samples"], report["classifiers"]["dcgan 100 %"]["mean"]["samples"]) == (20, 40)
    assert of["mean"]["peak_bytes"] > 1e7
    assert of["mean"]["frechet"] > 0
    assert "frechet" not in report["classifiers"]["geometric + dcgan 100 % selected"]["mean"]
    assert report["selections"][0]["dcgan 50 % selected"]["left"]["wanted"] == 10
    assert json.loads((tmp_path / "report.json").read_text()) == report
    record, fits = read_record(tmp_path), [read_record(run.parent) for run in tmp_path.rglob("seed-*/*/*/stage.json")]
    assert record["peak_rss_bytes"] >= max(fit["peak_rss_bytes"] for fit in fits)
    text = (tmp_path / "tables.md").read_text()
    assert "| geometric + dcgan 100 % selected |" in text
    assert "- distances: of the samples' features in mean from those of the real images; less is nearer\n" in text
    capsys.readouterr()
    assert run_benchmark(parts(), tmp_path, methods=["dcgan"], students=False, plan=PLAN, space=MEAN) == report
    assert "is complete: nothing to do" in capsys.readouterr().err


def test_memory_of_a_gpu_has_a_column_where_there_is_one() -> None:
    cost = {"seconds": 2.0, "peak_bytes": 3e6}
    assert _of_fit(cost) == {"fit, s": "2", "peak, MB": "3"}
    assert _of_fit(cost | {"gpu_peak_bytes": 5e6}) == {"fit, s": "2", "peak, MB": "3", "GPU, MB": "5"}


def test_students_stand_beside_their_network_trained_on_real_images(tmp_path: Path) -> None:
    plan = replace(PLAN, seeds=1, ratios=(1.0,))
    report = run_benchmark(parts(), tmp_path, methods=["gmcl"], plan=plan, space=MEAN)
    assert sorted(path.name for path in (tmp_path / "seed-0" / "augmenters").iterdir()) == [
        "geometric", "gmcl", "gmcl-fixed-rates", "gtn"
    ]  # fmt: skip
    assert report["classifiers"]["gmcl 100 %"]["mean"]["samples"] == 40
    assert {name: (of["mean"]["real_images"], of["mean"]["updates"]) for name, of in report["students"].items()} == {
        "student": (16, 2),
        "student + crops and flips": (16, 2),
        "student + crops and flips + as many images": (24, 3),
        "student + crops and flips + as many images + balanced": (24, 3),
        "gtn": (24, 1),  # a fresh one learns from the teacher alone
        "gmcl-fixed-rates": (24, 6),
        "gmcl": (24, 6),
    }
    assert report["students"]["gtn"]["deviation"]["accuracy"] is None
    assert read_record(tmp_path / "seed-0" / "augmenters" / "gtn")["config"]["reset_student"] is True
    student = Classifier.load(tmp_path / "seed-0" / "classifiers" / "student" / "classifier.safetensors")
    assert student.about == {"kind": "student", "width": 4}
    balanced = tmp_path / "seed-0" / "classifiers" / "student-crops-and-flips-as-many-images-balanced"
    assert read_record(balanced)["config"]["balanced"] is True
    text = (tmp_path / "tables.md").read_text()
    assert "| real images shown | updates |" in text
    assert "| gmcl-fixed-rates |" in text


def test_what_is_measured_of_some_samples_and_some_seeds_only_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = benchmark.select

    def short(*args, seed: int, criteria=(), **settings):
        """None of "left" passes in the second seed, and one of "right"."""
        made = draw(*args, seed=seed, **settings)
        if not (seed and criteria):
            return made
        accounts = {
            name: replace(account, taken=taken)
            for (name, account), taken in zip(made.accounts.items(), (0, 1), strict=True)
        }
        return replace(made, pixels=made.pixels[-1:], labels=made.labels[-1:], accounts=accounts)

    monkeypatch.setattr(benchmark, "select", short)
    plan = replace(PLAN, ratios=(1.0,))
    report = run_benchmark(parts(), tmp_path, methods=["dcgan"], students=False, plan=plan, space=MEAN)
    of_samples, of_classifiers = ({row["method"]: row for row in rows} for rows in tables(report).values())
    assert of_classifiers["real"]["samples (of wanted)"] == ""
    at_random, chosen = (of_classifiers[f"dcgan 100 %{way}"] for way in ("", " selected"))
    assert (at_random["samples (of wanted)"], at_random["short"]) == ("40 (40)", "")
    assert (chosen["samples (of wanted)"], chosen["short"]) == ("20 (40)", "left in 1 seed, right in 1 seed")
    assert of_samples["dcgan 100 % selected"]["samples"] == "20"
    assert of_samples["dcgan 100 % selected"]["recognised"].endswith(" (1 seed)")
    assert "seed" not in of_samples["dcgan 100 %"]["recognised"]


def test_the_best_row_is_compared_with_real_seed_by_seed() -> None:
    def of(*values: float | None) -> dict:
        return {"of_seeds": [{"balanced_accuracy": value} for value in values]}

    rows = {"real": of(0.8, 0.7), "geometric": of(0.9, 0.7), "dcgan 50 %": of(0.7, 0.7), "cvae 50 %": of(1.0, None)}
    assert _best(rows) == (
        "best balanced accuracy beside real, of 2 rows picked by these images: geometric, 0.050 ± 0.071 above it, "
        "in 2 seeds"
    )
    one = {"real": of(0.8), "dcgan 50 %": of(0.7)}
    assert _best(one) == "best balanced accuracy beside real: dcgan 50 %, 0.100 below it; one seed is no evidence"
    assert "no row can be compared" in _best({"real": of(None), "dcgan 50 %": of(0.7)})


def test_a_row_that_diverges_is_left_out_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit, fits = benchmark.fit_classifier, list[str]()

    def diverging(*args, run: Path, **settings):
        fits.append(run.name)
        if run.name == "geometric" or (run.name == "dcgan-100" and run.parts[-3] == "seed-1"):
            raise DivergedError("step 2: loss is nan")
        return fit(*args, run=run, **settings)

    monkeypatch.setattr(benchmark, "fit_classifier", diverging)
    plan = replace(PLAN, ratios=(1.0,))
    report = run_benchmark(parts(), tmp_path, methods=["dcgan"], students=False, plan=plan, space=MEAN)
    why = "step 2: loss is nan"
    assert report["diverged"] == [{"geometric": why}, {"geometric": why, "dcgan 100 %": why}]
    rows = {row["method"]: row for row in list(tables(report).values())[1]}
    assert rows["geometric"]["fit, s"] == ""
    assert rows["dcgan 100 %"]["AUC"].endswith("(1 seed)")
    assert f"- dcgan 100 % is of fewer seeds: {why}" in (tmp_path / "tables.md").read_text()

    made = type(benchmark.create("dcgan"))

    def dying(self, *args, **settings):
        fits.append("fit of dcgan")
        raise DivergedError(why)

    monkeypatch.setattr(made, "fit", dying)
    again = run_benchmark(parts(), tmp_path / "again", methods=["dcgan"], students=False, plan=plan, space=MEAN)
    assert set(again["diverged"][0]) == {arm.name for arm in arms_of(["dcgan"], plan)} - {"real"}
    assert fits.count("fit of dcgan") == 2  # once for each seed


def test_one_of_several_processes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="a benchmark is for one process, and 2 were started: start it alone"):
        run_benchmark(parts(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no part test"):
        run_benchmark({"train": two_classes()}, tmp_path / "out")
    swapped = replace(two_classes(12), classes=("right", "left"))
    with pytest.raises(InputError, match=r"images of test are .* of right, left; those .* of left, right"):
        run_benchmark({**parts(), "test": swapped}, tmp_path / "out", plan=PLAN)
    with pytest.raises(InputError, match=r"images of val are 28 px, .*; those to train on are 16 px, "):
        run_benchmark({**parts(), "val": two_classes(size=28)}, tmp_path / "out", plan=PLAN)
    odd = {part: two_classes(size=30) for part in ("train", "test")}
    with pytest.raises(InputError, match="edge is a multiple of 4 px, not 30 px"):
        run_benchmark(odd, tmp_path / "out", methods=["dcgan"], plan=PLAN)
    large = replace(PLAN, classifier=ClassifierConfig(batch=64))
    with pytest.raises(InputError, match="40 images are fewer than a batch of 64"):
        run_benchmark(parts(), tmp_path / "out", plan=large)
    with pytest.raises(InputError, match="seed must be a whole number from 0 to"):
        run_benchmark(parts(), tmp_path / "out", plan=PLAN, seed=-1)
    with pytest.raises(InputError, match="plan must be one of full, quick, not 'slow'"):
        run_benchmark(parts(), tmp_path / "out", plan="slow")
    with pytest.raises(InputError, match=r"method must be one of .*, not 'geometric'"):
        run_benchmark(parts(), tmp_path / "out", methods=["geometric"])
    with pytest.raises(InputError, match="a ratio of samples to real images must be a number"):
        Plan(ratios=(0.5, 0))
    with pytest.raises(InputError, match=r"must differ by 1 % at least, not 12%, 12%, 50%"):
        Plan(ratios=(0.12, 0.124, 0.5))
    for wrong in ({"least": 2}, {"passes": 0}, {"among": 0.5}, {"most": 0}):
        with pytest.raises(InputError, match=f"{next(iter(wrong))} must be"):
            Plan(**wrong)
    for wrong in (ClassifierConfig(dropout=0), ClassifierConfig(network="student")):
        with pytest.raises(InputError, match="take a strided classifier that has some"):
            Plan(classifier=wrong)
    many = replace(two_classes(), labels=np.arange(40) % 20, classes=tuple(map(str, range(20))))
    with pytest.raises(InputError, match="1 inner step of 8 images cannot show 20 classes: take more inner_steps"):
        run_benchmark({"train": many, "test": many}, tmp_path / "out", methods=["dcgan"], plan=PLAN)
    assert [Plan(ratios=ratios).reference for ratios in ((0.5, 3.0), (2.0, 1.0))] == [0.5, 1.0]
    assert not (tmp_path / "out").exists()
