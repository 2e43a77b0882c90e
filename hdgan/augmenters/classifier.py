"""A classifier of images: what augmenters are judged by, and what GMCL trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softmax

from hdgan.augmenters.base import LAST_SEED, ORIGINS, PRECISIONS, Shape
from hdgan.augmenters.batches import Transform, to_tensor
from hdgan.augmenters.classifier_networks import ClassifierNetwork, network_of
from hdgan.augmenters.images import LabelledImages, Pixels, check_pixels
from hdgan.augmenters.normalisation import settle
from hdgan.augmenters.sources import ImageSource, as_images
from hdgan.augmenters.trainer import ImageTrainer
from hdgan.augmenters.work import together
from hdgan.checks import check_bool, check_choice, check_number, check_texts, plain
from tiling.errors import InputError
from tiling.stage import Stage
from training.checkpoint import build_network, load_weights, save_weights
from training.draws import drawing
from training.host import Host
from training.loop import CHECKPOINTS, LoopConfig, run_loop

CLASSIFIER = "classifier.safetensors"
Floats = npt.NDArray[np.float32]

_KIND = "classifier"
_AT_ONCE = 256


@dataclass(frozen=True)
class ClassifierConfig:
    """How a classifier is trained.

    Attributes
    ----------
    steps, batch
        Of the training; images in a step.
    learning_rate
        Of Adam.
    network
        "strided", or "student": GMCL's.
    width, dropout
        Of the network; a student has no dropout.
    balanced
        Whether each class is shown as often as any other, however few images it has.
    """

    steps: int = 1000
    batch: int = 128
    learning_rate: float = 1e-3
    network: str = "strided"
    width: int = 64
    dropout: float = 0.3
    balanced: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "width"):
            check_number(name, getattr(self, name), 1, 2**31)
        for name in ("learning_rate", "dropout"):
            check_number(name, getattr(self, name), 0, 1, whole=False)
        check_choice("network", self.network, ("strided", "student"))
        check_bool("balanced", self.balanced)

    @property
    def about_network(self) -> dict[str, Any]:
        """What :func:`network_of` makes the network of."""
        dropout = {"dropout": self.dropout} if self.network == "strided" else {}
        return {"kind": self.network, "width": self.width, **dropout}


class Classifier:
    """A network that is trained, with the classes that it tells apart.

    Parameters
    ----------
    network
        In evaluation mode.
    shape
        Of the images, and the classes.
    about
        What the network is made of again when it is read from a file: its kind, and its settings.
    """

    def __init__(self, network: ClassifierNetwork, shape: Shape, about: Mapping[str, Any]) -> None:
        self.network, self.shape, self.about = network.eval().requires_grad_(False), shape, dict(about)
        self.licence: tuple[str, ...] = ()

    def predict(self, pixels: Pixels) -> Floats:
        """Probabilities of the classes, (N, K) float32, of images (N, H, W, C) uint8."""
        return self._over(pixels, lambda images: softmax(self.network(images), dim=1))

    def embed(self, pixels: Pixels) -> Floats:
        """What the last layer sees of images, (N, F) float32."""
        return self._over(pixels, self.network.features)

    def passes(self, pixels: Pixels, *, count: int, seed: int = 0) -> Floats:
        """Probabilities with units dropped as in training, (count, N, K) float32: Gal and Ghahramani 2016."""
        require_dropout(self.network)
        try:
            for layer in self.network.modules():
                layer.train(isinstance(layer, nn.Dropout))
            with drawing(seed, "dropout passes", device=self._device):
                return np.stack([self.predict(pixels) for _ in range(count)])
        finally:
            self.network.eval()

    def save(self, path: Path | str) -> None:
        """Write it atomically, as safetensors with JSON in the header."""
        about = {"network": self.about, "shape": asdict(self.shape), "licence": list(self.licence)}
        save_weights(Path(path), self.network.state_dict(), kind=_KIND, about=about)

    @classmethod
    def load(cls, path: Path | str, *, device: str | torch.device = "cpu") -> Self:
        """Read what :meth:`save` wrote; anything else is an :class:`InputError`."""
        path = Path(path)
        tensors, about = load_weights(path, kind=_KIND, needs=("network", "shape", "licence"))
        check_texts("licence", about["licence"])
        shape = Shape.read(about["shape"])
        network = build_network(lambda: network_of(about["network"], shape), tensors, path)
        found = cls(network.to(device), shape, about["network"])
        found.licence = tuple(about["licence"])
        return found

    @property
    def _device(self) -> torch.device:
        return self.network.head.weight.device

    @torch.no_grad()
    def _over(self, pixels: Pixels, of: Callable[[Tensor], Tensor]) -> Floats:
        if pixels.shape[0]:
            check_pixels(pixels)
        if tuple(pixels.shape[1:]) != (self.shape.size, self.shape.size, self.shape.channels):
            raise InputError(f"this classifier takes images of {self.shape}; these are {_told(pixels)}")
        parts = np.array_split(np.arange(pixels.shape[0]), max(-(-pixels.shape[0] // _AT_ONCE), 1))
        return np.concatenate([of(to_tensor(pixels[part], self._device)).cpu().numpy() for part in parts])


def require_dropout(network: nn.Module) -> None:
    """An :class:`InputError` unless a network has dropout, with which :meth:`Classifier.passes` are taken."""
    if not any(layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)):
        raise InputError(
            "confidence is measured with dropout, of which this classifier has none, as GMCL's students have none: "
            "choose by centroid or distance, or take a classifier with dropout"
        )


def _told(pixels: Pixels) -> str:
    _, height, width, channels = pixels.shape
    return f"{height} x {width} px, {'grey' if channels == 1 else 'RGB'}"


def fit_classifier(
    images: ImageSource,
    *,
    run: Path | str,
    config: ClassifierConfig | None = None,
    seed: int = 0,
    transform: Transform | None = None,
    device: str = "auto",
    precision: str = "auto",
    redo: bool = False,
) -> Classifier:
    """Train a classifier; one that was stopped goes on when this is called again.

    Started by `torchrun` or `accelerate launch`, processes share every batch.

    Parameters
    ----------
    images
        To train on, as :meth:`hdgan.augmenters.Augmenter.fit` takes them.
    run
        Folder for `classifier.safetensors` and `metrics.jsonl`.
    config
        How it is trained.
    seed
        Of all draws.
    transform
        What each image goes through every time that it is shown.
    device
        "auto" (a GPU if there is one), "cpu" or "cuda".
    precision
        As for :meth:`hdgan.augmenters.Augmenter.fit`.
    redo
        Discard what is there.

    Raises
    ------
    InputError
        For fewer images than a batch.
    """
    seed = plain(seed)
    check_number("seed", seed, 0, LAST_SEED)
    check_choice("precision", precision, PRECISIONS)
    images = as_images(images)
    config, run, host, shape = config or ClassifierConfig(), Path(run), Host(device), Shape.of(images)
    trainer = _ClassifierTrainer(config, images, seed=seed, host=host, transform=transform)
    trainer.set_precision(precision)
    settings = {
        **asdict(config),
        "seed": seed,
        "parts": trainer.share.count,
        "transform": None if transform is None else repr(transform),
        "classes": images.counts,
        "images": images.fingerprint(),
    }
    loop = LoopConfig(steps=config.steps, images=config.batch)

    def make(stage: Stage | None) -> None:
        run_loop(trainer, run, loop, "classifier", host=host)
        if stage is None:
            return
        settle(trainer.network, trainer.shown())
        made = Classifier(trainer.network.cpu(), shape, config.about_network)
        made.licence = images.licence
        made.save(run / CLASSIFIER)
        stage.finish(principal=[run / CLASSIFIER], licence=images.licence)

    defaults = asdict(ClassifierConfig())
    begin = partial(
        Stage.begin, run, name="classifier", config=settings, inputs={}, origins=ORIGINS,
        as_now=lambda made: {**defaults, **made}, redo=redo,
    )  # fmt: skip
    together(host, begin, make, temporary=run / CHECKPOINTS)
    return Classifier.load(run / CLASSIFIER, device=host.device)


class _ClassifierTrainer(ImageTrainer):
    def __init__(
        self,
        config: ClassifierConfig,
        images: LabelledImages,
        *,
        seed: int,
        host: Host,
        transform: Transform | None,
    ) -> None:
        super().__init__(
            images, batch=config.batch, steps=config.steps, seed=seed, host=host, transform=transform,
            balanced=config.balanced,
        )  # fmt: skip
        with drawing(seed, "weights"):
            self.network = network_of(config.about_network, Shape.of(images)).to(self.device)
        self.networks = {"classifier": self.network}
        self.optimisers = {"classifier": torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)}

    def step(self, index: int) -> Mapping[str, float | Tensor]:
        losses = []
        self.network.train()
        for part, (images, c) in enumerate(self.real(index)):
            with drawing(self.seed, f"dropout of part {self.share.parts[part].start}", index, device=self.device):
                loss = cross_entropy(self.computed(self.network, images), c)
            (loss / self.share.count).backward()
            losses.append(loss)
        self.update("classifier")
        return {"loss": self.mean(losses)}
