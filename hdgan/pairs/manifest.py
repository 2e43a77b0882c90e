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

from tiling.files import remove, replacing, write_bytes
from tiling.parquet import read_table

MANIFEST, LEDGER, FAILED = "manifest.parquet", "ledger.jsonl", "failed.jsonl"
_COLUMNS = {
    "index": pa.int64(),
    "seed": pa.int64(),
    "psi": pa.float64(),
    "latent": pa.string(),
    "uncertainty": pa.float64(),
    "fractions": pa.list_(pa.float64()),
    "nearest_tile": pa.int64(),
    "nearest_distance": pa.float64(),
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
    nearest_tile, nearest_distance
        The training tile that the image is most like, and how far it is from that, see
        :class:`hdgan.pairs.TrainingTiles`; None where it was not compared with any.
    """

    index: int
    seed: int
    psi: float
    latent: str
    uncertainty: float
    fractions: tuple[float, ...]
    nearest_tile: int | None = None
    nearest_distance: float | None = None


@dataclass(frozen=True)
class PairFailure:
    """A pair that could not be made: the error that its last attempt ended with, and where that was raised."""

    index: int
    seed: int
    error: str
    traceback: str


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


def settle_ledger(folder: Path) -> pa.Table:
    """Put the lines in the order of the pairs, whoever made them when; give them as :func:`read_ledger`."""
    lines = _whole_lines(folder / LEDGER).splitlines(keepends=True)
    lines.sort(key=lambda line: json.loads(line)["index"])
    write_bytes(folder / LEDGER, b"".join(lines))
    return read_ledger(folder)


def write_failures(folder: Path, failures: Sequence[PairFailure]) -> None:
    """List what could not be made in `failed.jsonl`; there is none if all could."""
    if failures:
        ordered = sorted(failures, key=lambda failure: failure.index)
        write_bytes(folder / FAILED, "".join(json.dumps(asdict(each)) + "\n" for each in ordered).encode())
    else:
        remove(folder / FAILED)


def write_manifest(folder: Path, ledger: pa.Table, classes: Sequence[str], licence: str, mpp: float | None) -> None:
    """Write `manifest.parquet`: a row per pair in their order, a column `fraction_<class>` per class.

    `mpp`: micrometres per pixel of all of them, if it is known.
    """
    ordered = ledger.sort_by("index").combine_chunks()
    columns = {name: ordered[name] for name in ("index", "seed", "psi", "latent", "uncertainty")}
    columns["psi"] = columns["psi"].cast(pa.float32())
    for k, name in enumerate(classes):
        columns[f"fraction_{name}"] = pc.list_element(ordered["fractions"], k)
    columns |= {name: ordered[name] for name in ("nearest_tile", "nearest_distance")}
    columns["mpp"] = pa.repeat(pa.scalar(mpp, pa.float64()), len(ordered))
    columns["licence"] = pa.repeat(licence, len(ordered))
    with replacing(folder / MANIFEST) as partial:
        pq.write_table(pa.table(columns), partial)


def read_manifest(folder: Path) -> pa.Table:
    """The table that :func:`write_manifest` wrote."""
    return read_table(folder / MANIFEST)


def _whole_lines(path: Path) -> bytes:
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1]
