"""The study: one folder in which every stage finds what the stage before it left."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hdgan.labels import KIDNEY, ClassList
from tiling.errors import InputError
from tiling.files import read_json
from tiling.progress import note
from tiling.stage import RECORD, completed, fingerprint_of, read_record
from tiling.wording import counted, quoted
from training.steps import saved_steps

SETTINGS = "study.toml"
FEATURES = "features"
"""Folder in the evaluation's with features of tiles, for the next comparison."""

_COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "tile": "tile SLIDES",
        "train": "train",
        "sample": "sample",
        "annotate": "annotate import MASKS",
        "features": "features",
        "fit": "fit",
        "synthesize": "synthesize",
    }
)
"""What is typed for each stage."""


@dataclass(frozen=True)
class Study:
    """Where things are in a study folder. Nothing needs to exist yet."""

    root: Path

    @property
    def tiles(self) -> Path:
        """Tile set: manifest and ledger, made by `hdgan tile`."""
        return self.root / "tiles"

    @property
    def generator(self) -> Path:
        """Run folder of the generator, made by `hdgan train`."""
        return self.root / "generator"

    @property
    def latents(self) -> Path:
        """Samples with their latents, made by `hdgan sample`."""
        return self.root / "latents"

    @property
    def annotations(self) -> Path:
        """The expert's selection and masks, made by `hdgan annotate`."""
        return self.root / "annotations"

    @property
    def picks(self) -> Path:
        """Which samples the expert is to label, made by `hdgan annotate pick`."""
        return self.annotations / "pick"

    @property
    def features(self) -> Path:
        """Features of the annotated samples, made by `hdgan features`."""
        return self.root / "features"

    @property
    def classifiers(self) -> Path:
        """The ensemble of pixel classifiers, made by `hdgan fit`."""
        return self.root / "classifiers"

    @property
    def protocol(self) -> Path:
        """Fits on several splits of the annotated samples, made by `hdgan protocol`."""
        return self.root / "protocol"

    @property
    def pairs(self) -> Path:
        """Image-mask pairs, made by `hdgan synthesize`."""
        return self.root / "pairs"

    @property
    def export(self) -> Path:
        """A selection of the pairs written anew, made by `hdgan export`."""
        return self.root / "export"

    @property
    def evaluation(self) -> Path:
        """How far the generator's images are from tiles, told by `hdgan compare`."""
        return self.root / "evaluation"

    @property
    def augmenters(self) -> Path:
        """Run folder of each augmenter of labelled images, by method, made by `hdgan augment fit`."""
        return self.root / "augmenters"

    @property
    def augmented(self) -> Path:
        """Samples of each augmenter, by method, made by `hdgan augment sample`."""
        return self.root / "augmented"

    @property
    def benchmark(self) -> Path:
        """How much classifiers gain by augmenters, made by `hdgan augment benchmark`."""
        return self.root / "benchmark"

    def stages(self) -> dict[str, Path]:
        """Every stage's command and folder, in order."""
        return {
            "tile": self.tiles,
            "train": self.generator,
            "sample": self.latents,
            "annotate": self.annotations,
            "features": self.features,
            "fit": self.classifiers,
            "synthesize": self.pairs,
        }

    def require(self, command: str) -> Path:
        """The folder of a stage; an :class:`InputError` naming the command if it is not complete."""
        folder = self.stages()[command]
        made_by = f"hdgan {_COMMANDS[command]} --study {quoted(self.root)}"
        if not (folder / RECORD).exists() and (before := self._missing_before(command)):
            commands = ", ".join(f"`hdgan {_COMMANDS[earlier]}`" for earlier in before)
            raise InputError(f"{folder} does not exist yet: it takes {commands}, and then `{made_by}`")
        if command == "train" and (kimg := _reached(folder)):
            raise InputError(
                f"{folder} is only half made: run `{made_by}` again to finish it, or with --kimg {kimg:.12g} to end it "
                "where it is"
            )
        completed(folder, made_by=made_by)
        return folder

    def _missing_before(self, command: str) -> list[str]:
        """The stages that a stage waits for, in order: those right before it that nobody has begun either."""
        missing: list[str] = []
        commands = list(self.stages())
        for earlier in reversed(commands[: commands.index(command)]):
            begun = self.annotations / "masks" if earlier == "annotate" else self.stages()[earlier] / RECORD
            if begun.exists():
                break
            missing.insert(0, earlier)
        return missing

    def require_samples(self) -> Path:
        """The samples' folder; an :class:`InputError` unless they are of the generator as it is now.

        Where there is no generator (a copy of the study to annotate in), nothing is compared.
        """
        samples = self.require("sample")
        if not (self.generator / RECORD).exists():
            return samples
        if read_record(samples)["inputs"]["generator"] != fingerprint_of(self.require("train")):
            raise InputError(
                f"{samples} was drawn from another generator than {self.generator} is now (it was trained on, or "
                f"again): draw and annotate anew with `hdgan sample --redo --study {quoted(self.root)}`, "
                "or use another study"
            )
        return samples

    def refuse_to_replace_generator(self) -> None:
        """An :class:`InputError` if there are masks: what an expert drew on a generator's images is lost without it."""
        from hdgan.annotations import stored_masks

        if masks := len(stored_masks(self.annotations)):
            raise InputError(
                f"{counted(masks, 'mask')} in {self.annotations} belong to images of the present generator, which "
                "this would replace; go on in a copy of the study without `latents`, `annotations`, `features`, "
                "`classifiers` and `pairs`, or move the masks elsewhere if they are not needed"
            )

    def check_annotations(self) -> None:
        """An :class:`InputError` if the masks were drawn on other samples than those in the study now."""
        if why := self.void_annotations():
            raise InputError(why)

    def void_annotations(self) -> str:
        """Why the masks do not belong to the samples in the study now, in words; empty if they do."""
        from hdgan.annotations import void_masks

        return void_masks(self.annotations, self.sample_fingerprints())

    def sample_fingerprints(self) -> list[str]:
        """Of every sample, by index: what ties a mask to its image, however many samples are added."""
        from hdgan.samples import load_samples

        latents = load_samples(self.require("sample"))[0]
        return [latents.fingerprint(i) for i in range(len(latents))]

    def settings(self) -> dict[str, Any]:
        """What `study.toml` says: a table per command, whose keys are the command's options."""
        path = self.root / SETTINGS
        if not path.exists():
            return {}
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:  # not TOML, or not even text
            raise InputError(f"{path} is not TOML: {error}") from error

    def classes(self) -> ClassList:
        """The study's classes: `classes.json` in the annotations, or in the study, else the kidney's five.

        Where there are both and they differ, that of the annotations counts, and a line on standard error says so; or
        the study's, as long as there are no masks.
        """
        places = [self.annotations / "classes.json", self.root / "classes.json"]
        found = {path: ClassList.load(path) for path in places if path.exists()}
        counts, *others = found.values() or (KIDNEY,)
        if others and others[0] != counts:
            if not any((self.annotations / "masks").glob("label_*.png")):
                return others[0]
            note(f"{places[1]} differs from {places[0]}, which the masks were drawn by, and which counts")
        return counts


def _reached(generator: Path) -> float | None:
    """How many kimg a training that was stopped has checkpoints of; None if there is none, or it is complete."""
    if not (generator / RECORD).exists() or read_record(generator)["status"] == "complete":
        return None
    steps = saved_steps(generator / "checkpoints")
    return kimg_of(generator, steps[-1]) if steps else None


def kimg_of(generator: Path, steps: int) -> float:
    """How many thousand images so many steps of a generator's training are, by the settings in its folder."""
    return steps * int(read_json(generator / "config.json")["batch"]) / 1000
