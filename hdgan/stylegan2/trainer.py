"""Training of StyleGAN2 with adaptive discriminator augmentation.

Karras et al. 2020a (losses, lazy regularisation, path length) and 2020b (augmentation and its control).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hdgan.stylegan2 import losses
from hdgan.stylegan2.augment import AugmentPipe
from hdgan.stylegan2.data import Batch, Classes, TileBatches, Tiles
from hdgan.stylegan2.discriminator import Discriminator
from hdgan.stylegan2.execution import Execution
from hdgan.stylegan2.generator import Generator
from hdgan.stylegan2.growing import grow_generator
from hdgan.stylegan2.phase_draws import PhaseDraws
from hdgan.stylegan2.presets import TrainConfig
from tiling.errors import InputError
from training.ema import update_average
from training.host import Host
from training.metrics import Level

_W_AVERAGE_BETA = 0.995
_PATH_LENGTH_DECAY = 0.01
_ADA_INTERVAL = 4
_LOW_PRECISION = 4  # of the highest resolutions, as in Karras et al. 2020b, appendix D


def build_networks(config: TrainConfig) -> tuple[Generator, Discriminator]:
    """Freshly initialised networks of a configuration; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        shared: dict[str, Any] = {
            "resolution": config.resolution,
            "c_dim": config.c_dim,
            "channel_base": config.channel_base,
            "channel_max": config.channel_max,
            "conv_clamp": config.conv_clamp,
        }
        generator = Generator(
            z_dim=config.z_dim,
            w_dim=config.w_dim,
            mapping_layers=config.mapping_layers,
            architecture=config.generator_architecture,
            **shared,
        )
        discriminator = Discriminator(
            mbstd_group=config.mbstd_group, architecture=config.discriminator_architecture, **shared
        )
        return generator, discriminator


