"""`hdgan augment` on chest radiographs of MedMNIST, every method."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import run
from small_augmenters import SMALL

from hdgan.augmenters import benchmark_plan, benchmark_round, load, names
from hdgan.augmenters.classifier import ClassifierConfig

pytestmark = pytest.mark.slow


@pytest.fixture
def radiographs(data: Path) -> Path:
    path = data / "classification" / "pneumoniamnist.npz"
    if not path.is_file():
        pytest.skip(f"no radiographs at {path}")
    return path


def test_every_method_is_fitted_and_drawn_from(radiographs: Path, tmp_path: Path) -> None:
    for name in names():
        of = SMALL[name] | {"steps": 2} if name != "geometric" else {}
        if name == "stylegan2":
            of["kimg"] = of.pop("steps") * of["batch"] / 1000
        settings = ["--set", ",".join(f"{key}={value}" for key, value in of.items())] if of else []
        fit = ["augment", "fit", name, "--study", tmp_path, "--images", radiographs, "--device", "cpu"]
        assert "fitted on 3882 images" in run(*fit, "--classes", "normal,pneumonia", *settings)
        run("augment", "sample", name, "--study", tmp_path, "-n", 4)
        assert len(list((tmp_path / "augmented" / name / "images" / "pneumonia").iterdir())) == 4
        made = load(tmp_path / "augmenters" / name / "augmenter.safetensors")
        assert made.sample(4, "normal", seed=0).shape == (4, 28, 28, 1)


def test_two_methods_are_compared(radiographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = ClassifierConfig(steps=30, batch=32, width=8, learning_rate=1e-2)
    plan = benchmark_plan.Plan(seeds=1, ratios=(0.1,), classifier=classifier, least=0.5, passes=1, most=2)
    monkeypatch.setattr(benchmark_plan, "PLANS", {"quick": plan})
    monkeypatch.setattr(benchmark_round, "preset", lambda _, of: SMALL[of])
    bench = ["augment", "benchmark", "dcgan", "cvae", "--study", tmp_path, "--images", radiographs, "--plan", "quick"]
    said = run(*bench, "--device", "cpu")
    assert "geometric + cvae 10 % selected" in said
    report = json.loads((tmp_path / "benchmark" / "report.json").read_text())
    assert report["images"]["test"] == {"0": 234, "1": 390}
    assert report["selections"][0]["dcgan 10 %"]["1"]["taken"] == 349
    assert report["classifiers"]["real"]["mean"]["auc"] > 0.7
    assert report["students"]["gmcl"]["mean"]["real_images"] == 48
