"""What devices are told, as far as it can be seen without a GPU."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

from tiling.errors import InputError
from training.devices import choose_device, fast_precision, has_bfloat16, of_many_shapes, suit_convolutions

GPU = torch.device("cuda")


@pytest.fixture
def settings() -> Iterator[None]:
    """Those of this process come back afterwards."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    yield
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


def test_float32_is_float32_and_other_libraries_can_still_ask_for_it(settings: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_device(GPU) == GPU
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        with torch.backends.cudnn.flags(enabled=True):
            assert torch.backends.cudnn.enabled


def test_convolutions_of_ever_new_shapes_are_not_tried(settings: None) -> None:
    suit_convolutions(GPU)
    assert torch.backends.cudnn.benchmark
    with of_many_shapes():
        assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark


def test_a_device_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="device must be one of auto, cpu, cuda, not 'tpu'"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="cuda was asked for, but PyTorch sees no GPU; use --device cpu or auto"):
            choose_device("cuda")


@pytest.mark.parametrize("capabilities", [{"amx_bf16": True}, {"amx_bf16": False}, {}])
def test_half_precision_is_where_a_device_computes_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool]
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bfloat16(torch.device("cpu")) is (capabilities == {"amx_bf16": True})
    assert not has_bfloat16(torch.device("meta"))
    assert fast_precision(torch.device("cpu")) == torch.float32
