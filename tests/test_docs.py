"""What the documentation shows works: Python blocks run, commands have the options shown, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from hdgan.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """(line before the block's first, its text)."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        if match[1] == language:
            yield text.count("\n", 0, match.start(2)), match[2]


def commands() -> list[Any]:
    found = []
    for page in PAGES:
        for line, block in blocks(page, "sh"):
            for offset, text in enumerate(block.replace("\\\n", " \n").splitlines(), start=1):
                if text.startswith("hdgan "):
                    found.append(pytest.param(text, id=f"{page.name}:{line + offset}"))
    return found


def test_the_library_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "library.md"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    names: dict[str, Any] = {"__name__": "library"}
    for line, block in blocks(page, "python"):
        exec(compile("\n" * line + block, str(page), "exec"), names)  # line numbers of a traceback are the page's
    torch.set_num_threads(threads)
    assert {"pair.png", "training.png", "votes.png", "confusion.png"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("text", commands())
def test_commands_have_the_options_that_pages_show(text: str) -> None:
    words = shlex.split(text, comments=True)[1:]
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert not hasattr(command, "commands") or command.name == "demo", f"no such command: {text}"
    assert [word for word in words if re.match(r"--?[a-z]", word) and word not in known | {"--help"}] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
