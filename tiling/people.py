"""Whose slides they are, what else is known of them, and the folds that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiling.files import fingerprint
from tiling.folds import PATIENT, Stratum, assign_folds, patients_of
from tiling.labels import Labels, LabelsOfSlides, labels_of, strata_of
from tiling.ledger import COLUMNS as LEDGER_COLUMNS
from tiling.manifest import COLUMNS


@dataclass(frozen=True)
class People:
    """Patients, labels and strata, by the slides' paths below the archive, and how folds are to be shared out.

    `asked` is what of it was asked for, JSON-able, with a fingerprint of the table that it came from.
    """

    patients: Mapping[str, str]
    labels: LabelsOfSlides
    strata: Mapping[str, Stratum]
    folds: int
    seed: int
    asked: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        slides: Sequence[str],
        *,
        patient: str | None,
        labels: Labels | None,
        stratify: Sequence[str] | None,
        folds: int,
        seed: int,
    ) -> People:
        """Find out, from file names and tables; see :func:`tiling.tile_archive`. Raises what these raise."""
        known = labels_of(slides, labels, reserved={*COLUMNS.names, *LEDGER_COLUMNS.names} - {PATIENT})
        assign_folds({}, folds=folds, seed=seed)  # raises for a wrong number before any work
        by_pattern = labels is None or isinstance(labels, Mapping)
        return cls(
            patients=patients_of(slides, pattern=patient, labels=known),
            labels={name: values for name, values in known.items() if name != PATIENT},
            strata=strata_of(known, slides, stratify),
            folds=folds,
            seed=seed,
            asked={
                "folds": folds,
                "stratify": None if stratify is None else list(stratify),
                "patient": patient,
                "labels": dict(labels) if isinstance(labels, Mapping) else None,
                "table": None if by_pattern else fingerprint(Path(str(labels))),
            },
        )

    def folds_of(self, tiles_of: Mapping[str, int]) -> dict[str, int]:
        """The fold of every patient that has tiles, from the number of tiles of each slide."""
        of_patient: dict[str, dict[Stratum, int]] = {}
        for slide, tiles in tiles_of.items():
            if tiles:
                of_stratum = of_patient.setdefault(self.patients[slide], {})
                of_stratum[self.strata[slide]] = of_stratum.get(self.strata[slide], 0) + tiles
        return assign_folds(of_patient, folds=self.folds, seed=self.seed)
