"""How an ensemble is fitted: the published recipes, and the one that is the default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from hdgan.checks import check_bool, check_choice, check_number
from tiling.errors import InputError

Optimiser = Literal["adam", "sgd"]
_RANGES = {
    "batch": (1, 2**31), "epoch_pixels": (1, 2**31), "epochs": (1, 2**31), "patience": (1, 2**31),
    "learning_rate": (1e-12, 1.0), "dropout": (0.0, 0.9999), "momentum": (0.0, 0.9999),
    "label_smoothing": (0.0, 1.0), "noise_probability": (0.0, 1.0),
    "noise_deviation": (0.0, 1000.0), "weight_deviation": (0.0, 1000.0),
}  # fmt: skip
_MAY_BE_NONE = ("epoch_pixels", "patience", "weight_deviation")


@dataclass(frozen=True)
class Preset:
    """A recipe for :func:`hdgan.pixels.fit`.

    Attributes
    ----------
    hidden
        Widths of the hidden layers.
    hidden_of_many
        Widths where there are 32 classes or more (DatasetGAN).
    dropout
        After the first hidden layer.
    weight_deviation
        Of the normal distribution that weights start from; None: He's, by fan-in.
    optimiser, learning_rate, momentum
        "adam" or "sgd"; momentum is for the latter.
    label_smoothing
        Of the cross-entropy.
    batch, epoch_pixels, epochs
        Pixels per step; pixels per epoch (None: as many as are labelled); epochs at most.
    patience
        Stop after so many epochs without a better validation loss; None: never.
    balanced
        Draw every class equally often, or else as often as it is labelled.
    standardise
        Feed channels with mean 0 and deviation 1 (over all pixels of the training images).
    bootstrap
        Each member draws the pixels of a batch for itself, with replacement, as often as Poisson(1) tells (Oza and
        Russell 2001, section 3); or else all members train on the same.
    noise_probability, noise_deviation
        Normal noise added to the features of a pixel with this probability, in standardised units.
    """

    hidden: tuple[int, ...] = (128, 32)
    hidden_of_many: tuple[int, ...] = (256, 128)
    dropout: float = 0.0
    weight_deviation: float | None = None
    optimiser: Optimiser = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    label_smoothing: float = 0.0
    batch: int = 1024
    epoch_pixels: int | None = None
    epochs: int = 25
    patience: int | None = None
    balanced: bool = True
    standardise: bool = True
    bootstrap: bool = False
    noise_probability: float = 0.0
    noise_deviation: float = 0.0

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None or name not in _MAY_BE_NONE:
                check_number(name, value, least, most, whole=isinstance(most, int))
        check_choice("optimiser", self.optimiser, get_args(Optimiser))
        for name in ("balanced", "standardise", "bootstrap"):
            check_bool(name, getattr(self, name))


_BALANCED = Preset(
    learning_rate=1e-3, batch=512, epoch_pixels=2**13, epochs=40, patience=6, dropout=0.3, bootstrap=True,
    noise_probability=0.5, noise_deviation=0.1,
)  # fmt: skip
PRESETS = {
    "default": replace(_BALANCED, balanced=False),
    "balanced": _BALANCED,
    "paper": Preset(
        dropout=0.3, weight_deviation=0.02, optimiser="sgd", learning_rate=1e-4, momentum=0.9, label_smoothing=0.1,
        batch=65536, epochs=25, noise_probability=0.5, noise_deviation=0.1,
    ),
    "datasetgan": Preset(
        weight_deviation=0.02, learning_rate=1e-3, batch=64, epoch_pixels=2**16, epochs=100, patience=5, balanced=False,
        standardise=False,
    ),
}  # fmt: skip
"""`paper`: HDGAN, Rizvi et al. 2022, and what its authors' code does where the paper is silent. `datasetgan`: Zhang et
al. 2021; the length of an epoch and the patience are ours. `default`: ours, for few images and little time; of the
recipes that were compared on the demo's truth that of the highest macro Dice. `balanced`: the same with as many pixels
of each class, which finds more of what is rare, and takes more for it that is not (see docs/measurements.md).

The members of an ensemble begin with weights of their own, and train together on the same batches with the same noise
on the features. What else differs between them: in `default` and `balanced` dropout, and how often each pixel of a
batch counts (`bootstrap`); in `paper` dropout; in `datasetgan` nothing."""


def preset_of(preset: str | Preset) -> Preset:
    """A preset by name, or the one given."""
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
    return PRESETS[preset]
