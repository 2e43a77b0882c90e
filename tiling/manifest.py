"""The manifest: a table in a Parquet file with a row per tile, and what it says of itself."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tiling.errors import InputError
from tiling.files import replacing
from tiling.parquet import read_table

MANIFEST = "manifest.parquet"
COLUMNS = pa.schema(
    [
        ("slide", pa.string()),
        ("fingerprint", pa.string()),
        ("x", pa.int64()),
        ("y", pa.int64()),
        ("size", pa.int32()),
        ("level", pa.int16()),
        ("scale", pa.float64()),
        ("mpp", pa.float64()),
        ("tissue", pa.float64()),
        ("pen", pa.float64()),
        ("blur", pa.float64()),
        ("corrupt", pa.float64()),
        ("patient", pa.string()),
        ("fold", pa.int16()),
    ]
)
"""The manifest's columns; those of labels (text, may be null) follow them."""

_KEY = b"hdgan.tiles"
_FORMAT = 2
_ROWS = 1 << 16


@dataclass(frozen=True)
class Manifest:
    """What a manifest's file holds.

    Attributes
    ----------
    table
        Its rows; each text is held once, as a dictionary's.
    schema
        Its columns as they are in the file.
    about
        Its own metadata.
    fingerprint
        Of the file, SHA-256 in hex.
    """

    table: pa.Table
    schema: pa.Schema
    about: Mapping[str, Any]
    fingerprint: str


def read_manifest(path: Path) -> Manifest:
    """Read what :func:`write_manifest` wrote; an :class:`InputError` if it is no tile set, or one of another format."""
    try:
        content = path.read_bytes()
        file = pa.py_buffer(content)
        schema = pq.read_schema(pa.BufferReader(file))
        texts = [column.name for column in schema if pa.types.is_string(column.type)]
        table = read_table(pa.BufferReader(file), read_dictionary=texts)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is no tile set: {' '.join(str(error).split())}") from error
    about = (schema.metadata or {}).get(_KEY)
    if about is None or not set(COLUMNS.names) <= set(schema.names):
        raise InputError(f"{path} is a Parquet file but no tile set; make one with `hdgan tile`")
    about = json.loads(about)
    if about["format"] != _FORMAT:
        raise InputError(f"{path} has format {about['format']}, and this version reads {_FORMAT}; make it again")
    return Manifest(table, schema, about, hashlib.sha256(content).hexdigest())


def table_fingerprint(table: pa.Table) -> str:
    """SHA-256 in hex of a table's values and the names of its columns, whatever file or root they come with."""
    digest = hashlib.sha256(json.dumps(table.column_names).encode())
    for start in range(0, table.num_rows, _ROWS):
        digest.update(json.dumps(table.slice(start, _ROWS).to_pydict()).encode())
    return digest.hexdigest()


def write_manifest(path: Path, table: pa.Table, *, root: Path | None, icc: str) -> None:
    """Write a manifest.

    Parameters
    ----------
    path
        The file.
    table
        :data:`COLUMNS`, and columns of labels.
    root
        What its slides are relative to; None for slides that are called by hashes.
    icc
        What is done with their colour profiles.
    """
    place = None if root is None else os.path.relpath(root.resolve(), path.parent.resolve())
    about = {"format": _FORMAT, "root": place, "icc": str(icc), "anonymised": root is None}
    with replacing(path) as partial:
        pq.write_table(table.replace_schema_metadata({_KEY: json.dumps(about).encode()}), partial)
