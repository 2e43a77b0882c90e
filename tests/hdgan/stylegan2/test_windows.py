"""Windows of an image and its features are those of the whole pass, and less than the whole is ever in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hdgan.features.patch import cut
from hdgan.stylegan2 import (
    Generator,
    WindowSynthesis,
    noise_parts,
    synthesize_image,
    synthesize_windows,
    to_uint8,
    windows,
)
from hdgan.stylegan2.layout import Architecture
from hdgan.stylegan2.synthesis import NoiseMode
from tiling.errors import InputError

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
NOISES: tuple[NoiseMode, ...] = get_args(NoiseMode)


@pytest.fixture(autouse=True)
def few_pixels_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks from 16 px on run window by window."""
    monkeypatch.setattr(windows, "_WHOLE_BYTES", 4 * 16 * 8**2)


def make_generator(resolution: int = 64, **settings: object) -> Generator:
    torch.manual_seed(0)
    arguments = {"resolution": resolution, "channel_base": 1024, "channel_max": 16, "conv_clamp": 3, **settings}
    generator = Generator(z_dim=8, w_dim=8, mapping_layers=2, **arguments)  # type: ignore[arg-type]
    for name, parameter in generator.named_parameters():
        if name.endswith(("noise_strength", "bias")):
            parameter.data.add_(torch.randn(parameter.shape) * 0.3)
    return generator.eval().requires_grad_(False)


