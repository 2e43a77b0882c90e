"""What is known of every pair: a line in the ledger when it is made, a row of `manifest.parquet` when all are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq

from tiling.files import replacing, write_bytes
from tiling.parquet import read_table

MANIFEST, LEDGER = "manifest.parquet", "ledger.jsonl"
_COLUMNS = {
    "index": pa.int64(),
    "seed": pa.int64(),
    "psi": pa.float64(),
    "latent": pa.string(),
    "uncertainty": pa.float64(),
    "fractions": pa.list_(pa.float64()),
}


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


def read_ledger(folder: Path) -> pa.Table:
    """The pairs that are made, a column per field of :class:`PairRecord`: a hundred bytes each.

    A last line that a killed process left unfinished is not one.
    """
    lines = _whole_lines(folder / LEDGER)
    if not lines:
        return pa.schema(_COLUMNS).empty_table()
    columns = pa.json.ParseOptions(explicit_schema=pa.schema(_COLUMNS))
    return pa.json.read_json(pa.BufferReader(lines), parse_options=columns)


def mend_ledger(folder: Path) -> None:
    """Cut off an unfinished last line, so that the next one can be appended."""
    if (folder / LEDGER).exists():
        write_bytes(folder / LEDGER, _whole_lines(folder / LEDGER))


def write_manifest(folder: Path, ledger: pa.Table, classes: Sequence[str], licence: str) -> None:
    """Write `manifest.parquet`: a row per pair, a column `fraction_<class>` per class."""
    ordered = ledger.sort_by("index").combine_chunks()
    columns = {name: ordered[name] for name in ("index", "seed", "psi", "latent", "uncertainty")}
    columns["psi"] = columns["psi"].cast(pa.float32())
    for k, name in enumerate(classes):
        columns[f"fraction_{name}"] = pc.list_element(ordered["fractions"], k)
    columns["licence"] = pa.repeat(licence, len(ordered))
    with replacing(folder / MANIFEST) as partial:
        pq.write_table(pa.table(columns), partial)


def read_manifest(folder: Path) -> pa.Table:
    """The table that :func:`write_manifest` wrote."""
    return read_table(folder / MANIFEST)


def _whole_lines(path: Path) -> bytes:
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]
