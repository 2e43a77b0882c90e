import subprocess
import sys

import numpy as np
import pytest
import torch

from training.draws import drawing, numpy_draws, torch_draws


def drawn(kind, *key):
    if kind == "torch":
        return torch.rand(4, generator=torch_draws(*key)).tolist()
    return numpy_draws(*key).random(4).tolist()


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_a_draw_depends_on_its_key_and_on_nothing_drawn_before(kind):
    first = drawn(kind, 1, "noise", 5)
    torch.rand(3)
    np.random.rand(3)
    drawn(kind, 1, "noise", 4)
    assert drawn(kind, 1, "noise", 5) == first
    others = [drawn(kind, *key) for key in ((2, "noise", 5), (1, "tiles", 5), (1, "noise", 6), (15, "noise", 5))]
    assert all(other != first for other in others)
    assert drawn(kind, -1, "noise") != drawn(kind, 1, "noise")


def test_another_process_draws_the_same():
    script = """
import torch
from training.draws import numpy_draws, torch_draws
print(torch.rand(2, generator=torch_draws(3, "a", 7)).tolist(), numpy_draws(3, "a", 7).integers(1000, size=3).tolist())
"""
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    here = torch.rand(2, generator=torch_draws(3, "a", 7)).tolist(), numpy_draws(3, "a", 7).integers(1000, size=3)
    assert said.strip() == f"{here[0]} {here[1].tolist()}"


def test_draws_of_neighbouring_steps_are_not_alike():
    columns = np.stack([numpy_draws(0, "correlation", step).standard_normal(2000) for step in range(8)])
    assert np.abs(np.corrcoef(columns) - np.eye(8)).max() < 0.1


def test_the_generator_is_on_the_device_asked_for():
    assert torch_draws(0, "dropout").device.type == "cpu"
    assert torch_draws(0, "dropout", device=torch.device("cpu")).device.type == "cpu"


def test_draws_of_one_purpose_leave_the_others_alone():
    torch.manual_seed(1)
    expected = torch.rand(3).tolist()
    torch.manual_seed(1)
    with drawing(0, "weights"):
        first = torch.rand(3).tolist()
    assert torch.rand(3).tolist() == expected
    with drawing(0, "weights"):
        assert torch.rand(3).tolist() == first
