import copy

import pytest
import torch
from torch import nn

from training.ema import update_average


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_parameters_move_by_what_beta_leaves_and_buffers_are_copied():
    average, current = network(0), network(1)
    current(torch.randn(8, 3))
    before = copy.deepcopy(average)
    update_average(average, current, 0.75)
    for kept, old, new in zip(average.parameters(), before.parameters(), current.parameters(), strict=True):
        torch.testing.assert_close(kept, 0.75 * old + 0.25 * new)
    assert torch.equal(average[1].running_mean, current[1].running_mean)
    assert average[1].num_batches_tracked == 1


def test_beta_nought_copies_and_beta_one_keeps():
    average, current = network(0), network(1)
    before = copy.deepcopy(average)
    update_average(average, current, 1.0)
    assert torch.equal(average[0].weight, before[0].weight)
    update_average(average, current, 0.0)
    assert torch.equal(average[0].weight, current[0].weight)


def test_a_constant_is_approached_with_the_half_life_that_beta_gives():
    average, current = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(average.weight)
    nn.init.ones_(current.weight)
    for _ in range(10):
        update_average(average, current, 0.5 ** (1 / 10))
    assert average.weight.item() == pytest.approx(0.5, abs=1e-6)


def test_networks_of_different_shape_are_not_averaged():
    with pytest.raises(ValueError, match="zip"):
        update_average(nn.Linear(2, 2), nn.Linear(2, 2, bias=False), 0.5)
