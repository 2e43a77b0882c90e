"""What large images and their features cost, whole and by windows: `python benchmarks/windows.py [--only 16384]`.

Every way runs in a process of its own, on one thread, with a generator of random weights and the widths of StyleGAN2,
which is read from a file, or, where it says so, made in memory, stored noise and all. The peak is the largest resident
set that the kernel noted, all included: PyTorch, weights, and of the stored noise what is not left in the file.

4096        one image of one latent, with and without the features of its last five blocks; and with noise that is drawn
16384       (if asked for) the first row of windows of an image that is too large for all of it
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.apart import Figures, Stopwatch, run, save_random_generator

_EDGE, _ROW = 512, 32  # px; windows of 16384 px


def measure(
    size: int, *, features: bool, whole: bool = False, in_memory: bool = False, noise: str = "const"
) -> Figures:
    """One image of one latent, or as many windows of it as are measured."""
    import torch

    from hdgan.stylegan2 import Generator, load_generator, synthesize_windows

    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        if in_memory:
            generator = Generator(resolution=size).requires_grad_(False)
        else:
            save_random_generator(size, Path(folder) / "generator.safetensors")
            generator = load_generator(Path(folder) / "generator.safetensors")
        w = generator.mapping(torch.randn(1, generator.config.z_dim))
        watch = Stopwatch()
        if whole:
            (generator.image_and_features if features else generator.synthesis)(w, noise=noise)
        else:
            windows = synthesize_windows(generator, w, window=_EDGE, blocks=5 if features else 0, noise=noise)
            for _ in itertools.islice(windows, _ROW if size > 4096 else None):
                pass
        return watch.read()


MEASURES: dict[str, Callable[[], Figures]] = {
    **{
        f"4096 {what}, {way}{suffix}": partial(
            measure, 4096, features=what == "features", whole=way == "whole", noise=noise
        )
        for noise, suffix in (("const", ""), ("random", ", drawn noise"))
        for what in ("image", "features")
        for way in ("whole", "by windows")
    },
    "4096 features, by windows, in memory": partial(measure, 4096, features=True, in_memory=True),
    "16384 image": partial(measure, 16384, features=False),
    "16384 features": partial(measure, 16384, features=True),
    "16384 features, in memory": partial(measure, 16384, features=True, in_memory=True),
}


if __name__ == "__main__":
    run(__file__, __doc__, MEASURES, left_out=["16384"])
