"""What the demo costs and how good its results are: `python benchmarks/demo.py [--study FOLDER] [--json]`.

Runs `hdgan demo` in the folder (what is complete there is not run again) and prints every command's wall time and
peak memory, and the scores of the report.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any


def collect(root: Path) -> dict[str, Any]:
    """Costs and scores of a finished demo."""
    read = {name: json.loads((root / name).read_text()) for name in ("costs.json", "expert/score.json")}
    fitted = json.loads((root / "classifiers" / "report.json").read_text())
    segmenters = json.loads((root / "comparison" / "result.json").read_text())
    scores = {
        "stand-in, phantom truth": read["expert/score.json"],
        "ensemble, unseen samples": fitted["ensemble"],
        "nearest colour, unseen samples": fitted["nearest_colour"],
    } | {f"segmenter from {name}, phantom truth": report for name, report in segmenters.items()}
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "costs": read["costs.json"],
        "scores": scores,
    }


def print_tables(result: dict[str, Any]) -> None:
    """Both tables, in Markdown."""
    print(f"{result['machine']}\n\n| command | seconds | peak GiB |\n|---|---|---|")
    for name, cost in result["costs"].items():
        print(f"| {name} | {cost['seconds']:.0f} | {cost['peak_rss_bytes'] / 2**30:.2f} |")
    print(f"| together | {sum(cost['seconds'] for cost in result['costs'].values()):.0f} | |\n")
    classes = next(iter(result["scores"].values()))["classes"]
    print("| recall | " + " | ".join([*classes, "macro", "micro"]) + " | macro Dice |")
    print("|---" * (len(classes) + 4) + "|")
    for name, score in result["scores"].items():
        recalls = [score["per_class"][c]["recall"] for c in classes]
        values = [*recalls, score["macro"]["recall"], score["micro"]["recall"], score["macro"]["dice"]]
        print(f"| {name} | " + " | ".join("–" if v is None else f"{v:.3f}" for v in values) + " |")


def main() -> None:
    """Run the demo and print what it cost and gave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("demo-study"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    demo = [sys.executable, "-P", "-m", "hdgan", "demo", "--quiet", "--study", str(arguments.study)]
    subprocess.run(demo, check=True, stdout=sys.stderr)
    result = collect(arguments.study)
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print_tables(result)


if __name__ == "__main__":
    main()
