"""What tests share: where the real data is, and small things that several tests need."""

from __future__ import annotations

import faulthandler
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

# Networks this small only wait for a second thread; commands that the tests start inherit this.
os.environ["OMP_NUM_THREADS"] = "1"

from command_line import hdgan

_SECONDS_TO_END = 120


def pytest_unconfigure() -> None:
    """Have a run that does not end after its last test say where each thread is, and fail."""
    faulthandler.dump_traceback_later(_SECONDS_TO_END, exit=True)


def _shared() -> Path:
    beside = Path(__file__).resolve().parents[2] / "shared"
    return Path(os.environ.get("HDGAN_SHARED", beside))


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the reference numbers for StyleGAN2-ADA."""
    folder = _shared() / "golden"
    if not folder.is_dir():
        pytest.skip(f"reference numbers are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real slides and images."""
    folder = _shared() / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def demo_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's study, every stage made by `hdgan demo --plan quick`. To read only: tests that write copy it."""
    study = tmp_path_factory.mktemp("demo") / "study"
    hdgan("demo", "--plan", "quick", "--study", study)
    return study


@pytest.fixture
def little_memory() -> Iterator[None]:
    """During the test this process can allocate a GiB more than it has; beyond, allocation fails."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (1 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
