"""The training of an ensemble, epoch by epoch, with a checkpoint from which it goes on exactly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import cross_entropy

from hdgan.pixels.ensemble import PixelEnsemble
from hdgan.pixels.presets import Preset
from hdgan.pixels.sampling import Noise, PixelSampler
from tiling.files import write_bytes

_BATCHES, _DROPOUT, _VALIDATION = 0, 1, 2  # phases of the run: each draws by seeds of its own
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
        drawn = sampler.draw(min(sampler.labelled, _VALIDATION_PIXELS), np.random.default_rng([seed, _VALIDATION]))
        features = torch.from_numpy(sampler.features(drawn)).to(device)
        return cls(features.T, torch.from_numpy(drawn.label).to(device))

    @torch.no_grad()
    def loss(self, ensemble: PixelEnsemble) -> float:
        """Mean cross-entropy in nats over members and pixels."""
        ensemble.eval()
        total = 0.0
        for start in range(0, len(self.labels), _VALIDATION_BATCH):
            here = slice(start, start + _VALIDATION_BATCH)
            total += float(members_loss(ensemble(self.features[:, here]), self.labels[here])) * len(self.labels[here])
        return total / (ensemble.members * len(self.labels))


def members_loss(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Sum over members of their mean cross-entropy: each trains as if alone. (M, K, n), (n,) -> scalar."""
    return cross_entropy(logits, labels.expand(len(logits), -1), label_smoothing=label_smoothing) * len(logits)


class EnsembleTrainer:
    """All state of a fit: ensemble, optimiser, the best weights so far and the history of the losses."""

    def __init__(
        self,
        ensemble: PixelEnsemble,
        sampler: PixelSampler,
        validation: Validation | None,
        preset: Preset,
        seed: int,
    ) -> None:
        self.ensemble, self.preset = ensemble, preset
        self._sampler, self._validation, self._seed = sampler, validation, seed
        self._optimiser = _optimiser(ensemble, preset)
        self._best = _copy(ensemble)
        self._best_epoch = 0
        self._history: list[dict[str, float]] = []

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return len(self._history)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the validation loss has not fallen for as many as the preset has patience."""
        patience = self.preset.patience
        waited = self._validation is not None and patience is not None and self.epoch - self._best_epoch >= patience
        return self.epoch >= self.preset.epochs or waited

    def run_epoch(self) -> None:
        """Train for one epoch and remember its weights if they are the best yet."""
        losses = {"loss": self._train()}
        if self._validation is not None:
            losses["validation_loss"] = self._validation.loss(self.ensemble)
        earlier = [entry["validation_loss"] for entry in self._history if "validation_loss" in entry]
        self._history.append(losses)
        if self._validation is None or losses["validation_loss"] < min(earlier, default=float("inf")):
            self._best, self._best_epoch = _copy(self.ensemble), self.epoch

    def best_ensemble(self) -> PixelEnsemble:
        """The ensemble with its best weights."""
        self.ensemble.load_state_dict(self._best)
        return self.ensemble.eval()

    def summary(self) -> dict[str, Any]:
        """Epochs, the best of them (counted from 1), and the losses of each, in nats."""
        return {"epochs": self.epoch, "best_epoch": self._best_epoch, "history": self._history}

    def describe(self) -> str:
        """The last epoch's losses, for a progress bar."""
        return ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in self._history[-1].items())

    def save(self, path: Path) -> None:
        """Write everything that the following epochs depend on, atomically."""
        tensors = {f"model.{name}": tensor for name, tensor in self.ensemble.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self._best.items()}
        for index, state in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
        metadata = {"summary": json.dumps(self.summary())}
        write_bytes(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata=metadata))

    def restore(self, path: Path) -> None:
        """Go on from what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            summary = json.loads(file.metadata()["summary"])
        self._history, self._best_epoch = summary["history"], summary["best_epoch"]
        self.ensemble.load_state_dict(_of(tensors, "model."))
        self._best = _of(tensors, "best.")
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _of(tensors, "optimiser.").items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
        self._optimiser.load_state_dict(self._optimiser.state_dict() | {"state": state})

    def _train(self) -> float:
        """One epoch; the mean loss of members and pixels."""
        preset, device = self.preset, self.ensemble.mean.device
        steps = max((preset.epoch_pixels or self._sampler.labelled) // preset.batch, 1)
        seeds = np.random.SeedSequence([self._seed, _DROPOUT, self.epoch]).generate_state(1, np.uint64)
        dropout = torch.Generator(device).manual_seed(int(seeds[0] >> 1))
        noise = Noise(preset.noise_probability, preset.noise_deviation) if preset.noise_probability else None
        key = (self._seed, _BATCHES, self.epoch)
        self.ensemble.train()
        total = torch.zeros((), device=device)
        for features, labels in self._sampler.batches(size=preset.batch, count=steps, key=key, noise=noise):
            logits = self.ensemble(torch.from_numpy(features).to(device).T, generator=dropout)
            loss = members_loss(logits, torch.from_numpy(labels).to(device), preset.label_smoothing)
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


def _of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
