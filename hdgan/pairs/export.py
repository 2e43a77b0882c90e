"""Pairs, all or a selection, written anew: in another format, or with masks as QuPath's GeoJSON."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hdgan.annotations import write_geojson
from hdgan.pairs.formats import FORMATS, pair_format
from hdgan.pairs.manifest import MANIFEST
from hdgan.pairs.pairset import CLASSES, PairSet
from hdgan.pairs.strips import Strip
from hdgan.pictures import write_png
from hdgan.provenance import digest
from tiling.choices import Choice
from tiling.errors import InputError
from tiling.files import replacing, sweep_partials
from tiling.progress import track
from tiling.stage import Stage
