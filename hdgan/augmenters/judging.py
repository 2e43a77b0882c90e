"""The classifier that samples are chosen by: one that there is, or one that is trained on real images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hdgan.augmenters.base import Shape
from hdgan.augmenters.classifier import CLASSIFIER, Classifier, ClassifierConfig, fit_classifier, require_dropout
from hdgan.augmenters.classifier_networks import network_of
from hdgan.augmenters.images import LabelledImages
from hdgan.augmenters.selection import BY_CENTROIDS, CONFIDENCE, RANDOM, Criterion, criteria_named
from tiling.errors import InputError
from tiling.progress import note
from tiling.wording import counted
from training.devices import choose_device


@dataclass(frozen=True)
class Judge:
    """Where the classifier comes from that samples are chosen by. Taken at random they are not judged at all.

    Attributes
    ----------
    file
        Of a classifier of the augmenter's size and classes; None: one is trained.
    config
        How that is trained; where there are fewer images than a batch, a batch has all of them.
    folder
        For its run folder, `classifier-...`, where later calls with the same images and `config` find it, whatever the
        rules; None: the folder of the samples.
    """

    file: Path | str | None = None
    config: ClassifierConfig = field(default_factory=ClassifierConfig)
    folder: Path | str | None = None

    def check(self, rules: Sequence[str], images: LabelledImages) -> None:
        """An :class:`InputError` if it cannot judge by rules beside real images; nothing is trained for that."""
        if RANDOM in rules:
            return
        if self.file is None or set(rules) & set(BY_CENTROIDS):
            images.require_classes()
        shape = Shape.of(images)
        if self.file is None:
            with torch.device("meta"):
                network = network_of(self.config.about_network, shape)
        else:
            classifier = Classifier.load(self.file)
            network = classifier.network
            if classifier.shape != shape:
                raise InputError(f"the classifier takes images {classifier.shape}, and the real ones are {shape}")
        if CONFIDENCE in rules:
            require_dropout(network)

    def training(self, rules: Sequence[str], images: LabelledImages) -> dict[str, Any] | None:
        """How one is trained, for the record of what is chosen; None if none is."""
        return None if self.file is not None or RANDOM in rules else asdict(self._config_for(images))

    def inputs(self, rules: Sequence[str]) -> dict[str, Path]:
        """What is chosen comes from these files, too."""
        return {} if self.file is None or RANDOM in rules else {"classifier": Path(self.file)}

    def criteria(
        self,
        rules: Sequence[str],
        images: LabelledImages,
        fingerprint: str,
        *,
        out: Path,
        least: float,
        device: str,
    ) -> list[Criterion]:
        """What samples are asked for.

        Parameters
        ----------
        rules
            See :func:`hdgan.augmenters.selection.check_rules`.
        images, fingerprint
            Real ones, and :meth:`LabelledImages.fingerprint` of them.
        out
            The folder of the samples.
        least
            See :class:`hdgan.augmenters.selection.LabelConfidence`.
        device
            Where the classifier is trained, and computes.
        """
        if RANDOM in rules:
            return []
        if self.file is not None:
            classifier = Classifier.load(self.file, device=choose_device(device))
        else:
            classifier = self._trained(images, fingerprint, out, device)
        return criteria_named(rules, images, classifier, least=least)

    def _trained(self, images: LabelledImages, fingerprint: str, out: Path, device: str) -> Classifier:
        config = self._config_for(images)
        known_by = json.dumps([asdict(config), images.counts, fingerprint])
        run = Path(self.folder or out) / f"classifier-{hashlib.sha256(known_by.encode()).hexdigest()[:8]}"
        if not (run / CLASSIFIER).exists():
            note(
                f"to choose by, a classifier is trained first on {counted(len(images), 'real image')}, {config.steps} "
                f"steps of {config.batch} by --preset. It stays in {run}, for other rules, too; --classifier FILE "
                "takes one that there is"
            )
        return fit_classifier(images, run=run, config=config, device=device)

    def _config_for(self, images: LabelledImages) -> ClassifierConfig:
        return replace(self.config, batch=min(self.config.batch, len(images)))
