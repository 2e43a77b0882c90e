"""`hdgan` and `python -m hdgan`."""

from __future__ import annotations

import os
import sys
from typing import Any, cast

from typer import BadParameter, Exit
from typer.main import get_command

from hdgan.cli import app
from hdgan.cli.origins import with_origins
from tiling.errors import InputError
from tiling.wording import one_line
from training.errors import DivergedError, ElsewhereError

_EXTRA_OF = {"torch": "gan", "safetensors": "gan", "matplotlib": "notebooks"}
# Click's class, of which typer shows only what derives from it (where it keeps click differs between versions).
_UsageError = cast(type[Exception], BadParameter.__mro__[1])


def main() -> None:
    """Run the command line: exit code 2 and one line for bad input, 1 for a training that diverged, 130 for Ctrl-C."""
    # Threads of PyTorch that wait spin for about as long as it takes to be woken up (30 us), then leave their core to
    # others. Not to spin at all costs small trainings a third of their speed; to spin on costs the others theirs.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        _run(sys.argv[1:] or ["--help"])
        sys.stdout.flush()
    except Exit as end:
        raise SystemExit(end.exit_code) from end
    except InputError as error:
        _stop(str(error), 2)
    except _UsageError as error:
        _stop(_usage(error), 2)
    except DivergedError as error:
        _stop(str(error), 1)
    except ElsewhereError as error:  # told by the process that met it
        raise SystemExit(2) from error
    except KeyboardInterrupt as interrupt:
        _stop(str(interrupt) or "stopped; the same command continues", 130)
    except BrokenPipeError:  # whoever read the output has had enough, as in `hdgan info STUDY | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:  # a folder that cannot be written, a full disk
        _stop(_refused(error), 2)
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        how = f"pip install '.[{extra}]' in its folder"
        _stop(f"this needs {error.name}, which comes with hdgan's extra '{extra}': {how}", 2)


def _run(arguments: list[str]) -> None:
    """Run a command in the open: what `app()` does beyond this is to turn errors and Ctrl-C into pages of text."""
    command = get_command(app)
    with command.make_context("hdgan", arguments) as context:
        command.invoke(context)


def _usage(error: Any) -> str:
    """What is wrong with the command, on one line, and where help is."""
    message = _with_value(" ".join(error.format_message().split()), error)
    parameter = getattr(error, "param", None)
    message = with_origins(message, error.ctx, [parameter.name] if parameter else [])
    return f"{message} (see `{error.ctx.command_path} --help`)" if error.ctx else message


def _with_value(message: str, error: Any) -> str:
    """What typer says of a value, with that value: pydantic, which its newer versions ask, may leave it out."""
    errors = getattr(error.__cause__, "errors", None)
    value = repr(errors()[0]["input"]) if errors else ""
    return message if value in message else f"{message}, not {value}"


def _refused(error: OSError) -> str:
    """What the system refuses, on one line."""
    if error.strerror is None or error.filename is None:
        return one_line(error)
    return f"{error.filename}: {error.strerror}"


def _stop(message: str, code: int) -> None:
    print(f"hdgan: {message}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
