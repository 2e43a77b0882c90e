from __future__ import annotations

import errno
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import pytest
from distributed import LocalCluster

import tiling.workers
from tiling import InputError
from tiling.progress import set_quiet
from tiling.workers import start_workers


@dataclass(frozen=True)
class Square:
    number: int

    def __call__(self) -> tuple[int, int]:
        return self.number**2, os.getpid()


@dataclass(frozen=True)
class Stumble:
    """Fails until it was tried some times, which it counts in a file."""

    tries: Path
    until: int
    dies: bool = False
    number: int | None = None

    def __call__(self) -> str:
        with self.tries.open("a") as file:
            file.write(".")
        if self.tries.stat().st_size < self.until:
            if self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError("the disk has hiccups") if self.number is None else OSError(self.number, "Stale file handle")
        return "done"


@dataclass(frozen=True)
class Hoard:
    """Takes memory, and waits to be noticed."""

    bytes: int

    def __call__(self) -> int:
        held = bytearray(os.urandom(1 << 20)) * (self.bytes >> 20)
        time.sleep(20)
        return len(held)


def run(tasks, *, count, retries=0, memory=None, scheduler=None):
    with start_workers(scheduler=scheduler, count=count, memory=memory) as workers:
        return list(workers.run(deque(tasks), retries=retries))


@pytest.mark.parametrize("count", [0, 2])
def test_every_task_is_done_once_here_or_by_other_processes(count):
    done = run([Square(n) for n in range(50)], count=count)
    assert sorted(each.result[0] for each in done) == [n**2 for n in range(50)]
    assert all(each.result[0] == each.task.number**2 for each in done)
    assert ({each.result[1] for each in done} == {os.getpid()}) == (count == 0)


def test_tasks_that_come_to_be_while_others_run_are_done_too():
    tasks = deque([Square(3)])
    with start_workers(scheduler=None, count=0) as workers:
        results = []
        for done in workers.run(tasks, retries=0):
            results.append(done.result[0])
            if done.result[0] < 1000:
                tasks.append(Square(done.result[0]))
    assert results == [9, 81, 6561]


@pytest.mark.parametrize("count", [0, 1])
def test_a_task_that_raises_is_tried_again_and_told_with_its_traceback_at_last(tmp_path, count):
    (mended,) = run([Stumble(tmp_path / "a", until=3)], count=count, retries=2)
    assert mended.result == "done"
    (failed,) = run([Stumble(tmp_path / "b", until=9)], count=count, retries=2)
    assert str(failed.error) == "the disk has hiccups"
    assert 'raise OSError("the disk has hiccups")' in failed.trace
    assert str(Path(__file__).parent) not in failed.trace
    assert (tmp_path / "b").stat().st_size == 3


def test_a_worker_that_dies_is_replaced_and_its_task_tried_again(tmp_path):
    done = run([Stumble(tmp_path / "a", until=2, dies=True), *map(Square, range(5))], count=2, retries=1)
    assert sum(each.error is None for each in done) == 6


@pytest.mark.slow
def test_a_task_that_takes_too_much_memory_fails_alone():
    done = run([Hoard(600 << 20), *map(Square, range(20))], count=2, memory="300MiB")
    failed = [each for each in done if each.error is not None]
    assert [type(each.error).__name__ for each in failed] == ["KilledWorker"]
    assert isinstance(failed[0].task, Hoard)
    assert len(done) == 21


def test_workers_of_any_scheduler_do_the_work():
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, processes=False) as cluster:
        done = run([Square(n) for n in range(5)], count=None, scheduler=cluster.scheduler_address)
    assert sorted(each.result[0] for each in done) == [0, 1, 4, 9, 16]


def test_workers_that_come_later_are_waited_for():
    with LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None, processes=False) as cluster:
        threading.Timer(0.3, cluster.scale, [1]).start()
        assert len(run([Square(1)], count=None, scheduler=cluster.scheduler_address)) == 1


def test_it_is_said_when_no_worker_is_left_and_others_go_on(monkeypatch, capsys):
    monkeypatch.setattr(tiling.workers, "_SECONDS_OF_SILENCE", 0.2)
    set_quiet(False)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, processes=False) as cluster,
        start_workers(scheduler=cluster.scheduler_address, count=None) as workers,
    ):
        cluster.scale(0)
        cluster.sync(cluster._correct_state)
        threading.Timer(1.0, cluster.scale, [1]).start()
        assert len(list(workers.run(deque([Square(1)]), retries=0))) == 1
    assert "all workers are gone: waiting for others" in capsys.readouterr().err


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_one_clear_line():
    with pytest.raises(InputError, match=r"no dask scheduler answers at tcp://127.0.0.1:9 .*; give its address"):
        run([], count=None, scheduler="tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    "address", ["nonsense", "", "tcp://", "tcp://host:port", "tcp://host:99999", "http://host:80", "host"]
)
def test_what_is_no_address_of_a_scheduler_is_refused(address):
    with pytest.raises(InputError, match=rf"address is like tcp://HOST:8786, not '{address}'"):
        run([], count=None, scheduler=address)


@pytest.mark.slow
def test_a_scheduler_that_is_lost_is_one_clear_line(capfd):
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as scheduler:
        address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at:" in line)
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard", "--no-nanny"]
        with subprocess.Popen(worker, stderr=subprocess.DEVNULL) as running:
            threading.Timer(2.0, scheduler.kill).start()
            try:
                with pytest.raises(InputError, match=r"the scheduler is lost, .* run the same command again"):
                    run([functools.partial(time.sleep, 30)], count=None, scheduler=address)
            finally:
                running.kill()
                scheduler.kill()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("count", [0, 1])
def test_a_disk_that_does_not_answer_is_given_a_rest_while_others_work(tmp_path, monkeypatch, count):
    monkeypatch.setattr(tiling.workers, "_SECONDS_OF_REST", 0.3)
    stumbling = Stumble(tmp_path / "a", until=2, number=errno.ESTALE)
    done = run([stumbling, *map(Square, range(5))], count=count, retries=1)
    assert done[-1].task == stumbling
    assert done[-1].result == "done"


@pytest.mark.parametrize("memory", ["much", "1 lots", "5", "", "-1GiB", "0"])
def test_an_amount_of_memory_that_is_none_or_too_little_is_refused(memory):
    said = rf"memory \(--memory\) is an amount of 100MiB or more, like 1GiB or 800MB, not '{memory}'"
    with pytest.raises(InputError, match=said):
        run([], count=1, memory=memory)


@pytest.mark.parametrize(("count", "memory"), [(2, None), (None, "2GiB")])
def test_what_is_about_workers_of_this_machine_is_refused_beside_a_scheduler(count, memory):
    with pytest.raises(InputError, match=r"\(--(workers|memory)\) 2.* is about workers of this machine"):
        run([], count=count, memory=memory, scheduler="tcp://127.0.0.1:8786")
