"""`tiling` and `training` come with hdgan; packages of somebody else with these names can stand in their way."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

_NEIGHBOURS = ("tiling", "training")
_HOME = Path(__file__).resolve().parents[1]


def refuse_foreign_neighbours() -> None:
    """Check that both packages are hdgan's own.

    Raises
    ------
    ImportError
        When another package of that name comes first on the path. For the command line it is one line and exit
        code 2, as for all bad input.
    """
    for name in _NEIGHBOURS:
        spec = importlib.util.find_spec(name)
        place = None if spec is None else _place(spec)
        if place == _HOME / name:
            continue
        found = f"the one at {place} comes first" if place else "there is none"
        message = (
            f"hdgan needs its own package {name!r} at {_HOME / name}, and {found}; remove the other from the working "
            "directory and PYTHONPATH (or rename it), or run `python -P -m hdgan` from elsewhere"
        )
        if _is_command_line():
            print(f"hdgan: {message}", file=sys.stderr)
            raise SystemExit(2)
        raise ImportError(message, name=name)


def _place(spec: ModuleSpec) -> Path:
    """Where a package or module is: its folder, or its file."""
    locations = [*(spec.submodule_search_locations or []), spec.origin or spec.name]
    return Path(locations[0]).resolve()


def _is_command_line() -> bool:
    """Whether the process was started as `hdgan` or `python -m hdgan`, which is not yet known by name here."""
    if sys.argv[0] == "-m":
        return "hdgan" in sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    return Path(sys.argv[0]).stem == "hdgan"
