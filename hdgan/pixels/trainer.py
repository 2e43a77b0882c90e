"""The training of an ensemble, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hdgan.pixels.ensemble import PixelEnsemble
from hdgan.pixels.presets import Preset
from hdgan.pixels.sampling import Noise, PixelSampler
from training.draws import numpy_draws, torch_draws

_VALIDATION_PIXELS = 2**14
_VALIDATION_BATCH = 2**12


@dataclass(frozen=True, eq=False)
class Validation:
    """Pixels of the validation images, the same in every epoch: (C, n) standardised float32 and (n,) int64."""

    features: Tensor
    labels: Tensor

    @classmethod
    def draw(cls, sampler: PixelSampler, seed: int, device: torch.device) -> Validation:
        """Draw at most 16,384 pixels."""
        drawn = sampler.draw(min(sampler.labelled, _VALIDATION_PIXELS), numpy_draws(seed, "validation"))
        features = torch.from_numpy(sampler.features(drawn)).to(device)
        return cls(features.T, torch.from_numpy(drawn.label).to(device))

    @torch.no_grad()
    def loss(self, ensemble: PixelEnsemble) -> float:
        """Mean cross-entropy in nats over members and pixels."""
        ensemble.eval()
        total = 0.0
        for start in range(0, len(self.labels), _VALIDATION_BATCH):
            here = slice(start, start + _VALIDATION_BATCH)
            loss = members_loss(ensemble(self.features[:, here]), self.labels[here])
            total += float(loss) * len(self.labels[here])
        return total / (ensemble.members * len(self.labels))


def members_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    times: Tensor | None = None,
) -> Tensor:
    """Sum over members of their mean cross-entropy: each trains as if alone. (M, K, n), (n,) -> scalar.

    `times` (M, n) is how often each member drew each pixel; without it, once.
    """
    labels = labels.expand(len(logits), -1)
    each = cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    return (each if times is None else each * times).sum() / labels.shape[1]


class EnsembleTrainer:
    """Ensemble, optimiser and the best weights so far. Fits :class:`training.loop.Trainer`; a step is an epoch."""

    def __init__(
        self,
        ensemble: PixelEnsemble,
        sampler: PixelSampler,
        validation: Validation | None,
        preset: Preset,
        seed: int,
    ) -> None:
        self.ensemble, self.preset = ensemble, preset
        self.best_epoch = 0
        self._sampler, self._validation, self._seed = sampler, validation, seed
        self._optimiser = _optimiser(ensemble, preset)
        self._best: Mapping[str, Tensor] = {}
        self._best_loss = math.inf
        self._epochs = 0

    def step(self, index: int) -> Mapping[str, float]:
        """Train for epoch `index` and remember its weights if they are the best yet; the losses, in nats."""
        losses = {"loss": self._train(index)}
        if self._validation is not None:
            losses["validation_loss"] = self._validation.loss(self.ensemble)
        self._epochs = index + 1
        if self._validation is None or losses["validation_loss"] < self._best_loss:
            self._best_loss = losses.get("validation_loss", losses["loss"])
            self._best, self.best_epoch = _copy(self.ensemble), self._epochs
        return losses

    def out_of_patience(self) -> bool:
        """Whether the validation loss has not fallen for as many epochs as the preset has patience."""
        if self._validation is None or self.preset.patience is None:
            return False
        return self._epochs - self.best_epoch >= self.preset.patience

    def best_ensemble(self) -> PixelEnsemble:
        """The ensemble with its best weights."""
        self.ensemble.load_state_dict(self._best)
        return self.ensemble.eval()

    def state(self) -> Mapping[str, Any]:
        """Everything that the following epochs depend on."""
        return {
            "ensemble": self.ensemble.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "best": self._best,
            "best_epoch": self.best_epoch,
            "best_loss": self._best_loss,
            "epochs": self._epochs,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self.ensemble.load_state_dict(state["ensemble"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._best, self._best_loss = state["best"], state["best_loss"]
        self.best_epoch, self._epochs = state["best_epoch"], state["epochs"]

    def _train(self, epoch: int) -> float:
        """One epoch; the mean loss of members and pixels."""
        preset, device = self.preset, self.ensemble.mean.device
        steps = max((preset.epoch_pixels or self._sampler.labelled) // preset.batch, 1)
        dropout = torch_draws(self._seed, "dropout", epoch, device=device)
        bootstrap = torch_draws(self._seed, "bootstrap", epoch, device=device)
        noise = Noise(preset.noise_probability, preset.noise_deviation) if preset.noise_probability else None
        numbers = range(epoch * steps, (epoch + 1) * steps)
        self.ensemble.train()
        total = torch.zeros((), device=device)
        for features, labels in self._sampler.batches(numbers, size=preset.batch, seed=self._seed, noise=noise):
            logits = self.ensemble(torch.from_numpy(features).to(device).T, generator=dropout)
            target = torch.from_numpy(labels).to(device)
            times = None
            if preset.bootstrap:
                times = torch.poisson(torch.ones(len(logits), len(target), device=device), generator=bootstrap)
            loss = members_loss(logits, target, label_smoothing=preset.label_smoothing, times=times)
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
            total += loss.detach()
        return float(total) / (steps * self.ensemble.members)


def _optimiser(ensemble: PixelEnsemble, preset: Preset) -> torch.optim.Optimizer:
    if preset.optimiser == "sgd":
        return torch.optim.SGD(ensemble.parameters(), lr=preset.learning_rate, momentum=preset.momentum)
    return torch.optim.Adam(ensemble.parameters(), lr=preset.learning_rate)


def _copy(ensemble: PixelEnsemble) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in ensemble.state_dict().items()}
