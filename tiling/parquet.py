"""Parquet files, read by the thread that wants them.

Threads of Arrow's own may still be at work when a process ends, and abort it although all is done
(https://github.com/apache/arrow/issues/34314).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_table(source: Path | pa.BufferReader, *, read_dictionary: Sequence[str] = ()) -> pa.Table:
    """All of a file, with its metadata; columns of text named in `read_dictionary` hold each text once."""
    with pq.ParquetFile(source, read_dictionary=list(read_dictionary), pre_buffer=False) as file:
        return file.read(use_threads=False)
