"""Feature spaces: what makes vectors of images, so that sets of images can be compared."""

from hdgan.embedding.inception import inception_space
from hdgan.embedding.named import open_space
from hdgan.embedding.random_features import RANDOM_SPACE, random_space
from hdgan.embedding.space import ModuleSpace

__all__ = ["RANDOM_SPACE", "ModuleSpace", "inception_space", "open_space", "random_space"]
