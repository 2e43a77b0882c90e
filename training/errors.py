"""What can go wrong in a training that is nobody's bad input."""


class DivergedError(RuntimeError):
    """A metric of training was NaN or infinite."""


class ElsewhereError(Exception):
    """Another process of the same training met an error, and has told it."""