def latent(generator: Generator) -> Tensor:
    return generator.mapping(torch.randn(1, 8, generator=torch.Generator().manual_seed(1)))


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def float_pixels(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def assert_close(ours: np.ndarray, reference: np.ndarray, tolerance: float = 1e-5) -> None:
    assert ours.shape == reference.shape
    assert np.abs(ours - reference).max() <= tolerance * np.abs(reference).max()


@pytest.mark.parametrize("edge", [1, 16, 23, 64, 1000])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("noise", NOISES)
def test_windows_are_cut_out_of_the_whole_pass(
    architecture: Architecture, noise: NoiseMode, edge: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "to_uint8", float_pixels)
    generator = make_generator(architecture=architecture, resolution=16 if edge == 1 else 64)
    size, w = generator.resolution, latent(generator)
    image, features = generator.image_and_features(w, blocks=3, noise=noise, generator=draws())
    seen = np.zeros((size, size), int)
    places = []
    for window in synthesize_windows(generator, w, window=edge, blocks=3, noise=noise, generator=draws()):
        y, x, (h, width) = window.y, window.x, window.image.shape[:2]
        places.append((y, x))
        seen[y : y + h, x : x + width] += 1
        assert_close(window.image, float_pixels(image)[0, y : y + h, x : x + width])
        assert list(window.features) == list(features)
        for name, maps in features.items():
            patch, expected = window.features[name], cut(maps[0], scale=size // maps.shape[2], y=y, x=x, h=h, w=width)
            assert (patch.y0, patch.x0, patch.scale) == (expected.y0, expected.x0, expected.scale)
            assert_close(patch.values.numpy(), expected.values.numpy())
    assert (seen == 1).all()
    assert places == sorted(places)


@pytest.mark.parametrize("many", [False, True])
def test_noise_that_is_too_large_to_keep_is_the_same(many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, images, states = make_generator(128), [], []
    w = latent(generator)
    for kept in (2**26, 2**10):
        monkeypatch.setattr(noise_parts, "_WHOLE_BYTES", kept)
        one = draws()
        images.append(synthesize_image(generator, w, noise="random", generator=[one] if many else one))
        states.append(one.get_state())
        torch.manual_seed(3)
        images.append(synthesize_image(generator, w, noise="random"))
    np.testing.assert_array_equal(images[0], images[2])
    np.testing.assert_array_equal(images[1], images[3])
    assert torch.equal(*states)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_image_put_together_is_that_of_the_whole_pass(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "_EDGE", 48)
    generator = make_generator(128, architecture=architecture)
    w = latent(generator)
    ours = synthesize_image(generator, w, noise="random", generator=draws())
    whole = to_uint8(generator.synthesis(w, noise="random", generator=draws()))[0]
    differences = np.abs(ours.astype(int) - whole)
    assert differences.max() <= 1
    assert (differences > 0).mean() < 1e-3  # rounded elsewhere, where a value is next to whole


def test_upsampled_windows_are_those_of_the_upsampled_maps() -> None:
    generator = make_generator()
    w = latent(generator)
    maps = generator.features(w, blocks=5)
    size = (64, 64)
    whole = torch.cat([interpolate(m, size=size, mode="bilinear", align_corners=False)[0] for m in maps.values()])
    for window in synthesize_windows(generator, w, window=40):
        h, width = window.image.shape[:2]
        here = whole[:, window.y : window.y + h, window.x : window.x + width].numpy()
        upsampled = window.upsampled()
        assert upsampled.dtype == np.float32
        assert_close(upsampled, here)


def test_blocks_in_half_precision_stay_so() -> None:
    generator = make_generator()
    generator.synthesis.set_low_precision(torch.bfloat16, 2)
    w = latent(generator)
    whole = generator.features(w, blocks=3)
    for window in synthesize_windows(generator, w, window=40, blocks=3):
        assert [patch.values.dtype for patch in window.features.values()] == [m.dtype for m in whole.values()]
        assert window.upsampled().dtype == np.float32
    values = window.features["b64.conv1"].values.float()
    assert_close(values.numpy(), whole["b64.conv1"][0, :, 40:, 40:].float().numpy(), tolerance=0.02)


def test_windows_without_features_have_images_alone() -> None:
    generator = make_generator()
    with_features = synthesize_windows(generator, latent(generator), window=40, blocks=2)
    without = synthesize_windows(generator, latent(generator), window=40, blocks=0)
    for one, other in zip(with_features, without, strict=True):
        assert list(one.features) == ["b32.conv0", "b32.conv1", "b64.conv0", "b64.conv1"]
        assert dict(other.features) == {}
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_features_alone_are_those_of_the_window(architecture: str) -> None:
    generator = make_generator(architecture=architecture)
    synthesis = WindowSynthesis(generator, latent(generator), blocks=3)
    place = {"y": 9, "x": 30, "h": 21, "w": 34}
    alone, wanted = synthesis.features(**place), synthesis.window(**place).features
    assert list(alone) == list(wanted)
    for name, patch in alone.items():
        assert torch.equal(patch.values, wanted[name].values)
        assert (patch.y0, patch.x0, patch.scale) == (wanted[name].y0, wanted[name].x0, wanted[name].scale)


def test_gradients_are_recorded_by_the_caller_and_not_by_windows() -> None:
    generator = make_generator().requires_grad_(True)
    for window in synthesize_windows(generator, latent(generator), window=40):
        assert torch.is_grad_enabled()
        assert not any(patch.values.requires_grad for patch in window.features.values())


def test_what_makes_no_sense_is_refused_before_anything_is_computed() -> None:
    generator = make_generator()
    w = latent(generator)
    with pytest.raises(InputError, match="one latent at a time, and w holds 2"):
        synthesize_windows(generator, w.expand(2, -1, -1))
    with pytest.raises(InputError, match=r"w must be \(N, 10, 8\), not \(1, 9, 8\)"):
        synthesize_windows(generator, w[:, 1:])
    with pytest.raises(InputError, match="window must be a whole number from 1 to"):
        synthesize_windows(generator, w, window=0)
    with pytest.raises(InputError, match="blocks must be 0 to 5, not 6"):
        synthesize_windows(generator, w, blocks=6)


def test_a_large_image_and_its_features_are_never_whole_in_memory() -> None:
    script = """
import json, resource, torch
from hdgan.stylegan2 import Generator, synthesize_windows
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
generator = Generator(resolution=4096, channel_base=8192, channel_max=64, mapping_layers=1).eval().requires_grad_(False)
w = generator.mapping(torch.randn(1, 512))
before = peak()
for window in synthesize_windows(generator, w):
    pass
print(json.dumps([peak() - before, window.y]))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, env=environment)
    grown, y = json.loads(told.stdout)
    assert y == 4096 - 512
    assert grown < 300e6  # the last layer's map alone has 134 MB, and all maps with features 520 MB
