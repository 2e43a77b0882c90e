"""Archives tiled by other processes: the same tiles, whoever does the work and whatever happens to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from damaged import CHANGES, jpeg_slide, spoil
from distributed import LocalCluster
from PIL import Image

from tiling import InputError, tile_archive

RESULTS = ("manifest.parquet", "ledger.parquet", "index.html")


@pytest.fixture
def archive(tmp_path, stained):
    folder = tmp_path / "archive"
    folder.mkdir()
    for number in range(6):
        jpeg_slide(folder / f"{number}.svs", [stained(768, 512, number)])
    (folder / "broken.svs").write_bytes(b"no slide")
    spoil(folder / "0.svs", 2, 3, CHANGES["cut in half"])
    return folder


def results(out):
    return {name: (out / name).read_bytes() for name in RESULTS}


def test_workers_of_this_machine_and_of_a_scheduler_give_what_this_process_gives(archive, tmp_path):
    here, processes, cluster = (tmp_path / name for name in ("here", "processes", "cluster"))
    tile_archive(archive, here, size=128, workers=0)
    tile_archive(archive, processes, size=128, workers=2)
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None, processes=False) as address:
        tile_archive(archive, cluster, size=128, scheduler=address.scheduler_address)
    assert results(here) == results(processes) == results(cluster)


def test_a_scheduler_that_does_not_answer_leaves_nothing_behind(archive, tmp_path):
    with pytest.raises(InputError, match="address is like tcp://HOST:8786, not 'nonsense'"):
        tile_archive(archive, tmp_path / "tiles", size=128, scheduler="nonsense")
    assert not (tmp_path / "tiles").exists()
    with pytest.raises(InputError, match="workers is 0 or more, not -1"):
        tile_archive(archive, tmp_path / "tiles", size=128, workers=-1)


@pytest.mark.slow
def test_a_slide_that_takes_more_memory_than_a_worker_may_fails_alone(archive, tmp_path):
    Image.fromarray(np.full((9900, 9900, 3), 200, np.uint8)).save(archive / "large.png")
    tiles = tile_archive(archive, tmp_path / "tiles", size=128, workers=2, memory="400MiB", retries=1)
    rows = {row["slide"]: row for row in pq.read_table(tmp_path / "tiles" / "ledger.parquet").to_pylist()}
    assert rows["large.png"]["status"] == "failed"
    assert rows["large.png"]["error"] == "KilledWorker"
    assert "its worker died again and again, perhaps for want of memory" in rows["large.png"]["reason"]
    assert len(tiles.slides) == 6


def start(archive, study, **options):
    command = [sys.executable, "-m", "hdgan", "tile", archive, "--study", study, "--size", "128", "--workers", "2"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, **options)


def wait_for_parts(study, process, count):
    while process.poll() is None and len(list((study / "tiles" / "parts").glob("[0-9a-f]*.parquet"))) < count:
        time.sleep(0.005)


@pytest.mark.slow
def test_ctrl_c_stops_everybody_with_one_line_and_the_same_command_goes_on(archive, tmp_path, stained):
    for number in range(6, 30):  # so that it comes before the end
        jpeg_slide(archive / f"{number}.svs", [stained(768, 512, number)])
    process = start(archive, tmp_path / "study")
    wait_for_parts(tmp_path / "study", process, 1)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert said == "hdgan: stopped; the same command continues\n"
    assert not psutil.wait_procs(family, timeout=20)[1]
    assert start(archive, tmp_path / "study").wait(timeout=120) == 0
    tile_archive(archive, tmp_path / "whole" / "tiles", size=128)
    assert results(tmp_path / "study" / "tiles") == results(tmp_path / "whole" / "tiles")


@pytest.mark.slow
@pytest.mark.parametrize("materialise", [None, "cells", "pixels"])
def test_killed_again_and_again_it_ends_with_the_bytes_of_an_undisturbed_run(archive, tmp_path, materialise):
    whole = tile_archive(archive, tmp_path / "whole" / "tiles", size=128, materialise=materialise)
    study, kept = tmp_path / "study", {}
    options = ["--materialise", materialise] if materialise else []
    for count in (1, 3, 5):
        command = [sys.executable, "-m", "hdgan", "tile", archive, "--study", study, "--size", "128", "--workers", "2"]
        process = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
        wait_for_parts(study, process, count)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not psutil.wait_procs(family, timeout=30)[1], "workers outlived who started them"
        now = {path: path.stat().st_mtime_ns for path in (study / "tiles" / "parts").glob("[0-9a-f]*.parquet")}
        assert kept.items() <= now.items()
        kept = now
    tiles = tile_archive(archive, study / "tiles", size=128, materialise=materialise, workers=2)
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    assert results(study / "tiles") == results(tmp_path / "whole" / "tiles")
    for i in range(len(whole)):
        np.testing.assert_array_equal(tiles.read(i), whole.read(i))
    assert not [path for path in (study / "tiles").rglob("*") if "partial" in path.name]
