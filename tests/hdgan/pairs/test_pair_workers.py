"""Pairs made by others: workers of this machine, or those of a scheduler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from small_study import make_ensemble, make_latents, make_small_generator

from hdgan.labels import UNLABELLED
from hdgan.pairs import PairSet, production, synthesize
from tiling.errors import InputError
from tiling.files import fingerprint
from tiling.stage import read_record
from tiling.workers import Done


def content(folder: Path) -> dict[str, str]:
    return {path.name: fingerprint(path) for path in folder.iterdir() if path.name != "stage.json"}


def test_an_order_of_making_changes_nothing(small_generator, random_ensemble, tmp_path, monkeypatch) -> None:
    latents = make_latents(small_generator, 6)
    made = synthesize(small_generator, random_ensemble, latents, tmp_path / "in_order")
    do = production.Crew.do
    monkeypatch.setattr(production.Crew, "do", lambda crew, tasks, settle: do(crew, reversed(list(tasks)), settle))
    backwards = synthesize(small_generator, random_ensemble, latents, tmp_path / "backwards")
    assert content(tmp_path / "backwards") == content(tmp_path / "in_order")
    seeds = [[pair.seed for pair in pairs.select(drop_uncertain=0.5)] for pairs in (made, backwards)]
    assert seeds[0] == seeds[1]


def failing(crew, tasks, settle) -> None:
    """Workers that cannot make pair 1."""
    for task in tasks:
        if task.index == 1:
            settle(Done(task, error=RuntimeError("out\nof memory"), trace="Traceback: ..."))
        else:
            settle(Done(task, result=task()))


def test_a_pair_that_fails_is_listed_and_tried_again(
    small_generator, random_ensemble, tmp_path, monkeypatch, capsys
) -> None:
    latents, out = make_latents(small_generator, 3), tmp_path / "pairs"
    with monkeypatch.context() as patched:
        patched.setattr(production.Crew, "do", failing)
        pairs = synthesize(small_generator, random_ensemble, latents, out, format="png")
    assert "pair 1 (seed 11) could not be made: RuntimeError: out of memory" in capsys.readouterr().err
    assert [pair.index for pair in pairs] == [0, 2]
    assert read_record(out)["summary"] == {"pairs": 2, "failed": 1}
    listed = [json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines()]
    assert [(each["index"], each["seed"], each["error"]) for each in listed] == [(1, 11, "RuntimeError: out of memory")]
    assert listed[0]["traceback"] == "Traceback: ..."
    assert len(synthesize(small_generator, random_ensemble, latents, out, format="png")) == 3
    assert read_record(out)["summary"] == {"pairs": 3}
    synthesize(small_generator, random_ensemble, latents, tmp_path / "at_once", format="png")
    assert content(out) == content(tmp_path / "at_once")


def test_a_pair_that_fails_is_no_hole_in_a_store_that_looks_like_data(
    small_generator, random_ensemble, tmp_path, monkeypatch
) -> None:
    latents, out = make_latents(small_generator, 3), tmp_path / "pairs"
    with monkeypatch.context() as patched:
        patched.setattr(production.Crew, "do", failing)
        pairs = synthesize(small_generator, random_ensemble, latents, out)
    group = zarr.open_group(out / "pairs.zarr", mode="r")
    assert (group["index"][:].tolist(), group["seed"][:].tolist()) == ([0, -1, 2], [10, -1, 12])
    assert (group["mask"][1] == UNLABELLED).all()
    np.testing.assert_array_equal(pairs[1].mask(), group["mask"][2])
    synthesize(small_generator, random_ensemble, latents, out)
    synthesize(small_generator, random_ensemble, latents, tmp_path / "at_once")
    assert content(out) == content(tmp_path / "at_once")


def test_that_no_pair_could_be_made_is_told(small_generator, random_ensemble, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(production.Crew, "do", failing)
    latents = make_latents(small_generator, 2)
    synthesize(small_generator, random_ensemble, latents.subset([0]), tmp_path / "pairs")
    monkeypatch.setattr(
        production.Crew, "do", lambda crew, tasks, settle: [settle(Done(t, error=OSError("gone"))) for t in tasks]
    )
    with pytest.raises(InputError, match="none of 2 pairs could be made: OSError: gone"):
        synthesize(small_generator, random_ensemble, latents, tmp_path / "none")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["zarr", "ome-tiff"])
def test_workers_make_the_same_pairs(small_store, format: str, tmp_path: Path) -> None:
    generator, ensemble = make_small_generator(), make_ensemble(small_store)
    latents = make_latents(generator, 5)
    synthesize(generator, ensemble, latents, tmp_path / "here", format=format)
    synthesize(generator, ensemble, latents.subset([0, 1]), tmp_path / "there", format=format)
    synthesize(generator, ensemble, latents, tmp_path / "there", format=format, workers=2)
    assert content(tmp_path / "there") == content(tmp_path / "here")
    assert not list((tmp_path / "there").glob(".partial*"))


@pytest.mark.slow
def test_what_a_worker_cannot_write_does_not_stop_the_others(small_store, tmp_path: Path) -> None:
    generator, ensemble = make_small_generator(), make_ensemble(small_store)
    latents, out = make_latents(generator, 4), tmp_path / "pairs"
    synthesize(generator, ensemble, latents.subset([0]), out, format="png")
    in_the_way = out / "images" / "000002.png"
    in_the_way.mkdir()
    pairs = synthesize(generator, ensemble, latents, out, format="png", workers=1, retries=1)
    assert [pair.index for pair in pairs] == [0, 1, 3]
    failure = json.loads((out / "failed.jsonl").read_text())
    assert failure["index"] == 2
    assert failure["error"].startswith("IsADirectoryError")
    assert "replacing" in failure["traceback"]
    in_the_way.rmdir()
    assert len(synthesize(generator, ensemble, latents, out, format="png", workers=1)) == 4


@pytest.mark.slow
def test_a_scheduler_is_found_by_its_address(small_store, tmp_path: Path) -> None:
    from distributed import LocalCluster

    generator, ensemble = make_small_generator(), make_ensemble(small_store)
    latents = make_latents(generator, 3)
    synthesize(generator, ensemble, latents, tmp_path / "here")
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        out = Path(os.path.relpath(tmp_path / "there"))  # workers are in a folder of their own
        synthesize(generator, ensemble, latents, out, scheduler=cluster.scheduler_address)
    assert content(tmp_path / "there") == content(tmp_path / "here")


@pytest.mark.slow
def test_ctrl_c_ends_a_synthesis_with_workers_at_once_and_it_goes_on(small_store, tmp_path: Path) -> None:
    generator, ensemble = make_small_generator(), make_ensemble(small_store)
    ensemble.save(tmp_path / "ensemble.safetensors")
    script = tmp_path / "run.py"
    script.write_text(f"""
import os, signal, sys, threading, time
from pathlib import Path
import torch
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
torch.set_num_threads(1)
from small_study import make_latents, make_small_generator
from hdgan.pairs import synthesize
from hdgan.pixels import PixelEnsemble

def press():
    while not ledger.exists() or not ledger.read_text():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

if __name__ == "__main__":
    ledger = Path({str(tmp_path / "pairs" / "ledger.jsonl")!r})
    threading.Thread(target=press, daemon=True).start()
    generator = make_small_generator()
    ensemble = PixelEnsemble.load({str(tmp_path / "ensemble.safetensors")!r})
    synthesize(generator, ensemble, make_latents(generator, 400), {str(tmp_path / "pairs")!r}, workers=1)
""")
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert ended.stderr.rstrip().endswith("KeyboardInterrupt")
    assert not list((tmp_path / "pairs").glob(".partial*"))
    made = (tmp_path / "pairs" / "ledger.jsonl").read_text().count("\n")
    assert 0 < made < 400
    synthesize(generator, ensemble, make_latents(generator, 400), tmp_path / "pairs")
    assert len(PairSet.open(tmp_path / "pairs")) == 400
