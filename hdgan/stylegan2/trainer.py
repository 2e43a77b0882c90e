"""Training of StyleGAN2 with adaptive discriminator augmentation.

Karras et al. 2020a (losses, lazy regularisation, path length) and 2020b (augmentation and its control).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hdgan.stylegan2 import losses
from hdgan.stylegan2.augment import AugmentPipe
from hdgan.stylegan2.data import Batch, Classes, TileBatches, Tiles
from hdgan.stylegan2.discriminator import Discriminator
from hdgan.stylegan2.generator import Generator
from hdgan.stylegan2.presets import TrainConfig
from tiling.errors import InputError
from training.draws import torch_draws
from training.ema import update_average
from training.metrics import Level

_W_AVERAGE_BETA = 0.995
_PATH_LENGTH_DECAY = 0.01
_ADA_INTERVAL = 4


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
        generator = Generator(z_dim=config.z_dim, w_dim=config.w_dim, mapping_layers=config.mapping_layers, **shared)
        return generator, Discriminator(mbstd_group=config.mbstd_group, **shared)


class StyleGAN2Trainer:
    """Both networks, their optimisers, the average generator and the augmentation, a step at a time.

    Fits :class:`training.loop.Trainer`.
    """

    def __init__(
        self,
        config: TrainConfig,
        tiles: Tiles,
        indices: Sequence[int],
        *,
        classes: Classes | None = None,
        workers: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self.config = config
        self.device = device or torch.device("cpu")
        self.batches = TileBatches(
            tiles, indices, resolution=config.resolution, batch=config.batch, turn=config.turn, seed=config.seed,
            crop=config.crop, classes=classes, c_dim=config.c_dim,
        )  # fmt: skip
        self._workers = workers
        self._stream: Iterator[Batch] | None = None
        self._stream_at = -1
        generator, discriminator = build_networks(config)
        self.generator, self.discriminator = generator.to(self.device), discriminator.to(self.device)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.generator_optimiser = _lazy_adam(self.generator, config.learning_rate, config.path_length_interval)
        self.discriminator_optimiser = _lazy_adam(self.discriminator, config.learning_rate, config.r1_interval)
        self.augment = AugmentPipe(config.augment).to(self.device)
        self.augment_p = 0.0
        self._real_signs: list[float] = []
        self.path_length_mean = torch.zeros([], device=self.device)

    def start_from(self, generator: Generator) -> None:
        """Begin with a given generator instead of a fresh one, in the average too."""
        if generator.config != self.generator.config:
            raise InputError(
                f"the generator to start from is {generator.config}, the training asks for {self.generator.config}"
            )
        for network in (self.generator, self.average):
            network.load_state_dict(generator.state_dict())
            network.licence = generator.licence

    def step(self, index: int) -> Mapping[str, float]:
        """One iteration on one batch: both networks, each with its regularisation when due."""
        config = self.config
        metrics = {"loss_g": self._generator_step(index)}
        if config.path_length_weight and index % config.path_length_interval == 0:
            metrics["path_length"] = self._path_length_step(index)
        real = self._real_batch(index)
        metrics |= self._discriminator_step(index, real)
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
            "real_signs": self._real_signs,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same configuration."""
        for name in ("generator", "discriminator", "average", "generator_optimiser", "discriminator_optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.path_length_mean = state["path_length_mean"].to(self.device)
        self.augment_p = float(state["augment_p"])
        self._real_signs = list(state["real_signs"])

    def _draws(self, purpose: str, index: int) -> torch.Generator:
        return torch_draws(self.config.seed, purpose, index)

    def _real_batch(self, index: int) -> Batch:
        """Batch `index`, from the stream if it is the next one there."""
        if self._stream is None or self._stream_at != index:
            stop = max(self.config.steps, index + 1)
            self._stream = self.batches.stream(index, stop, device=self.device, workers=self._workers)
        self._stream_at = index + 1
        return next(self._stream)

    def _mixed_w(self, c: Tensor, draws: torch.Generator) -> Tensor:
        """w (N, num_ws, w_dim) of fresh latents, with style mixing (Karras et al. 2019, section 3.1).

        The mean w follows the batch means of every phase.
        """
        z = torch.randn((len(c), self.config.z_dim), generator=draws).to(self.device)
        w: Tensor = self.generator.mapping(z, c)
        average = self.generator.mapping.w_avg
        average.copy_(w[:, 0].detach().mean(dim=0).lerp(average, _W_AVERAGE_BETA))
        other = torch.randn((len(c), self.config.z_dim), generator=draws).to(self.device)
        crossover = int(torch.randint(1, self.generator.num_ws, (), generator=draws))
        if float(torch.rand((), generator=draws)) < self.config.style_mixing:
            w = torch.cat([w[:, :crossover], self.generator.mapping(other, c)[:, crossover:]], dim=1)
        return w

    def _drawn_c(self, purpose: str, index: int, count: int) -> Tensor:
        return self.batches.draw_c(purpose, index, count=count).to(self.device)

    def _fake_images(self, c: Tensor, draws: torch.Generator) -> Tensor:
        w = self._mixed_w(c, draws)
        images: Tensor = self.generator.synthesis(w, noise="random", generator=draws)
        return images

    def _logits(self, images: Tensor, c: Tensor, draws: torch.Generator) -> Tensor:
        logits: Tensor = self.discriminator(self.augment(images, p=self.augment_p, generator=draws), c)
        return logits

    def _generator_step(self, index: int) -> float:
        draws = self._draws("generator", index)
        self.discriminator.requires_grad_(False)
        c = self._drawn_c("generator", index, self.config.batch)
        loss = losses.generator_loss(self._logits(self._fake_images(c, draws), c, draws))
        loss.backward()
        self.discriminator.requires_grad_(True)
        _apply(self.generator_optimiser)
        return float(loss.detach())

    def _path_length_step(self, index: int) -> float:
        draws = self._draws("path length", index)
        config = self.config
        w = self._mixed_w(self._drawn_c("path length", index, config.batch // 2), draws)
        images: Tensor = self.generator.synthesis(w, noise="random", generator=draws)
        noise = torch.randn(images.shape, generator=draws).to(self.device) / config.resolution
        lengths = losses.path_lengths(images, w, noise)
        mean = self.path_length_mean.lerp(lengths.detach().mean(), _PATH_LENGTH_DECAY)
        self.path_length_mean = mean
        penalty = (lengths - mean).square().mean()
        (penalty * config.path_length_weight * config.path_length_interval).backward()
        _apply(self.generator_optimiser)
        return float(lengths.detach().mean())

    def _discriminator_step(self, index: int, real: Batch) -> dict[str, float]:
        draws = self._draws("discriminator", index)
        with torch.no_grad():
            c = self._drawn_c("discriminator", index, len(real.c))
            fake = self._fake_images(c, draws)
        fake_loss = losses.fake_loss(self._logits(fake, c, draws))
        fake_loss.backward()
        real_logits = self._logits(real.images, real.c, draws)
        real_loss = losses.real_loss(real_logits)
        real_loss.backward()
        _apply(self.discriminator_optimiser)
        self._real_signs.append(float(real_logits.detach().sign().mean()))
        return {"loss_d": float(fake_loss.detach()) + float(real_loss.detach())}

    def _r1_step(self, index: int, real: Batch) -> float:
        images = real.images.detach().requires_grad_()
        logits = self._logits(images, real.c, self._draws("r1", index))
        penalty = losses.r1_penalty(logits, images).mean()
        (penalty * self.config.gamma / 2 * self.config.r1_interval).backward()
        _apply(self.discriminator_optimiser)
        return float(penalty.detach())

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
        overfitting = sum(self._real_signs) / len(self._real_signs)
        self._real_signs.clear()
        direction = (overfitting > self.config.ada_target) - (overfitting < self.config.ada_target)
        move = direction * self.config.batch * _ADA_INTERVAL / (self.config.ada_kimg * 1000)
        self.augment_p = min(max(self.augment_p + move, 0.0), 1.0)


def _lazy_adam(network: nn.Module, learning_rate: float, interval: int) -> torch.optim.Adam:
    """Adam whose settings make up for the extra regularisation steps: Karras et al. 2020a, appendix B.

    They do so also where the regularisation has weight 0 and never comes, as in the published training.
    """
    ratio = interval / (interval + 1)
    return torch.optim.Adam(network.parameters(), lr=learning_rate * ratio, betas=(0.0, 0.99**ratio), eps=1e-8)


def _apply(optimiser: torch.optim.Optimizer) -> None:
    """Step on the gradients at hand, with NaN and infinities made harmless, and clear them."""
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                torch.nan_to_num(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
