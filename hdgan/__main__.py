"""`hdgan` and `python -m hdgan`."""

from __future__ import annotations

import sys

from tiling.errors import InputError

_EXTRA_OF = {"torch": "gan", "safetensors": "gan", "numba": "gan", "accelerate": "gan", "matplotlib": "notebooks"}


def main() -> None:
    """Run the command line: exit code 2 and one line for bad input, 130 for Ctrl-C."""
    from hdgan.cli import app

    try:
        app()
    except InputError as error:
        _stop(str(error), 2)
    except KeyboardInterrupt as interrupt:
        _stop(str(interrupt) or "stopped; the same command continues", 130)
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _stop(f"this needs {error.name}, which is not installed: pip install 'hdgan[{extra}]'", 2)


def _stop(message: str, code: int) -> None:
    print(f"hdgan: {message}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
