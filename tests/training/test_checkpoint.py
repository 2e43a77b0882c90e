import os
import subprocess
import sys

import pytest
import safetensors
import torch
from safetensors.torch import save_file
from torch import nn

from tiling.errors import InputError
from training.checkpoint import (
    Checkpoints,
    load_state,
    load_strictly,
    load_weights,
    read_about,
    save_state,
    save_weights,
)


def stepped(optimiser_class, **settings):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimiser = optimiser_class(network.parameters(), **settings)
    for _ in range(3):
        network(torch.randn(5, 3)).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    return network, optimiser


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize(
    ("optimiser_class", "settings"),
    [(torch.optim.Adam, {"lr": 0.1, "betas": (0.0, 0.99)}), (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9})],
)
def test_nested_states_with_optimisers_come_back_as_they_were(tmp_path, optimiser_class, settings):
    network, optimiser = stepped(optimiser_class, **settings)
    state = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "numbers": [1, 2.5, float("inf"), None, True, "text"],
        "nothing": {},
        "of half": torch.tensor([1.5], dtype=torch.bfloat16),
    }
    save_state(tmp_path / "state", state)
    loaded = load_state(tmp_path / "state")
    assert same(dict(state), loaded)
    fresh_network, fresh = stepped(optimiser_class, **settings)
    fresh_network.load_state_dict(loaded["network"])
    fresh.load_state_dict(loaded["optimiser"])
    for learner, teacher in ((network, optimiser), (fresh_network, fresh)):
        learner(torch.ones(2, 3)).sum().backward()
        teacher.step()
    assert same(network.state_dict(), fresh_network.state_dict())


def test_tensors_that_share_memory_or_are_not_contiguous_are_written_whole(tmp_path):
    shared = torch.arange(12.0).view(3, 4)
    state = {"whole": shared, "row": shared[1], "turned": shared.T}
    save_state(tmp_path / "state", state)
    assert same(state, load_state(tmp_path / "state"))


def test_a_weights_file_has_one_header_entry_and_the_same_bytes_in_every_process(tmp_path):
    script = """
import sys, torch
from pathlib import Path
from training.checkpoint import save_weights
tensors = {name: torch.full((2,), float(i)) for i, name in enumerate("abcdef")}
save_weights(Path(sys.argv[1]), tensors, kind="test", about={"b": 1, "a": {"y": 2, "x": [3]}})
"""
    paths = [tmp_path / str(seed) for seed in range(2)]
    for seed, path in enumerate(paths):
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        subprocess.run([sys.executable, "-c", script, str(path)], check=True, env=environment)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with safetensors.safe_open(paths[0], framework="pt") as file:
        assert list(file.metadata()) == ["hdgan"]
    assert paths[0].stat().st_mode & 0o777 == 0o644
    assert load_weights(paths[0], kind="test")[1] == {"kind": "test", "b": 1, "a": {"y": 2, "x": [3]}}


def test_files_of_another_kind_are_refused_with_what_they_are(tmp_path):
    path = tmp_path / "weights"
    with pytest.raises(InputError, match="no such file"):
        load_weights(path, kind="generator")
    for content in (b"", b"no weights at all", bytes(200), b"PK\x03\x04" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"not a safetensors file .*; give a generator file made by hdgan"):
            load_weights(path, kind="generator")
    save_weights(path, {"a": torch.zeros(9)}, kind="generator", about={})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="not a safetensors file"):
        load_weights(path, kind="generator")
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="is not a generator file but: safetensors without hdgan's header"):
        load_weights(path, kind="generator")
    save_file({"a": torch.zeros(2)}, path, metadata={"hdgan": "[1, 2]"})
    with pytest.raises(InputError, match="is not a generator file but: safetensors without hdgan's header"):
        load_weights(path, kind="generator")
    save_file({"a": torch.zeros(2)}, path, metadata={"hdgan": "{half"})
    with pytest.raises(InputError, match="not a safetensors file"):
        load_weights(path, kind="generator")
    save_weights(path, {"a": torch.zeros(2)}, kind="segmenter", about={"width": 4})
    with pytest.raises(InputError, match="is not a generator file but: segmenter"):
        load_weights(path, kind="generator")
    with pytest.raises(InputError, match="does not tell its classes, layers; make it again"):
        load_weights(path, kind="segmenter", needs=["layers", "width", "classes"])


def test_tensors_that_do_not_fit_a_network_are_refused_by_name(tmp_path):
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    fitting = {name: tensor + 1 for name, tensor in before.items()}
    for tensors, message in (
        ({name: fitting[name] for name in list(fitting)[1:]}, r"lacks 0\.weight; it was made for another network"),
        ({}, r"lacks 0\.bias, 0\.weight, 1\.bias and 1 more"),
        (fitting | {"2.bias": torch.zeros(2)}, r"has unknown 2\.bias"),
        (fitting | {"1.weight": torch.zeros(2, 5)}, r"has other shapes of 1\.weight"),
    ):
        with pytest.raises(InputError, match=message):
            load_strictly(network, tensors, tmp_path / "file")
        assert same(dict(network.state_dict()), before)
    load_strictly(network, fitting, tmp_path / "file")
    assert same(dict(network.state_dict()), fitting)


def test_checkpoints_are_found_by_number_and_half_written_ones_are_swept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    assert checkpoints.latest() is None
    for step in (9, 10, 100_000_000):
        checkpoints.save(step, {"step": step})
    (tmp_path / "c" / ".partial-1234-step-00000011.safetensors").write_bytes(b"half")
    (tmp_path / "c" / "step-notes.safetensors").write_bytes(b"somebody's")
    again = Checkpoints(tmp_path / "c", keep=2)
    assert again.steps() == [10, 100_000_000]
    assert again.latest() == (100_000_000, {"step": 100_000_000})
    again.sweep()
    names = {path.name for path in (tmp_path / "c").iterdir()}
    assert names == {"step-00000010.safetensors", "step-100000000.safetensors", "step-notes.safetensors"}


def test_the_document_of_a_file_is_read_without_its_tensors(tmp_path):
    save_weights(tmp_path / "a", {"x": torch.zeros(2)}, kind="toy", about={"of": [1, 2]})
    assert read_about(tmp_path / "a") == {"kind": "toy", "of": [1, 2]}
    (tmp_path / "b").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="is not a safetensors file"):
        read_about(tmp_path / "b")


def test_a_damaged_newest_checkpoint_says_what_can_be_gone_on_from(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (5, 6):
        checkpoints.save(step, {"step": step})
    newest = tmp_path / "step-00000006.safetensors"
    newest.write_bytes(newest.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"step-00000006\.safetensors is not .*; remove it to go on from step 5$"):
        checkpoints.latest()
    newest.unlink()
    assert checkpoints.latest() == (5, {"step": 5})
