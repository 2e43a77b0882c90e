"""hdgan as users run it: in a process of its own."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
import subprocess
import sys
from pathlib import Path

from hdgan.__main__ import main
from tiling.progress import set_quiet

HDGAN = [sys.executable, "-P", "-m", "hdgan"]


def hdgan(*arguments: object, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command; any other exit code than `code` fails the test with what the command said."""
    ended = subprocess.run([*HDGAN, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)
    said = f"hdgan {' '.join(map(str, arguments))}\n{ended.stdout}\n{ended.stderr}"
    assert ended.returncode == code, f"exit code {ended.returncode}: {said}"
    return ended


def hdgan_here(*arguments: object) -> tuple[int, str, str]:
    """Run a command in this process, which has torch already: exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    given, sys.argv = sys.argv, ["hdgan", *map(str, arguments)]
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = given
        set_quiet(False)
    assert isinstance(code, int), code
    return code, out.getvalue(), err.getvalue()


def run(*arguments: object) -> str:
    """Run a command in this process, which must succeed: all that it said."""
    code, out, err = hdgan_here(*arguments)
    assert code == 0, err
    return out + err


def refused(*arguments: object) -> str:
    """Run a command in this process, which must be refused in a line of its own: what it said on standard error."""
    code, _, err = hdgan_here(*arguments)
    assert code == 2, err
    assert err.splitlines()[-1].startswith("hdgan: "), err
    return err


def files(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file below a folder: when it was written, and a hash of its bytes."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def in_group(*arguments: object) -> subprocess.Popen[bytes]:
    """Start a command as the head of its own process group, as a terminal does; it says little enough for a pipe."""
    command = [*HDGAN, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def together(count: int, *arguments: object) -> subprocess.Popen[str]:
    """Start a command in so many processes, by torchrun where they are several, as the head of a process group."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    by_torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", count, "--master-port", port]
    start = [*by_torchrun, "-m", "hdgan"] if count > 1 else HDGAN
    return subprocess.Popen(
        [str(word) for word in (*start, *arguments)], env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    """All that a command said when it has ended, with this exit code."""
    out, err = process.communicate(timeout=200)
    assert process.returncode == code, out + err
    return out + err
