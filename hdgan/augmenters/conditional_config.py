"""The settings that the methods of strided convolutions share."""

from __future__ import annotations

from dataclasses import dataclass

from hdgan.checks import check_bool, check_number

MOST_BETA = 1 - 1e-6
"""Of Adam, which takes less than 1."""


@dataclass(frozen=True)
class ConditionalConfig:
    """Settings of CVAE, DCGAN and CVAEDCGAN.

    Attributes
    ----------
    steps, batch
        Of the training; images in a step.
    latent
        Dimensions of z.
    width
        Channels of the maps of half the images' size, in all networks.
    learning_rate, beta1, beta2
        Of Adam.
    average
        How much of the average of the weights of the network that makes images, which samples come from, is left by a
        step; 0: no average.
    balanced
        Whether each class is shown as often as any other, however few images it has.
    parts
        In how many parts a batch goes through the networks (:class:`training.share.Share`); None: one for each process.
    """

    steps: int = 5000
    batch: int = 128
    latent: int = 100
    width: int = 64
    learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    average: float = 0.995
    balanced: bool = True
    parts: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "latent", "width"):
            check_number(name, getattr(self, name), 1, 2**31)
        for name in ("learning_rate", "average"):
            check_number(name, getattr(self, name), 0, 1, whole=False)
        for name in ("beta1", "beta2"):
            check_number(name, getattr(self, name), 0, MOST_BETA, whole=False)
        check_bool("balanced", self.balanced)
        if self.parts is not None:
            check_number("parts", self.parts, 1, 2**31)
