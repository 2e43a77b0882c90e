"""Bars and notes, as a terminal and a pipe get them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tiling.progress import _Lines, set_quiet

SCRIPT = """
import sys
from tiling.progress import bar, note, set_quiet, track
set_quiet("quiet" in sys.argv)
if "bare" in sys.argv:
    sys.modules["rich"] = None  # importing it fails
assert list(track(range(3), "counting")) == [0, 1, 2]
with bar("training", total=4, completed=1) as show:
    show(completed=2, detail="loss 0.5")
    show(completed=4)
note("a note, [brackets] and all, " + "long " * 40)
"""
NOTE = "a note, [brackets] and all, " + "long " * 40


def run(*arguments: str) -> tuple[str, str]:
    """What a terminal gets on standard error, and what a pipe gets."""
    command = [sys.executable, "-c", SCRIPT, *arguments]
    controller, terminal = os.openpty()
    subprocess.run(command, stderr=terminal, check=True, env=os.environ | {"TERM": "xterm", "COLUMNS": "120"})
    os.close(terminal)
    parts = []
    while part := _read(controller):
        parts.append(part)
    os.close(controller)
    piped = subprocess.run(command, stderr=subprocess.PIPE, check=True, text=True)
    return b"".join(parts).decode(), piped.stderr


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 4096)
    except OSError:  # Linux's way to say that the other end is closed
        return b""


def test_bars_are_drawn_on_a_terminal_only_and_notes_are_one_line_anywhere() -> None:
    terminal, piped = run()
    for shown in ("counting", "3/3", "training", "4/4", "loss 0.5", NOTE):
        assert shown in terminal
    assert piped == NOTE + "\n"


@pytest.fixture(autouse=True)
def _not_quiet() -> None:
    set_quiet(False)


def test_a_log_file_gets_a_line_now_and_then_with_the_time_that_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter([0, 10, 40, 60, 100, 200])
    lines = _Lines("training", 120, 20, clock=lambda: next(seconds))
    lines.show(completed=30)  # after 10 s: too early
    lines.show(completed=40, detail="loss 0.5")
    lines.show(completed=50)  # 20 s after the last line
    lines.show(completed=60)
    lines.show(completed=120)
    assert capsys.readouterr().err.splitlines() == [
        "training: 40 of 120, 40 s so far, about 2.7 min left, loss 0.5",
        "training: 60 of 120, 100 s so far, about 2.5 min left, loss 0.5",
        "training: 120 of 120, 3.3 min so far, loss 0.5",
    ]


def test_without_a_total_the_lines_only_count(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter([0, 31])
    _Lines("reading", None, 0, clock=lambda: next(seconds)).show(completed=7)
    assert capsys.readouterr().err == "reading: 7, 31 s so far\n"


def test_quiet_says_nothing() -> None:
    assert run("quiet") == ("", "")


def test_without_rich_there_are_no_bars_but_everything_works() -> None:
    terminal, piped = run("bare")
    assert terminal.splitlines() == [NOTE] == piped.splitlines()
