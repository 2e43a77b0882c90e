import os
import subprocess
import sys
import threading
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest

from tiling.errors import InputError
from training.loader import prefetch_in_processes
from training.stream import prefetch


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order_whatever_takes_longest(threads):
    def make(index):
        time.sleep(0.01 * (index % 3))
        return index

    assert list(prefetch(make, 4, 20, threads=threads)) == list(range(4, 20))
    assert list(prefetch(make, 5, 5)) == []


def test_no_more_than_asked_for_are_made_ahead():
    made = []
    stream = prefetch(lambda index: made.append(index) or index, 0, 100, ahead=3)
    assert made == []
    for taken in range(5):
        assert next(stream) == taken
        time.sleep(0.05)
        assert len(made) <= taken + 3
    stream.close()


def test_batches_are_made_in_another_thread_and_none_is_left_when_the_stream_is_closed():
    names = set()

    def make(index):
        names.add(threading.current_thread().name)
        return index

    stream = prefetch(make, 0, 1000, ahead=2)
    next(stream)
    stream.close()
    assert all(name.startswith("prefetch") for name in names)
    assert not [thread for thread in threading.enumerate() if thread.name in names]


def test_an_error_arrives_at_the_batch_that_has_it():
    def make(index):
        if index == 3:
            raise OSError("the disk is gone")
        return index

    stream = prefetch(make, 0, 10, ahead=8)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)


def pixels_of(index):
    if index == 7:
        raise InputError("tile 7 is damaged")
    time.sleep(0.01 * (index % 3))
    return np.full((2, 2), index), os.getpid()


def test_processes_make_batches_in_order_and_an_error_arrives_as_it_was_raised():
    stream = prefetch_in_processes(pixels_of, 2, 9, workers=2)
    made = [next(stream) for _ in range(5)]
    assert [int(pixels[0, 0]) for pixels, _ in made] == [2, 3, 4, 5, 6]
    assert len({process for _, process in made} - {os.getpid()}) == 2
    with pytest.raises(InputError, match=r"^tile 7 is damaged$"):
        next(stream)
    assert not active_children()  # though the error's traceback keeps the stream


SCRIPT = """
import sys
from test_stream import pixels_of
from training.loader import prefetch_in_processes
if __name__ == "__main__":
    stream = prefetch_in_processes(pixels_of, 0, 7, workers=2)
    print(next(stream)[1], next(stream)[1], flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_workers_end_with_a_process_that_is_killed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    command = [sys.executable, tmp_path / "script.py"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, text=True, **pipes) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert all(is_running(pid) for pid in workers)
        process.kill()
    deadline = time.monotonic() + 30  # they look every five seconds
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def is_running(pid):
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


FAILING = """
import sys
from test_stream import pixels_of
from training.loader import prefetch_in_processes
class Trainer:
    def __init__(self):
        self.stream = prefetch_in_processes(pixels_of, 0, 7, workers=2)
    def step(self):
        next(self.stream)
        raise RuntimeError("out of memory")
if __name__ == "__main__":
    Trainer().step()
"""


@pytest.mark.slow
def test_a_process_that_fails_ends_though_its_workers_see_no_signal(tmp_path):
    (tmp_path / "script.py").write_text(FAILING)
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    command = [sys.executable, tmp_path / "script.py"]
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, text=True, capture_output=True, timeout=60)
    assert ended.returncode == 1
    assert "RuntimeError: out of memory" in ended.stderr