class StyleGAN2Trainer:
    """Both networks, their optimisers, the average generator and the augmentation, a step at a time.

    Fits :class:`training.loop.Trainer`. Every draw is keyed by the sample's place in the global batch: cut into parts
    or shared by processes, a batch trains the same.
    """

    def __init__(
        self,
        config: TrainConfig,
        tiles: Tiles,
        indices: Sequence[int],
        *,
        classes: Classes | None = None,
        workers: int = 0,
        execution: Execution | None = None,
        host: Host | None = None,
    ) -> None:
        self.config = config
        self.execution = execution or Execution(device="cpu")
        self.host = host or self.execution.host()
        self.device = self.host.device
        self.cut = self.execution.cut(config.batch, config.mbstd_group, self.host)
        self._rows = [sample for part in self.cut.parts for sample in part]
        self.batches = TileBatches(
            tiles, indices, resolution=config.resolution, batch=config.batch, turn=config.turn, mirror=config.mirror,
            seed=config.seed,
            crop=config.crop, classes=classes, c_dim=config.c_dim,
        )  # fmt: skip
        self._workers = workers
        self._stream: Iterator[Batch] | None = None
        self._stream_at = -1
        generator, discriminator = build_networks(config)
        self.generator, self.discriminator = generator.to(self.device), discriminator.to(self.device)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        for network in (self.generator.synthesis, self.discriminator):
            network.set_low_precision(self.execution.low_precision(self.device, config.conv_clamp), _LOW_PRECISION)
        self.generator_optimiser = _lazy_adam(self.generator, config.learning_rate, config.path_length_interval)
        self.discriminator_optimiser = _lazy_adam(self.discriminator, config.learning_rate, config.r1_interval)
        self.augment = AugmentPipe(config.augment).to(self.device)
        self.augment_p = 0.0
        self._real_signs: list[Tensor] = []
        self._ws: list[Tensor] = []
        self.path_length_mean = torch.zeros([], device=self.device)

    def start_from(self, generator: Generator) -> None:
        """Begin with a given generator instead of a fresh one, in the average too; precision is the training's own."""
        if replace(generator.config, fp16_resolutions=self.generator.config.fp16_resolutions) != self.generator.config:
            raise InputError(
                f"the generator to start from is {generator.config}, the training asks for {self.generator.config}"
            )
        for network in (self.generator, self.average):
            network.load_state_dict(generator.state_dict())
            network.licence = generator.licence

    def grow_from(self, generator: Generator) -> None:
        """Begin with a generator of half the resolution, and a fresh block above it."""
        grow_generator(self.generator, generator)
        self.average.load_state_dict(self.generator.state_dict())
        self.average.licence = generator.licence

    def step(self, index: int) -> Mapping[str, float | Tensor]:
        """One iteration on one batch: both networks, each with its regularisation when due."""
        config = self.config
        metrics: dict[str, float | Tensor] = {"loss_g": self._generator_step(index)}
        if config.path_length_weight and index % config.path_length_interval == 0:
            metrics["path_length"] = self._path_length_step(index)
        real = self._real_batch(index)
        metrics["loss_d"] = self._discriminator_step(index, real)
        if config.gamma and index % config.r1_interval == 0:
            metrics["r1"] = self._r1_step(index, real)
        seen = (index + 1) * config.batch
        self._update_average(seen)
        if (index + 1) % _ADA_INTERVAL == 0:
            self._adapt_augmentation()
        return metrics | {"p": Level(self.augment_p), "kimg": Level(seen / 1000)}

    def state(self) -> Mapping[str, Any]:
        """Everything that later steps depend on."""
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "path_length_mean": self.path_length_mean,
            "augment_p": self.augment_p,
            "real_signs": [float(sign) for sign in self._real_signs],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same configuration."""
        for name in ("generator", "discriminator", "average", "generator_optimiser", "discriminator_optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.path_length_mean = state["path_length_mean"].to(self.device)
        self.augment_p = float(state["augment_p"])
        self._real_signs = [torch.tensor(sign, device=self.device) for sign in state["real_signs"]]

    def _real_batch(self, index: int) -> Batch:
        """This process's share of batch `index`, from the stream if it is the next one there."""
        if self._stream is None or self._stream_at != index:
            self._stream = self.batches.stream(
                index, max(self.config.steps, index + 1), device=self.device, workers=self._workers,
                rows=self._rows,
            )  # fmt: skip
        self._stream_at = index + 1
        return next(self._stream)

    def _drawn_c(self, draws: PhaseDraws) -> Tensor:
        """(N, c_dim): conditions for generated images, as often as the tiles have them."""
        return self.batches.draw_c(draws.phase, draws.step, rows=draws.samples).to(self.device)

    def _mixed_w(self, c: Tensor, draws: PhaseDraws) -> Tensor:
        """w (N, num_ws, w_dim) of fresh latents, with style mixing (Karras et al. 2019, section 3.1)."""
        w: Tensor = self.generator.mapping(draws.normal("z", (self.config.z_dim,)), c)
        self._ws.append(w[:, 0].detach())
        crossover = draws.crossover(self.generator.num_ws, self.config.style_mixing)
        if crossover is not None:
            other = self.generator.mapping(draws.normal("mixed z", (self.config.z_dim,)), c)
            w = torch.cat([w[:, :crossover], other[:, crossover:]], dim=1)
        return w

    def _fake_images(self, c: Tensor, draws: PhaseDraws) -> Tensor:
        w = self._mixed_w(c, draws)
        images: Tensor = self.generator.synthesis(w, generator=draws.of_samples("noise", here=True))
        return images

    def _logits(self, images: Tensor, c: Tensor, draws: PhaseDraws, of: str = "augmentation") -> Tensor:
        augmented = self.augment(images, p=self.augment_p, generator=draws.of_samples(of))
        logits: Tensor = self.discriminator(augmented, c)
        return logits

    def _draws(self, phase: str, index: int, samples: Sequence[int]) -> PhaseDraws:
        return PhaseDraws(self.config.seed, phase, index, samples, self.device)

    @contextmanager
    def _phase(
        self, optimiser: torch.optim.Optimizer, *, regularisation: bool = False, share: float | None = None
    ) -> Iterator[None]:
        """Step on the gradients that the parts left, summed over all processes; the mean w follows the batch's mean.

        `share` is how much of the phase is this process's, by default as much as any other's.
        """
        recompute = self.execution.recomputes(self.config.resolution, regularisation=regularisation)
        self.generator.synthesis.recompute = self.discriminator.recompute = recompute
        self._ws = []
        yield
        self.host.sum_gradients(parameter for group in optimiser.param_groups for parameter in group["params"])
        _apply(optimiser)
        if self._ws:
            average = self.generator.mapping.w_avg
            share = 1 / self.host.count if share is None else share
            average.copy_(self.host.sum(torch.cat(self._ws).mean(dim=0) * share).lerp(average, _W_AVERAGE_BETA))

    def _mean(self, of_parts: Sequence[Tensor]) -> Tensor:
        """The mean over the parts of all processes."""
        return self.host.mean(torch.stack(list(of_parts)).mean(dim=0))

    def _generator_step(self, index: int) -> Tensor:
        found = []
        self.discriminator.requires_grad_(False)
        with self._phase(self.generator_optimiser):
            for samples in self.cut.parts:
                draws = self._draws("generator", index, samples)
                c = self._drawn_c(draws)
                loss = losses.generator_loss(self._logits(self._fake_images(c, draws), c, draws)).mean()
                (loss / self._number(self.cut.parts)).backward()
                found.append(loss.detach())
        self.discriminator.requires_grad_(True)
        return self._mean(found)

    def _path_length_step(self, index: int) -> Tensor:
        """Half of the batch, compared with the running mean of the steps before."""
        config, found = self.config, []
        share = self.cut.path_share
        weight = config.path_length_weight * config.path_length_interval / self.cut.path_samples if share else 0.0
        with self._phase(self.generator_optimiser, regularisation=True, share=share):
            for samples in self.cut.path_parts:
                draws = self._draws("path length", index, samples)
                w = self._mixed_w(self._drawn_c(draws), draws)
                images: Tensor = self.generator.synthesis(w, generator=draws.of_samples("noise", here=True))
                noise = draws.normal("path noise", images.shape[1:], here=True) / config.resolution
                lengths = losses.path_lengths(images, w, noise)
                ((lengths - self.path_length_mean).square().sum() * weight).backward()
                found.append(lengths.detach())
        length = self.host.sum(torch.cat(found).mean() * share)
        self.path_length_mean = self.path_length_mean.lerp(length, _PATH_LENGTH_DECAY)
        return length

    def _discriminator_step(self, index: int, real: Batch) -> Tensor:
        found, signs = [], []
        with self._phase(self.discriminator_optimiser):
            for samples in self.cut.parts:
                draws = self._draws("discriminator", index, samples)
                c = self._drawn_c(draws)
                with torch.no_grad():
                    fake = self._fake_images(c, draws)
                fake_loss = losses.fake_loss(self._logits(fake, c, draws)).mean()
                (fake_loss / self._number(self.cut.parts)).backward()
                logits = self._logits(*self._part(real, samples), draws, "augmentation of reals")
                real_loss = losses.real_loss(logits).mean()
                (real_loss / self._number(self.cut.parts)).backward()
                found.append(fake_loss.detach() + real_loss.detach())
                signs.append(logits.detach().sign().mean())
        self._real_signs.append(self._mean(signs))
        return self._mean(found)

    def _r1_step(self, index: int, real: Batch) -> Tensor:
        found = []
        with self._phase(self.discriminator_optimiser, regularisation=True):
            for samples in self.cut.r1_parts:
                images, c = self._part(real, samples)
                images.requires_grad_()
                logits = self._logits(images, c, self._draws("r1", index, samples))
                penalty = losses.r1_penalty(logits, images).mean()
                weight = self.config.gamma / 2 * self.config.r1_interval
                (penalty * weight / self._number(self.cut.r1_parts)).backward()
                found.append(penalty.detach())
        return self._mean(found)

    def _part(self, real: Batch, samples: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The images and conditions of some samples of this process's share."""
        return real.part([self._rows.index(sample) for sample in samples])

    def _number(self, parts: Sequence[Sequence[int]]) -> int:
        """Of parts over all processes."""
        return len(parts) * self.host.count

    def _update_average(self, seen: int) -> None:
        """EMA with a half-life in images, shorter at the start (Karras et al. 2020b, appendix)."""
        half_life = self.config.ema_kimg * 1000
        if self.config.ema_rampup is not None:
            half_life = min(half_life, seen * self.config.ema_rampup)
        update_average(self.average, self.generator, 0.5 ** (self.config.batch / max(half_life, 1e-8)))

    def _adapt_augmentation(self) -> None:
        """Steer p by the sign of D on real images (Karras et al. 2020b, section 3.1).

        p is a probability and is held in [0, 1]; the published code lets it grow beyond.
        """
        overfitting = float(torch.stack(self._real_signs).mean())
        self._real_signs.clear()
        direction = (overfitting > self.config.ada_target) - (overfitting < self.config.ada_target)
        move = direction * self.config.batch * _ADA_INTERVAL / (self.config.ada_kimg * 1000)
        self.augment_p = min(max(self.augment_p + move, 0.0), 1.0)


def _lazy_adam(network: nn.Module, learning_rate: float, interval: int) -> torch.optim.Adam:
    """Adam whose settings make up for the extra regularisation steps: Karras et al. 2020a, appendix B.

    They do so also where the regularisation has weight 0 and never comes, as in the published training.
    """
    ratio = interval / (interval + 1)
    betas = (0.0, 0.99**ratio)
    return torch.optim.Adam(network.parameters(), lr=learning_rate * ratio, betas=betas, eps=1e-8, fused=True)


def _apply(optimiser: torch.optim.Optimizer) -> None:
    """Step on the gradients at hand, with NaN and infinities made harmless, and clear them."""
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                torch.nan_to_num(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
