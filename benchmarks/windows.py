"""What a large image and its features cost, whole and by windows: `python benchmarks/windows.py [--resolution 4096]`.

Every way runs in a process of its own, on one thread, with a generator of random weights and the widths of StyleGAN2,
which is read from a file; the last way makes it in memory, stored noise and all. The peak is the largest resident set
that the kernel noted, all included: PyTorch, weights, and of the stored noise what is not left in the file. Of an image
too large for all of it, `--windows 32` makes the first windows alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.apart import peak_gb, save_random_generator

WAYS = ("image, whole", "image, by windows", "features, whole", "features, by windows", "the same, in memory")
_EDGE = 512


def measure(way: str, file: Path, resolution: int, noise: str, count: int | None) -> dict[str, float]:
    """One image of one latent, in this process."""
    import torch

    from hdgan.stylegan2 import Generator, load_generator, synthesize_windows

    torch.manual_seed(0)
    in_memory = way.endswith("in memory")
    generator = Generator(resolution=resolution).requires_grad_(False) if in_memory else load_generator(file)
    w = generator.mapping(torch.randn(1, generator.config.z_dim))
    start = time.process_time()
    if way == "image, whole":
        generator.synthesis(w, noise=noise)
    elif way == "features, whole":
        generator.image_and_features(w, noise=noise)
    else:
        blocks = 0 if way.startswith("image") else 5
        for _ in itertools.islice(synthesize_windows(generator, w, window=_EDGE, blocks=blocks, noise=noise), count):
            pass
    return {"cpu_seconds": time.process_time() - start, "peak_gb": peak_gb()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=4096)
    parser.add_argument("--noise", choices=["const", "random", "none"], default="const")
    parser.add_argument("--windows", type=int, help="so many windows, and nothing whole")
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        way, file = asked.measure
        print(json.dumps(measure(way, Path(file), asked.resolution, asked.noise, asked.windows)))
        return
    print(f"{platform.machine()}, Python {platform.python_version()}\n")
    print("| one latent | CPU s | peak GB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "generator.safetensors"
        save_random_generator(asked.resolution, file)
        for way in WAYS:
            if asked.windows and way.endswith("whole"):
                continue
            command = [sys.executable, __file__, *sys.argv[1:], "--measure", way, str(file)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
            cost = json.loads(told.stdout)
            print(f"| {way} | {cost['cpu_seconds']:.1f} | {cost['peak_gb']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
