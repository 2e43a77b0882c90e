"""The wheel: what is in it, and what of it works where only it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PACKAGES = ("hdgan", "tiling", "training")
LIGHT_INSTALL_MB = 650


def run(*command: object, cwd: Path, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    ended = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=clean | variables
    )
    assert ended.returncode == code, f"{command}: exit code {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=ROOT)
    return next(out.glob("*.whl"))


def make_environment(folder: Path) -> Path:
    """A fresh virtual environment; its `bin` folder."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    return folder / "bin"


def install(environment: Path, requirement: str) -> None:
    pip = [environment / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, requirement, "-c", ROOT / "constraints.txt", cwd=environment)


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


@dataclass(frozen=True)
class LightInstall:
    """An environment with nothing but the wheel and what it depends on."""

    bin: Path
    megabytes: float


@pytest.fixture(scope="session")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> LightInstall:
    environment = make_environment(tmp_path_factory.mktemp("light") / "environment")
    empty = megabytes(environment.parent)
    install(environment, str(wheel))
    return LightInstall(environment, megabytes(environment.parent) - empty)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A pink square on glass."""
    pixels = np.full((400, 400, 3), 244, np.uint8)
    pixels[50:350, 50:350] = np.random.default_rng(0).integers((180, 90, 140), (230, 130, 190), (300, 300, 3))
    path = tmp_path / "slide.png"
    Image.fromarray(pixels).save(path)
    return path


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    in_tree = {path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert in_tree == {name for name in names if name.endswith(".py")}
    weights = {f"hdgan/demo/weights/{network}.safetensors" for network in ("generator", "discriminator")}
    assert weights == {name for name in names if name.endswith(".safetensors")}


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "zarr", "dask", "distributed", "pyarrow", "scipy", "skimage", "openslide", "tifffile", "PIL")
    code = (
        "import sys; sys.argv = ['hdgan', '--help']\n"
        "from hdgan.__main__ import main\n"
        "try: main()\n"
        f"except SystemExit: print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    assert run(sys.executable, "-c", code, cwd=ROOT).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["tiling", "training"])
@pytest.mark.parametrize("kind", ["package", "module"])
def test_a_foreign_package_of_the_same_name_is_one_clear_error(tmp_path: Path, name: str, kind: str) -> None:
    foreign = tmp_path / name if kind == "package" else tmp_path / f"{name}.py"
    (foreign / "__init__.py" if kind == "package" else foreign).parent.mkdir(exist_ok=True)
    (foreign / "__init__.py" if kind == "package" else foreign).touch()
    script = Path(sys.executable).with_name("hdgan")
    for command in ([sys.executable, "-m", "hdgan"], [script]):
        ended = run(*command, "--help", cwd=tmp_path, code=2, PYTHONPATH=str(tmp_path))
        line = ended.stderr.strip()
        assert line.startswith(f"hdgan: hdgan needs its own package '{name}'")
        assert str(foreign) in line
        assert "\n" not in line
    ended = run(sys.executable, "-c", "import hdgan", cwd=tmp_path, code=1, PYTHONPATH=str(tmp_path))
    assert ended.stderr.splitlines()[-1].startswith(f"ImportError: hdgan needs its own package '{name}'")


@pytest.mark.slow
def test_slides_are_tiled_by_the_light_install_without_torch(
    light: LightInstall, picture: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    hdgan = light.bin / "hdgan"
    assert "Commands" in run(hdgan, "--help", cwd=empty).stdout
    assert "400" in run(hdgan, "info", picture, cwd=empty).stdout
    assert "tiles of 64 px" in run(hdgan, "tile", picture, "--size", 64, cwd=empty).stdout
    assert "tile" in run(hdgan, "info", "study", cwd=empty).stdout
    ended = run(hdgan, "train", "--preset", "tiny", cwd=empty, code=2)
    how = "pip install '.[gan]' in its folder"
    assert ended.stderr == f"hdgan: this needs safetensors, which comes with hdgan's extra 'gan': {how}\n"


@pytest.mark.slow
def test_the_light_install_is_small(light: LightInstall) -> None:
    assert light.megabytes <= LIGHT_INSTALL_MB


@pytest.mark.slow
def test_everything_runs_from_the_full_install(wheel: Path, picture: Path, tmp_path: Path) -> None:
    environment = make_environment(tmp_path / "environment")
    install(environment, f"hdgan[gan] @ {wheel.as_uri()}")
    empty = tmp_path / "empty"
    empty.mkdir()
    run(environment / "hdgan", "demo", "--plan", "quick", "--study", "study", cwd=empty)
    assert (empty / "study" / "report.html").stat().st_size > 100_000
