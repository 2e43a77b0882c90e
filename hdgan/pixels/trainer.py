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
from hdgan.pixels.share import Share
from training.draws import numpy_draws, torch_draws
from training.host import Host

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
    def losses(self, ensemble: PixelEnsemble) -> Tensor:
        """(M,) float64: each member's mean cross-entropy over the pixels, in nats."""
        ensemble.eval()
        total = torch.zeros(ensemble.members, dtype=torch.float64, device=self.labels.device)
        for start in range(0, len(self.labels), _VALIDATION_BATCH):
            here = slice(start, start + _VALIDATION_BATCH)
            total += members_losses(ensemble(self.features[:, here]), self.labels[here]) * len(self.labels[here])
        return total / len(self.labels)


def members_losses(
    logits: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    times: Tensor | None = None,
) -> Tensor:
    """Each member's mean cross-entropy, for each trains as if alone. (M, K, n), (n,) -> (M,).

    `times` (M, n) is how often each member drew each pixel; without it, once.
    """
    labels = labels.expand(len(logits), -1)
    each = cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    return (each if times is None else each * times).sum(dim=1) / labels.shape[1]


class EnsembleTrainer:
    """Ensemble, optimiser and the best weights so far. Fits :class:`training.loop.Trainer`; a step is an epoch.

    Several processes share the members. Each trains its part of them on the same batches, with the draws that these
    members have in one process. What decides is the mean over all members, and the state is that of all, so that a
    training goes on with any number of processes.
    """

    def __init__(
        self,
        ensemble: PixelEnsemble,
        sampler: PixelSampler,
        validation: Validation | None,
        preset: Preset,
        seed: int,
        host: Host,
    ) -> None:
        self.ensemble, self.preset = ensemble, preset
        self.best_epoch = 0
        self._sampler, self._validation, self._seed = sampler, validation, seed
        self._share = Share(host, ensemble.members)
        self._own = ensemble.subset(self._share.own)
        self._optimiser = _optimiser(self._own, preset)
        self._of_all: Mapping[str, Any] = {
            "ensemble": ensemble.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        self._best: Mapping[str, Tensor] = {}
        self._best_loss = math.inf
        self._epochs = 0

    def step(self, index: int) -> Mapping[str, float]:
        """Train for epoch `index` and remember its weights if they are the best yet; the losses, in nats."""
        losses = {"loss": self._mean(self._train(index))}
        if self._validation is not None:
            losses["validation_loss"] = self._mean(self._validation.losses(self._own))
        self._epochs = index + 1
        optimiser = self._optimiser.state_dict()
        moments = {parameter: self._share.joined(of_it) for parameter, of_it in optimiser["state"].items()}
        self._of_all = {
            "ensemble": self._share.joined(self._own.state_dict()),
            "optimiser": {**optimiser, "state": moments},
        }
        if self._validation is None or losses["validation_loss"] < self._best_loss:
            self._best_loss = losses.get("validation_loss", losses["loss"])
            self._best = {name: tensor.clone() for name, tensor in self._of_all["ensemble"].items()}
            self.best_epoch = self._epochs
        return losses

    def out_of_patience(self) -> bool:
        """Whether the validation loss has not fallen for as many epochs as the preset has patience."""
        if self._validation is None or self.preset.patience is None:
            return False
        return self._epochs - self.best_epoch >= self.preset.patience

    def best_ensemble(self) -> PixelEnsemble:
        """The ensemble, of all members, with its best weights."""
        self.ensemble.load_state_dict(self._best)
        return self.ensemble.eval()

    def state(self) -> Mapping[str, Any]:
        """Everything that the following epochs depend on, of all members."""
        return {
            **self._of_all,
            "best": self._best,
            "best_epoch": self.best_epoch,
            "best_loss": self._best_loss,
            "epochs": self._epochs,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self._of_all = {name: state[name] for name in ("ensemble", "optimiser")}
        self._own.load_state_dict(self._share.cut(state["ensemble"]))
        optimiser = state["optimiser"]
        moments = {parameter: self._share.cut(of_it) for parameter, of_it in optimiser["state"].items()}
        self._optimiser.load_state_dict({**optimiser, "state": moments})
        self._best, self._best_loss = state["best"], state["best_loss"]
        self.best_epoch, self._epochs = state["best_epoch"], state["epochs"]

    def _train(self, epoch: int) -> Tensor:
        """One epoch; the mean loss of each of this process's members."""
        preset, share, device = self.preset, self._share, self._own.mean.device
        steps = max((preset.epoch_pixels or self._sampler.labelled) // preset.batch, 1)
        dropout = torch_draws(self._seed, "dropout", epoch, device=device)
        bootstrap = torch_draws(self._seed, "bootstrap", epoch, device=device)
        noise = Noise(preset.noise_probability, preset.noise_deviation) if preset.noise_probability else None
        numbers = range(epoch * steps, (epoch + 1) * steps)

        def uniform(shape: torch.Size) -> Tensor:
            return share.drawn(lambda members: torch.rand((members, *shape[1:]), generator=dropout, device=device))

        def times_drawn(pixels: int) -> Tensor:
            return share.drawn(
                lambda members: torch.poisson(torch.ones(members, pixels, device=device), generator=bootstrap)
            )

        self._own.train()
        total = torch.zeros(self._own.members, device=device)
        batches = self._sampler.batches(
            numbers, size=preset.batch, seed=self._seed, total=preset.epochs * steps, noise=noise
        )
        for features, labels in batches:
            logits = self._own(torch.from_numpy(features).to(device).T, uniform=uniform)
            target = torch.from_numpy(labels).to(device)
            times = times_drawn(len(target)) if preset.bootstrap else None
            losses = members_losses(logits, target, label_smoothing=preset.label_smoothing, times=times)
            self._optimiser.zero_grad()
            losses.sum().backward()
            self._optimiser.step()
            total += losses.detach()
        return total / steps

    def _mean(self, of_members: Tensor) -> float:
        """Over all members, whoever trains them."""
        return float(self._share.joined_rows(of_members).double().mean())


def _optimiser(ensemble: PixelEnsemble, preset: Preset) -> torch.optim.Optimizer:
    if preset.optimiser == "sgd":
        return torch.optim.SGD(ensemble.parameters(), lr=preset.learning_rate, momentum=preset.momentum)
    return torch.optim.Adam(ensemble.parameters(), lr=preset.learning_rate)
