"""From latents to files no map of the image's size is ever there; and what stops half-way leaves nothing half-made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hdgan.latents import Latents
from hdgan.pairs import making, synthesize
from hdgan.pairs.strips import Strip
from hdgan.pixels import PixelEnsemble
from hdgan.stylegan2 import Generator, windows
from tiling.files import fingerprint
from tiling.stage import read_record


def make_networks(resolution: int) -> tuple[Generator, PixelEnsemble]:
    torch.manual_seed(0)
    generator = Generator(
        resolution=resolution, z_dim=8, w_dim=8, channel_base=4 * resolution, channel_max=8, mapping_layers=2
    )
    layers = generator.synthesis.layout.feature_channels(2)
    draw = torch.Generator().manual_seed(0)
    ensemble = PixelEnsemble(layers=layers, classes=["a", "b"], members=2, hidden=(8,), generator=draw)
    return generator.eval().requires_grad_(False), ensemble


class LargestMap(TorchDispatchMode):
    """Notes the most elements of a tensor that an operation gives, but for views of what the networks hold."""

    def __init__(self, held: torch.nn.Module) -> None:
        super().__init__()
        self.elements = 0
        self._held = {tensor.untyped_storage().data_ptr() for tensor in held.state_dict().values()}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in self._held:
                self.elements = max(self.elements, tensor.numel())
        return result


def test_no_map_of_a_pair_is_as_large_as_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_WHOLE_BYTES", 4 * 8 * 8**2)  # blocks above 8 px run window by window
    generator, ensemble = make_networks(64)
    latent = Latents.sample(generator, [0])
    with LargestMap(generator) as seen:
        strips = list(making.pair_strips(generator, ensemble, latent, window=16))
    assert [strip.image.shape for strip in strips] == [(16, 64, 3)] * 4
    assert seen.elements < 64**2  # of one channel of the image


def test_strips_joined_are_the_whole_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_WHOLE_BYTES", 4 * 8 * 16**2)
    generator, ensemble = make_networks(64)
    latent = Latents.sample(generator, [3], noise="random")
    whole, strips = (
        Strip.joined(list(making.pair_strips(generator, ensemble, latent, window=edge))) for edge in (64, 24)
    )
    assert (np.abs(whole.image.astype(int) - strips.image) <= 1).all()  # where a sum rounds to the other side
    assert (whole.image == strips.image).mean() > 0.999
    assert (whole.mask == strips.mask).mean() > 0.999
    np.testing.assert_allclose(whole.uncertainty, strips.uncertainty, atol=1e-3)


def content(folder: Path) -> dict[str, str]:
    return {path.name: fingerprint(path) for path in folder.iterdir() if path.name != "stage.json"}


@pytest.mark.parametrize("format", ["zarr", "png", "ome-tiff"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
def test_what_stops_in_the_middle_of_a_pair_leaves_no_part_of_it(
    format: str, stop: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, ensemble = make_networks(32)
    latents = Latents.sample(generator, range(3))
    synthesize(generator, ensemble, latents, tmp_path / "undisturbed", format=format, window=8)
    predictor = type(ensemble.predictor())
    predict, calls = predictor.predict, 0

    def stopping(self: Any, patches: Any, **how: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 22:  # of 16 windows a pair
            raise stop
        return predict(self, patches, **how)

    out = tmp_path / "stopped"
    monkeypatch.setattr(predictor, "predict", stopping)
    with pytest.raises(stop):
        synthesize(generator, ensemble, latents, out, format=format, window=8)
    assert read_record(out)["status"] == "running"
    assert (out / "ledger.jsonl").read_text().count("\n") == 1
    assert not [path for path in out.rglob("*") if "partial" in path.name]
    if format != "zarr":
        assert len(list((out / "images").iterdir())) == 1
    synthesize(generator, ensemble, latents, out, format=format, window=8)
    assert calls == 22 + 32
    assert content(out) == content(tmp_path / "undisturbed")
