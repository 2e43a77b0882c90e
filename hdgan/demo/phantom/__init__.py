"""A procedural whole-slide image of a kidney biopsy, with exact truth: free to publish and to learn with."""

from hdgan.demo.phantom.slide import make_phantom

__all__ = ["make_phantom"]
