"""Every verb explains itself alike."""

from __future__ import annotations

import os
import shlex
from typing import Any

import pytest
import typer
from command_line import hdgan, hdgan_here

from hdgan import __version__
from hdgan.cli import app

ROOT: Any = typer.main.get_command(app)


def verbs(command: Any = ROOT, *path: str) -> list[Any]:
    below = [found for name, part in getattr(command, "commands", {}).items() for found in verbs(part, *path, name)]
    return ([pytest.param(command, path, id=" ".join(path))] if path else []) + below


@pytest.mark.parametrize(("command", "path"), verbs())
def test_help_tells_what_a_verb_does_with_an_example_of_it(command: Any, path: tuple[str, ...]) -> None:
    said, _, example = command.help.partition("Example: ")
    assert said.split("\n\n")[0].endswith(".")
    words = shlex.split(example.strip())
    assert words[: len(path) + 1] == ["hdgan", *path]


def test_the_version_is_told() -> None:
    assert hdgan("--version").stdout == f"hdgan {__version__}\n"


@pytest.mark.parametrize(("command", "path"), verbs())
def test_options_of_one_name_mean_the_same_everywhere(command: Any, path: tuple[str, ...]) -> None:
    shared = {
        "redo": "Discard what this stage made before.",
        "quiet": "Print errors only.",
        "seed": "Of all random draws.",
    }
    told = {parameter.name: parameter.help for parameter in command.params if parameter.name in shared}
    assert told == {name: shared[name] for name in told}


@pytest.mark.parametrize(
    "path", [("annotate", "pick"), ("demo", "expert"), ("demo", "compare"), ("tile",), ("sample",)]
)
def test_whatever_keeps_a_record_can_be_told_to_redo(path: tuple[str, ...]) -> None:
    command = ROOT
    for name in path:
        command = command.commands[name]
    assert "redo" in [parameter.name for parameter in command.params]


def test_threads_that_wait_leave_their_core_to_others_unless_the_user_says_otherwise(monkeypatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "")  # so that what is set is undone
    monkeypatch.delenv("GOMP_SPINCOUNT")
    hdgan_here("--version")
    assert os.environ["GOMP_SPINCOUNT"] == "10000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    hdgan_here("--version")
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    hdgan_here("--version")
    assert "GOMP_SPINCOUNT" not in os.environ
