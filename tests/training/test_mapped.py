"""Tensors that stay in their file are tensors like others, and take no memory but what was touched."""

from __future__ import annotations

import hashlib
import resource
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training.checkpoint import load_weights, save_weights
from training.mapped import bytes_of, let_go, mapped_floats


def mapped_at(path: Path, numbers: Tensor, *, offset: int = 5000) -> Tensor:
    path.write_bytes(bytes(offset) + numbers.numpy().tobytes())
    with path.open("rb") as file:
        return mapped_floats(file, offset, numbers.shape)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_what_was_read_is_dropped_and_read_again(tmp_path: Path) -> None:
    numbers = torch.randn(2048, 2048)
    tensor = mapped_at(tmp_path / "f", numbers)
    before = resident()
    assert torch.equal(tensor, numbers)
    assert resident() - before > 14e6
    let_go(tensor[3, :4])
    assert resident() - before < 2e6
    read, expected = hashlib.sha256(), hashlib.sha256(numbers.numpy().data)
    for part in bytes_of(tensor):
        read.update(part)
    assert read.digest() == expected.digest()
    assert resident() - before < 2e6
    assert torch.equal(tensor, numbers)


@pytest.mark.parametrize("inference", [False, True])
def test_what_is_written_to_it_stays_and_does_not_come_into_the_file(tmp_path: Path, inference: bool) -> None:
    numbers = torch.arange(6.0).view(2, 3)
    with torch.inference_mode(inference):
        tensor = mapped_at(tmp_path / "f", numbers)
        content = (tmp_path / "f").read_bytes()
        tensor.detach()[1].fill_(9)
        let_go(tensor)
        assert tensor.tolist() == [[0, 1, 2], [9, 9, 9]]
    assert (tmp_path / "f").read_bytes() == content


def test_others_are_let_alone() -> None:
    tensor = torch.arange(6.0)
    let_go(tensor)
    let_go(torch.empty(0))
    assert tensor.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_file_that_ends_before_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(5000))
    with (tmp_path / "f").open("rb") as file, pytest.raises(ValueError, match="greater than file size"):
        mapped_floats(file, 4000, (16, 16))


def test_of_a_file_of_weights_large_float32_tensors_of_the_names_asked_for_stay_there(tmp_path: Path) -> None:
    tensors = {
        "large": torch.randn(512, 512), "small": torch.randn(3), "half": torch.randn(1024, 1024).half(),
        "one": torch.tensor(True), "other": torch.randn(512, 512),
    }  # fmt: skip
    save_weights(tmp_path / "f", tensors, kind="toy", about={})
    loaded, _ = load_weights(tmp_path / "f", kind="toy", mapped=lambda name: name != "other")
    assert list(loaded) == sorted(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)
        let_go(loaded[name])
        assert torch.equal(loaded[name], tensor)
    loaded["large"][0] = 0
    save_weights(tmp_path / "f", loaded, kind="toy", about={})  # over what the tensors are in
    again, _ = load_weights(tmp_path / "f", kind="toy")
    for name, tensor in loaded.items():
        assert torch.equal(again[name], tensor)
    assert not again["large"][0].any()
