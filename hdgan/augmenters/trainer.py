"""What all share that train on labelled images."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hdgan.augmenters.batches import Batches, Transform, one_hot, to_tensor
from hdgan.augmenters.images import LabelledImages
from hdgan.augmenters.normalisation import settle
from training.devices import fast_precision
from training.draws import torch_draws
from training.host import Host
from training.share import Share

Made = TypeVar("Made", Tensor, tuple[Tensor, Tensor])

_MEASURED = 16  # batches, for the statistics that samples are normalised by


class ImageTrainer(ABC):
    """Networks and their optimisers, a step at a time; fits :class:`training.loop.Trainer`.

    Draws are keyed by what they are for and by the step, and made for the whole batch: a process takes its rows.

    Attributes
    ----------
    networks, optimisers
        By name: all that later steps depend on.
    precision
        What :meth:`computed` computes in; float32 until :meth:`set_precision` is called.
    """

    precision = torch.float32

    def __init__(
        self,
        images: LabelledImages,
        *,
        batch: int,
        steps: int,
        seed: int,
        host: Host,
        parts: int | None = None,
        transform: Transform | None = None,
        balanced: bool = False,
    ) -> None:
        self.host, self.device, self.seed, self.steps = host, host.device, seed, steps
        self.share = Share.of(batch, host, parts)
        self.classes = len(images.classes)
        self._batches = Batches(images, batch=batch, seed=seed, transform=transform, balanced=balanced)
        self._stream: Iterator[Any] | None = None
        self._stream_at = -1
        self.networks: dict[str, nn.Module] = {}
        self.optimisers: dict[str, torch.optim.Optimizer] = {}

    @abstractmethod
    def step(self, index: int) -> Mapping[str, float | Tensor]:
        """Do step `index` and return its losses, each by its name."""

    def set_precision(self, wanted: str) -> None:
        """Compute networks in "fp32", "bf16", or what is fast on the device ("auto")."""
        lower = {"fp32": torch.float32, "bf16": torch.bfloat16, "auto": fast_precision(self.device)}
        self.precision = lower[wanted]

    def computed(self, network: Callable[..., Made], *inputs: Tensor) -> Made:
        """What a network makes of tensors: computed in the training's precision, and given in float32."""
        if self.precision == torch.float32:
            return network(*inputs)
        with torch.autocast(self.device.type, self.precision):
            made = network(*inputs)
        if isinstance(made, Tensor):
            return made.float()
        first, second = made
        return first.float(), second.float()

    def state(self) -> Mapping[str, Any]:
        """Everything that later steps depend on."""
        return {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same configuration."""
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])

    def real(self, index: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batch `index`, a part of this process at a time: images (n, C, H, W) in [-1, 1], classes (n, K) one-hot."""
        if self._stream is None or self._stream_at != index:
            self._stream = self._batches.stream(index, max(self.steps, index + 1), self.share.samples)
        self._stream_at = index + 1
        pixels, labels = next(self._stream)
        images, c = to_tensor(pixels, self.device), one_hot(torch.from_numpy(labels).to(self.device), self.classes)
        yield from zip(images.split(self._size), c.split(self._size), strict=True)

    def normal(self, purpose: str, index: int, *shape: int) -> tuple[Tensor, ...]:
        """Standard normal numbers (n, *shape) for each part of this process."""
        drawn = torch.randn(self.share.batch, *shape, generator=torch_draws(self.seed, purpose, index))
        parts: tuple[Tensor, ...] = drawn[list(self.share.samples)].to(self.device).split(self._size)
        return parts

    def descend(self, name: str, loss: Tensor, *, again: bool = False) -> None:
        """Add a part's gradient to those of an optimiser's parameters, and of no other; `again` keeps the graph."""
        parameters = [p for group in self.optimisers[name].param_groups for p in group["params"]]
        (loss / self.share.count).backward(inputs=parameters, retain_graph=again)

    def update(self, name: str) -> None:
        """Step an optimiser on the gradients that the parts left, summed over all processes."""
        optimiser = self.optimisers[name]
        self.host.sum_gradients(p for group in optimiser.param_groups for p in group["params"])
        optimiser.step()
        optimiser.zero_grad()

    def mean(self, losses: Iterable[Tensor]) -> Tensor:
        """The mean over the parts of all processes."""
        return self.host.mean(torch.stack([loss.detach() for loss in losses]).mean())

    def labelled(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Some batches of the real images: images (n, C, H, W) in [-1, 1], and classes (n, K)."""
        for index in range(_MEASURED):
            pixels, labels = self._batches.read(index, range(self.share.batch))
            images, c = to_tensor(pixels, self.device), one_hot(torch.from_numpy(labels), self.classes)
            yield from zip(images.split(self._size), c.to(self.device).split(self._size), strict=True)

    def shown(self) -> Iterator[tuple[Tensor]]:
        """The images of these."""
        return ((images,) for images, _ in self.labelled())

    @property
    def _size(self) -> int:
        return len(self.share.parts[0])


class SamplerTrainer(ImageTrainer):
    """One among whose networks is one that samples come from."""

    @abstractmethod
    def sampler(self) -> nn.Module:
        """The network that samples come from as it is now, ready to be used: see :meth:`settled`."""

    def settled(self, network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> nn.Module:
        """A copy of a network, its batch norm measured over some batches of its inputs, in evaluation mode."""
        network = copy.deepcopy(network)
        settle(network, batches)
        return network.requires_grad_(False)

    def drawn(self, latent: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Some batches as in training: z (n, latent), and classes (n, K) as often as it shows them."""
        for index in range(_MEASURED):
            z = torch.randn(self.share.batch, latent, generator=torch_draws(self.seed, "latents to measure", index))
            c = one_hot(torch.from_numpy(self._batches.labels(index)), self.classes)
            yield from zip(z.to(self.device).split(self._size), c.to(self.device).split(self._size), strict=True)
