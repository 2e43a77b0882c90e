"""Of which steps of a training there are states, told without torch."""

from __future__ import annotations

import re
from pathlib import Path

_STATE = re.compile(r"step-(\d+)\.safetensors")


def state_file(folder: Path, step: int) -> Path:
    """Where the state of a step is, in a folder of states."""
    return folder / f"step-{step:08d}.safetensors"


def saved_steps(folder: Path) -> list[int]:
    """Steps of which a state is in a folder, in order. Files of other names are not looked at."""
    found = (_STATE.fullmatch(path.name) for path in folder.glob("step-*.safetensors"))
    return sorted(int(match[1]) for match in found if match)
