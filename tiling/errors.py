"""The one error that means: the input or the request is at fault, not the program."""


class InputError(ValueError):
    """A request that cannot be carried out as given.

    The message is one line for the user: what was wrong, the value received, and what to do about it.
    The command line prints it without a traceback and exits with code 2.
    """
