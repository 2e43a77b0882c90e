"""Which recipe trains best, and how many annotated images it takes: `python benchmarks/protocol.py STUDY [--json]`.

STUDY is one with annotated samples and their features, such as `make demo` leaves. Every recipe is fitted and tested
on the same five splits: 16 images for training, 4 for validation, 16 for the test (`hdgan protocol`); the default one
with 8, 4 and 2 images for training, too. What was fitted is kept in the study, in `benchmark-protocol/`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="names of recipes")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    from hdgan.annotated import annotated_samples
    from hdgan.pixels import PRESETS, efficiency_rows, protocol_rows, run_protocol
    from hdgan.study import Study
    from tiling.progress import set_quiet

    set_quiet(True)
    samples = annotated_samples(Study(asked.study))
    default = PRESETS["default"]
    recipes = {
        "default": default,
        "balanced": PRESETS["balanced"],
        "default, the same pixels": replace(default, bootstrap=False),
        "default, longer": replace(default, epochs=4 * default.epochs, patience=2 * (default.patience or 5)),
        "paper": PRESETS["paper"],
        "datasetgan": PRESETS["datasetgan"],
    }
    results: dict[str, Any] = {}
    for name, preset in recipes.items():
        if asked.only and name not in asked.only:
            continue
        began = time.perf_counter()
        report = run_protocol(
            samples.store,
            samples.masks,
            asked.study / "benchmark-protocol" / "".join(c if c.isalnum() else "-" for c in name),
            training=(8, 4, 2) if name == "default" else (),
            splits=asked.splits,
            preset=preset,
            classes=samples.classes,
        )
        results[name] = report
        if not asked.json:
            row = protocol_rows(report, 16)[-2]
            measures = "  ".join(f"{heading} {text}" for heading, text in row.items() if heading != "class")
            print(f"{name:30} macro  {measures}   {time.perf_counter() - began:.0f} s", flush=True)
            if name == "default":
                for row in (*protocol_rows(report, 16), *efficiency_rows(report)):
                    print("   ", "  ".join(f"{heading} {text}" for heading, text in row.items()), flush=True)
    if asked.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
