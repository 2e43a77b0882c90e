"""Fit a segmentation network on image-mask pairs; a killed run goes on to the same result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from hdgan.labels import UNLABELLED, ClassList
from hdgan.segment.crops import LabelledImages, draw_crop, survey
from hdgan.segment.network import STRIDE, UNet
from hdgan.segment.precision import autocast
from hdgan.segment.predict import Segmenter, place_network, to_network
from tiling.errors import InputError
from tiling.files import remove, replacing
from tiling.progress import bar
from tiling.stage import Stage

_CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class FitConfig:
    """How a network is fitted; everything here decides the result."""

    steps: int
    batch: int
    """Crops in a step."""
    crop: int
    """Side of a crop, px, a multiple of 8."""
    seed: int
    balanced: bool
    """Draw crops by class, so that rare classes are seen as often as common ones."""
    width: int
    """Channels of the network at full resolution."""
    learning_rate: float = 5e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "crop", "width", "learning_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.crop % STRIDE:
            raise InputError(f"crop must be a multiple of {STRIDE} px, not {self.crop}")
        if self.seed < 0 or self.weight_decay < 0:
            raise InputError(f"seed and weight_decay must not be negative, not {self.seed} and {self.weight_decay}")

    def rate_at(self, step: int) -> float:
        """Learning rate: linear over the first twentieth, then half a cosine down to zero."""
        warm_up = max(1, self.steps // 20)
        decayed = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * min(1.0, (step + 1) / warm_up) * decayed


def fit_segmenter(
    pairs: LabelledImages,
    out: Path,
    *,
    classes: ClassList,
    steps: int = 400,
    batch: int = 16,
    crop: int = 96,
    seed: int = 0,
    balanced: bool = True,
    width: int = 16,
    inputs: Mapping[str, Path] | None = None,
    checkpoint_every: int = 100,
    device: str = "cpu",
    redo: bool = False,
) -> Segmenter:
    """Fit a U-Net by cross-entropy and soft Dice (Milletari et al. 2016, V-Net, section 3); 255 is ignored.

    Every crop's draws are keyed by (seed, step, place in the batch): a run that was killed goes on from its last
    checkpoint when called again, and ends with the weights of one that was not (on the same kind of machine and
    number of threads).

    Parameters
    ----------
    pairs
        (H, W, 3) uint8 images and (H, W) uint8 labels by index, read as they are drawn.
    out
        Folder for weights, `config.json`, `classes.json` and the record of the stage.
    classes
        The classes of the labels.
    steps, batch, crop, seed, balanced, width
        As in :class:`FitConfig`; the defaults suit about a hundred tiles of 128 px.
    inputs
        The folders that the pairs come from, for the record. Without them the record holds a fingerprint of
        the pairs.
    checkpoint_every
        Steps between checkpoints.
    device
        Where to fit, as torch names it.
    redo
        Discard what is in `out`.

    Returns
    -------
    Segmenter
        The fitted network; read back when `out` is complete already.

    Raises
    ------
    InputError
        For pairs that cannot be learnt from, or an `out` made from other pairs or settings.
    """
    config = FitConfig(steps=steps, batch=batch, crop=crop, seed=seed, balanced=balanced, width=width)
    if checkpoint_every < 1:
        raise InputError(f"checkpoint_every must be at least 1 step, not {checkpoint_every}")
    surveyed = survey(pairs, classes, crop=config.crop)
    settings = asdict(config) | {"classes": classes.names}
    if not inputs:
        settings["pairs"] = surveyed.fingerprint
    stage = Stage.begin(out, name="segment", config=settings, inputs=inputs or {}, redo=redo)
    if not stage.complete:
        network, loss = _fit(pairs, surveyed.present, out / _CHECKPOINT, config, checkpoint_every, torch.device(device))
        Segmenter(network, classes).save(out)
        remove(out / _CHECKPOINT)
        stage.finish(principal=[out / "network.safetensors"], summary={"steps": config.steps, "loss": loss})
    return Segmenter.load(out, device=device)


def _fit(
    pairs: LabelledImages,
    present: npt.NDArray[np.bool_],
    checkpoint: Path,
    config: FitConfig,
    checkpoint_every: int,
    device: torch.device,
) -> tuple[UNet, float]:
    """Run the steps that are left; the network and the last step's loss."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = UNet(present.shape[1], width=config.width)
    place_network(network, device).train()
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay)
    first = _restore(checkpoint, network, optimiser) if checkpoint.exists() else 0
    value = math.nan
    with bar() as progress:
        task = progress.add_task("fitting a segmenter", total=config.steps, completed=first, detail="")
        for step in range(first, config.steps):
            images, labels = _batch(pairs, present, config, step)
            for group in optimiser.param_groups:
                group["lr"] = config.rate_at(step)
            with autocast(device):
                logits = network(to_network(images.to(device)))
            loss = segmentation_loss(logits.float(), labels.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            value = loss.item()
            if (step + 1) % checkpoint_every == 0 and step + 1 < config.steps:
                _keep(checkpoint, network, optimiser, step + 1)
            progress.update(task, advance=1, detail=f"loss {value:.3f}")
    return network.eval(), value


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice loss over the labelled pixels.

    Parameters
    ----------
    logits
        (N, K, H, W) float32.
    labels
        (N, H, W) uint8, 255 ignored.

    Returns
    -------
    Tensor
        Scalar; the Dice part averages over the classes that occur in the batch, 0 where nothing is labelled.
    """
    known = labels != UNLABELLED
    target = torch.where(known, labels, 0).long()
    entropy = (functional.cross_entropy(logits, target, reduction="none") * known).sum() / known.sum().clamp(min=1)
    truth = functional.one_hot(target, logits.shape[1]).movedim(-1, 1) * known[:, None]
    probabilities = logits.softmax(dim=1) * known[:, None]
    area = truth.sum(dim=(0, 2, 3))
    overlap = (probabilities * truth).sum(dim=(0, 2, 3))
    dice = (2 * overlap + 1) / (probabilities.sum(dim=(0, 2, 3)) + area + 1)
    present = area > 0
    return entropy + ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def _batch(
    pairs: LabelledImages, present: npt.NDArray[np.bool_], config: FitConfig, step: int
) -> tuple[Tensor, Tensor]:
    """The crops (batch, crop, crop, 3) uint8 of a step and their labels (batch, crop, crop) uint8."""
    crops = [
        draw_crop(
            pairs,
            present,
            np.random.default_rng([config.seed, step, sample]),
            crop=config.crop,
            balanced=config.balanced,
        )
        for sample in range(config.batch)
    ]
    images, labels = (np.stack(part) for part in zip(*crops, strict=True))
    return torch.from_numpy(images), torch.from_numpy(labels)


def _state(network: UNet, optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that a step changes, by name; the tensors themselves, not copies."""
    yield from ((f"network.{name}", tensor) for name, tensor in network.state_dict().items())
    for index, moments in optimiser.state_dict()["state"].items():
        yield from ((f"optimiser.{index}.{name}", tensor) for name, tensor in moments.items())


def _keep(checkpoint: Path, network: UNet, optimiser: torch.optim.Optimizer, step: int) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _state(network, optimiser)}
    with replacing(checkpoint) as partial:
        save_file(tensors, partial, metadata={"step": str(step)})


def _restore(checkpoint: Path, network: UNet, optimiser: torch.optim.Optimizer) -> int:
    """Put a checkpoint's tensors in place; the number of steps it has behind it."""
    with safe_open(checkpoint, framework="pt") as file:
        step = int(file.metadata()["step"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    moments: dict[int, dict[str, Tensor]] = {}
    for name in [name for name in tensors if name.startswith("optimiser.")]:
        _, index, moment = name.split(".")
        moments.setdefault(int(index), {})[moment] = tensors.pop(name)
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in tensors.items()})
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    return step
