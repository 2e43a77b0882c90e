"""What is known of every pair: a line in the ledger when it is made, a row of `manifest.parquet` when all are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tiling.files import replacing, write_bytes

MANIFEST, LEDGER = "manifest.parquet", "ledger.jsonl"


@dataclass(frozen=True)
class PairRecord:
    """One pair.

    Attributes
    ----------
    index
        Its place in the set.
    seed, psi
        What its latent was drawn with.
    latent
        Fingerprint of its w.
    uncertainty
        Mean over the tenth of its pixels that are the most uncertain, in nats (Zhang et al. 2021, section 3.2).
    fractions
        Share of the pixels of each class, in class order.
    """

    index: int
    seed: int
    psi: float
    latent: str
    uncertainty: float
    fractions: tuple[float, ...]


def append_to_ledger(folder: Path, record: PairRecord) -> None:
    """Note a pair as made: from here on it is not made again."""
    with (folder / LEDGER).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(record)) + "\n")


def read_ledger(folder: Path) -> list[PairRecord]:
    """The pairs that are made; a last line that a killed process left unfinished is not one."""
    if not (folder / LEDGER).exists():
        return []
    rows = [json.loads(line) for line in _whole_lines(folder / LEDGER)]
    return [PairRecord(**row | {"fractions": tuple(row["fractions"])}) for row in rows]


def mend_ledger(folder: Path) -> None:
    """Cut off an unfinished last line, so that the next one can be appended."""
    if (folder / LEDGER).exists():
        write_bytes(folder / LEDGER, "".join(_whole_lines(folder / LEDGER)).encode())


def write_manifest(folder: Path, records: Sequence[PairRecord], classes: Sequence[str], licence: str) -> None:
    """Write `manifest.parquet`: a row per pair, a column `fraction_<class>` per class."""
    ordered = sorted(records, key=lambda record: record.index)
    columns = {
        "index": pa.array([r.index for r in ordered], pa.int64()),
        "seed": pa.array([r.seed for r in ordered], pa.int64()),
        "psi": pa.array([r.psi for r in ordered], pa.float32()),
        "latent": pa.array([r.latent for r in ordered], pa.string()),
        "uncertainty": pa.array([r.uncertainty for r in ordered], pa.float64()),
    }
    for k, name in enumerate(classes):
        columns[f"fraction_{name}"] = pa.array([r.fractions[k] for r in ordered], pa.float64())
    columns["licence"] = pa.array([licence] * len(ordered), pa.string())
    with replacing(folder / MANIFEST) as partial:
        pq.write_table(pa.table(columns), partial)


def read_manifest(folder: Path) -> pa.Table:
    """The table that :func:`write_manifest` wrote."""
    return pq.read_table(folder / MANIFEST)


def _whole_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
