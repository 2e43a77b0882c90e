"""A generator whose noise maps stay in its file is the generator that was saved, in less memory."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hdgan.provenance import digest
from hdgan.stylegan2 import Generator, WindowSynthesis, load_generator, save_generator, windows
from hdgan.stylegan2.growing import grow_generator
from hdgan.stylegan2.noise_parts import DrawnNoise


def make_generator(resolution: int = 512, seed: int = 0, channel_base: int = 4096) -> Generator:
    """With narrow blocks, all of noise that is seen."""
    torch.manual_seed(seed)
    generator = Generator(
        resolution=resolution, z_dim=8, w_dim=8, channel_base=channel_base, channel_max=4, mapping_layers=1
    )
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.3)
    return generator.eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def few_pixels_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks from 128 px on run window by window."""
    monkeypatch.setattr(windows, "_WHOLE_BYTES", 4 * 4 * 64**2)


@pytest.fixture
def generator() -> Generator:
    return make_generator()


@pytest.fixture
def file(generator: Generator, tmp_path: Path) -> Path:
    save_generator(generator, tmp_path / "g")
    return tmp_path / "g"


def some_windows(generator: Generator) -> list[np.ndarray]:
    w = generator.mapping(torch.ones(1, 8))
    synthesis = WindowSynthesis(generator, w, blocks=2)
    images = [synthesis.window(y=y, x=x, h=100, w=90) for y, x in ((0, 0), (412, 422), (150, 200))]
    return [image.image for image in images] + [image.upsampled() for image in images]


def assert_same(one: Generator, other: Generator) -> None:
    state = other.state_dict()
    assert list(one.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())
    assert digest(one.state_dict()) == digest(state)
    for mine, others in zip(some_windows(one), some_windows(other), strict=True):
        np.testing.assert_array_equal(mine, others)


def test_windows_and_the_whole_are_those_of_the_generator_in_memory(generator: Generator, file: Path) -> None:
    loaded = load_generator(file)
    assert_same(generator, loaded)
    w = generator.mapping(torch.ones(1, 8))
    for noise in ("const", "none"):
        assert torch.equal(*(one.synthesis(w, noise=noise) for one in (generator, loaded)))  # type: ignore[arg-type]


def test_it_is_copied_pickled_and_saved_over_the_file_that_it_is_in(generator: Generator, file: Path) -> None:
    loaded, content = load_generator(file), file.read_bytes()
    copies = [copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded)), loaded.to("cpu")]
    save_generator(loaded, file)
    assert file.read_bytes() == content
    save_generator(make_generator(seed=1), file)
    for one in [loaded, *copies]:
        assert_same(generator, one)
    file.unlink()
    assert_same(generator, loaded)


def test_other_weights_can_be_put_into_it(generator: Generator, file: Path) -> None:
    loaded, other, content = load_generator(file), make_generator(seed=1), file.read_bytes()
    loaded.load_state_dict(other.state_dict())
    assert_same(other, loaded)
    assert file.read_bytes() == content


def test_a_training_can_begin_with_it(generator: Generator, file: Path) -> None:
    larger, other = (make_generator(1024, seed=2) for _ in range(2))
    grow_generator(larger, generator)
    grow_generator(other, load_generator(file))
    assert digest(larger.state_dict()) == digest(other.state_dict())


def peak_since(reset: bool) -> int:
    """Bytes of the largest resident set since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def test_no_more_of_the_noise_than_a_window_needs_is_in_memory(tmp_path: Path) -> None:
    generator = make_generator(4096)
    w, held = generator.mapping(torch.ones(1, 8)), digest(generator.state_dict())
    save_generator(generator, tmp_path / "g")
    noise = sum(tensor.nbytes for name, tensor in generator.state_dict().items() if name.endswith("noise_const"))
    assert noise > 178e6
    del generator
    before = peak_since(reset=True)
    loaded = load_generator(tmp_path / "g")
    assert digest(loaded.state_dict()) == held
    save_generator(loaded, tmp_path / "again")
    synthesis = WindowSynthesis(loaded, w, blocks=2)
    for edge in range(0, 4096, 512):
        synthesis.window(y=edge, x=edge, h=512, w=512)
    assert peak_since(reset=False) - before < noise / 2


def test_noise_drawn_in_bands_is_that_drawn_at_once() -> None:
    for size in (4, 8, 16, 256):
        whole, parts = (torch.Generator().manual_seed(size) for _ in range(2))
        expected: Tensor = torch.randn((1, 1, size, size), generator=whole)
        drawn = DrawnNoise(size, parts, torch.device("cpu"))
        assert torch.equal(whole.get_state(), parts.get_state())
        for y, x, h, w in ((0, 0, size, size), (size // 2, 1, size // 2, 3), (size // 3, 0, 1, 2), (0, 2, size, 2)):
            part = drawn.part(slice(y, y + h), slice(x, x + w))
            assert torch.equal(part, expected[:, :, y : y + h, x : x + w])
