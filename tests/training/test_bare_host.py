"""A GPU host with little more than PyTorch can train."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# The networks' packages with what they need themselves; everything else is as good as not installed.
SCRIPT = """
import sys

OWN = {"hdgan", "tiling", "training"}
OF_TORCH = {"torch", "torchgen", "functorch", "typing_extensions", "sympy", "mpmath", "networkx", "jinja2",
            "markupsafe", "filelock", "fsspec", "setuptools", "triton", "nvidia"}
ALLOWED = OWN | OF_TORCH | {"numpy", "safetensors"} | sys.stdlib_module_names


class Filtered:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ALLOWED or name.startswith("_sysconfigdata"):
            return self.finder.find_spec(name, path, target)


sys.meta_path[:] = map(Filtered, sys.meta_path)

from pathlib import Path

import numpy as np

import training.loop
from hdgan.stylegan2 import load_generator, train, train_config
from hdgan.stylegan2.execution import Execution


class Tiles:
    def __len__(self):
        return 4

    def read(self, index):
        return np.full((8, 8, 3), 50 * index, np.uint8)


config = train_config("tiny", resolution=8, kimg=0.004, z_dim=4, w_dim=4, channel_max=4)
made = train(Tiles(), Path(sys.argv[1]), config, execution=Execution(device="cpu"))
assert load_generator(made).resolution == 8
assert training.metrics.read_metrics(made.parent)[-1]["step"] == 1
"""


def test_training_alone_needs_torch_numpy_and_safetensors_only(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "run")], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr.splitlines()[1:]) == (
        0,
        ["training on 4 tiles, 8 px: 1 step of 4, 0.004 kimg in all"],
    )
