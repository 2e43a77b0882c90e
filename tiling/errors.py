"""The one error that means: the input or the request is at fault, not the program."""

from __future__ import annotations

import errno

_PASSING = {
    getattr(errno, name)
    for name in ("EIO", "EAGAIN", "EBUSY", "EINTR", "ENETDOWN", "ENETUNREACH", "ENOTCONN", "ESTALE", "ETIMEDOUT")
    if hasattr(errno, name)
}


class InputError(ValueError):
    """A request that cannot be carried out as given.

    The message is one line for the user: what was wrong, the value received, and what to do about it.
    The command line prints it without a traceback and exits with code 2.
    """


class PassingError(InputError):
    """One that may be gone when the same is tried again: a disk or a network did not answer."""


def is_passing(error: BaseException | None) -> bool:
    """Whether an error is one of a disk or a network, itself or by its causes, that may be gone when tried again."""
    while error is not None:
        if isinstance(error, PassingError) or (isinstance(error, OSError) and error.errno in _PASSING):
            return True
        error = error.__cause__
    return False
