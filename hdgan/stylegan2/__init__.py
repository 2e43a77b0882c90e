"""StyleGAN2-ADA: generator, discriminator, augmentation, training."""

from hdgan.stylegan2.augment import AugmentPipe
from hdgan.stylegan2.checkpoint import load_generator, save_generator
from hdgan.stylegan2.data import to_uint8
from hdgan.stylegan2.discriminator import Discriminator
from hdgan.stylegan2.evaluation import DistanceToHeldOut, GeneratorEvaluation, held_out_evaluation
from hdgan.stylegan2.generator import Generator
from hdgan.stylegan2.importing import import_generator
from hdgan.stylegan2.presets import PRESETS, TrainConfig, train_config
from hdgan.stylegan2.reference import convert_reference
from hdgan.stylegan2.rendering import Rendered, render
from hdgan.stylegan2.run import train
from hdgan.stylegan2.windows import WindowSynthesis, synthesize_image, synthesize_windows

__all__ = [
    "PRESETS",
    "AugmentPipe",
    "Discriminator",
    "DistanceToHeldOut",
    "Generator",
    "GeneratorEvaluation",
    "Rendered",
    "TrainConfig",
    "WindowSynthesis",
    "convert_reference",
    "held_out_evaluation",
    "import_generator",
    "load_generator",
    "render",
    "save_generator",
    "synthesize_image",
    "synthesize_windows",
    "to_uint8",
    "train",
    "train_config",
]
