"""Inception's structure, and the files it is loaded from. The published weights are not here to compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hdgan.embedding import inception_space, open_space
from hdgan.embedding.inception import InceptionV3, MixedA
from tiling.errors import InputError


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in InceptionV3().state_dict().items()}
    draw = {"running_var": torch.ones, "running_mean": torch.zeros, "weight": torch.randn, "bias": torch.zeros}
    return {
        name: draw[name.rpartition(".")[2]](shape) * ((2 / shape[1:].numel()) ** 0.5 if len(shape) == 4 else 1)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def weights_file(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    classifier = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save({**weights, **classifier, "Conv2d_1a_3x3.bn.num_batches_tracked": torch.tensor(0)}, path)
    return path


def test_the_network_has_the_published_size_and_names(weights: dict[str, Tensor]) -> None:
    learnt = sum(tensor.numel() for name, tensor in weights.items() if "running" not in name)
    assert learnt == 21_785_568  # 23,834,568 of Inception-v3 without its classifier of 1000 classes
    assert weights["Mixed_5b.branch_pool.conv.weight"].shape == (32, 192, 1, 1)
    assert weights["Mixed_6b.branch7x7dbl_4.conv.weight"].shape == (128, 128, 7, 1)
    assert weights["Mixed_7c.branch3x3dbl_3a.bn.running_var"].shape == (384,)


def test_a_state_file_of_pytorch_gives_a_space(weights_file: Path) -> None:
    space = open_space(weights_file)
    assert space.name.startswith("inception-v3-")
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)
    found = space.embed(images)
    assert (found.shape, space.dimensions) == ((2, 2048), 2048)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert not np.allclose(found[0], found[1])


def test_the_intermediate_sizes_are_those_of_the_paper(weights: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        network, image = InceptionV3().eval(), torch.empty(1, 3, 64, 64)
        shapes = {}
        for name, module in network.named_children():
            module.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
        network(image)
    assert shapes["Conv2d_2b_3x3"] == (64, 147, 147)
    assert shapes["Conv2d_4a_3x3"] == (192, 71, 71)
    assert shapes["Mixed_5d"] == (288, 35, 35)
    assert shapes["Mixed_6e"] == (768, 17, 17)
    assert shapes["Mixed_7c"] == (2048, 8, 8)


def test_means_at_the_border_are_of_what_is_inside() -> None:
    block = MixedA(1, pooled=1).eval()
    for parameter in block.parameters():
        torch.nn.init.ones_(parameter)
    with torch.no_grad():
        pooled = block(torch.ones(1, 1, 5, 5))[0, -1]
    torch.testing.assert_close(pooled, pooled[2, 2].expand(5, 5))


def test_files_that_do_not_fit_are_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    small = {name: tensor for name, tensor in weights.items() if tensor.numel() < 1000}
    save_file(small, path)
    with pytest.raises(InputError, match=r"weights\.safetensors lacks .* and \d+ more"):
        inception_space(path)
    with pytest.raises(InputError, match="no such file of Inception's weights"):
        inception_space(tmp_path / "absent.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds no tensors by name"):
        inception_space(tmp_path / "list.pth")
    for content in (b"", b"no weights", b"PK\x03\x04 torn"):
        (tmp_path / "other.pth").write_bytes(content)
        with pytest.raises(InputError, match=r"is no file of weights; .* pt_inception-2015") as error:
            inception_space(tmp_path / "other.pth")
        assert "weights_only" not in str(error.value)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code of a model file was run')",))


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"fc.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(InputError, match=r"is no file of weights; .* \(nothing in it was executed\)$"):
        inception_space(tmp_path / "trap.pth")
