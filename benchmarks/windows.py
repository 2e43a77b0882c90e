"""What a large image and its features cost, whole and by windows: `python benchmarks/windows.py [--resolution 4096]`.

Every way runs in a process of its own, on one thread, with a generator of random weights and the widths of StyleGAN2.
Its peak is the largest resident set that the kernel noted, all included: PyTorch, weights, the stored noise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

WAYS = ("image, whole", "image, by windows", "features, whole", "features, by windows")


def measure(way: str, resolution: int, noise: str) -> dict[str, float]:
    """One image of one latent, in this process."""
    import torch

    from hdgan.stylegan2 import Generator, synthesize_image, synthesize_windows

    torch.manual_seed(0)
    generator = Generator(resolution=resolution).eval().requires_grad_(False)
    w = generator.mapping(torch.randn(1, generator.config.z_dim))
    start = time.process_time()
    if way == "image, whole":
        generator.synthesis(w, noise=noise)
    elif way == "image, by windows":
        synthesize_image(generator, w, noise=noise)
    elif way == "features, whole":
        generator.image_and_features(w, noise=noise)
    else:
        for _ in synthesize_windows(generator, w, noise=noise):
            pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"cpu_seconds": time.process_time() - start, "peak_gb": peak / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=4096)
    parser.add_argument("--noise", choices=["const", "random", "none"], default="const")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments.way, arguments.resolution, arguments.noise)))
        return
    print(f"{platform.machine()}, Python {platform.python_version()}\n")
    print("| one latent | CPU s | peak GB |\n|---|---|---|")
    for way in WAYS:
        command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
        cost = json.loads(told.stdout)
        print(f"| {way} | {cost['cpu_seconds']:.1f} | {cost['peak_gb']:.2f} |")


if __name__ == "__main__":
    main()
