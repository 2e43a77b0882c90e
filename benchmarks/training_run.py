"""A real training, for as long as it may take: `python benchmarks/training_run.py IMAGES OUT [--minutes 20]`.

Trains on crops of the images of a folder, on a GPU if there is one, with a third of them held out by name, measures the
distance to that third again and again, and prints the curve: images seen, Frechet and kernel distance. OUT keeps the
run, and a contact sheet.

    python benchmarks/training_run.py ../shared/data/glomeruli glomeruli-run --preset auto --crop 512
    python benchmarks/training_run.py ../shared/data/nuclei nuclei-run --preset auto
"""

from __future__ import annotations

import argparse
import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.apart import in_words, machine

FOLDS = 3


def gather(source: Path, out: Path) -> None:
    """Links to the images but not to their label maps, and a table of folds: neighbours by name share one."""
    images = sorted(p for p in source.iterdir() if p.suffix in (".png", ".jpg") and not p.stem.endswith("_label"))
    folder = out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    with (out / "folds.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "fold"])
        for place, image in enumerate(images):
            if not (folder / image.name).exists():
                (folder / image.name).symlink_to(image.resolve())
            table.writerow([image.name, place * FOLDS // len(images)])


def train(out: Path, minutes: float, options: list[str]) -> None:
    command = [sys.executable, "-m", "hdgan", "train", "--study", out, "--images", out / "images"]
    command += ["--labels", out / "folds.csv", "--hold-out", str(FOLDS - 1), "--kimg", "100000", *options]
    process = subprocess.Popen([str(part) for part in command])
    end = time.monotonic() + 60 * minutes
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.2)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)  # it finishes the step and leaves a checkpoint
    process.wait()


def report(out: Path) -> None:
    from hdgan.pictures import contact_sheet, write_png
    from hdgan.stylegan2 import TrainConfig, to_uint8
    from hdgan.stylegan2.trainer import build_networks
    from tiling.files import read_json
    from training.checkpoint import Checkpoints
    from training.draws import torch_draws
    from training.metrics import read_metrics

    run = out / "generator"
    lines = read_metrics(run)
    last: dict[str, float] = {}
    for line in lines:
        last |= line
        distances = [f"{name} {value:.4g}" for name, value in line.items() if name[:3] in ("fd ", "kid")]
        if distances:
            print(f"{line['kimg']:8.1f} kimg  p {last.get('p', 0):.3f}  ", "  ".join(distances))
    if "images_per_second" in last:
        print(f"{last['images_per_second']:.1f} images a second, {last['memory_gib']:.1f} GiB")
    config = read_json(run / "config.json")
    fields = TrainConfig.__dataclass_fields__
    generator, _ = build_networks(TrainConfig(**{name: value for name, value in config.items() if name in fields}))
    checkpoints = Checkpoints(run / "checkpoints")
    best = checkpoints.best()
    generator.load_state_dict(checkpoints.load(best[0] if best else checkpoints.steps()[-1])["trainer"]["average"])
    draws = torch_draws(0, "contact sheet")
    images = []
    for _ in range(24):
        z = generator.mapping.w_avg.new_empty((1, generator.config.z_dim)).normal_(generator=draws)
        images.append(to_uint8(generator.synthesis(generator.mapping(z), generator=draws))[0])
    write_png(out / "samples.png", contact_sheet(images, columns=6))
    print(f"samples: {out / 'samples.png'}")
    print(in_words(machine(gpu=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--evaluate-kimg", type=float, default=20)
    parser.add_argument("--evaluate-images", type=int, default=500)
    asked = parser.parse_args()
    gather(asked.images, asked.out)
    options = ["--preset", asked.preset, "--crop", asked.crop, "--resolution", asked.resolution]
    options += ["--evaluate-kimg", asked.evaluate_kimg, "--evaluate-images", asked.evaluate_images]
    options += [] if asked.batch is None else ["--batch", asked.batch]
    train(asked.out, asked.minutes, [str(option) for option in options])
    report(asked.out)


if __name__ == "__main__":
    main()
