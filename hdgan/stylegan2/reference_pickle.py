"""What a pickle says, read as data: nothing that it names is imported, called or given a state.

Python's own unpicklers run a stream as a program. This one knows the opcodes by which plain values, tensors and
modules are written, and builds lists, dictionaries and tuples with them. Where the stream calls something, one of a
closed list of our own functions, given by the caller, makes a stand-in from the arguments. So there is nothing to
execute, and no size that a stream claims is believed: it can have no more values than opcodes, and no longer ones than
its bytes.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tiling.errors import InputError
from tiling.wording import one_line

Arguments = tuple[object, ...]
Maker = Callable[[Arguments], object]

_SHOWN = 100  # characters of what a file says, in an error


@dataclass(frozen=True)
class Global:
    """What a stream names, and only that: `torch.FloatStorage`."""

    name: str


@dataclass(frozen=True)
class Unread:
    """What was called, where nobody needs what it made."""

    name: str


def refuse_calls(arguments: Arguments) -> object:
    """The maker of what is named, but never called."""
    raise InputError("it calls what is no function")


def read_pickle(
    stream: io.BytesIO, makers: Mapping[str, Maker], *, most: int, persistent: Maker | None = None
) -> object:
    """The value of the pickle at the stream's position, which moves behind it.

    Parameters
    ----------
    stream
        All of the file, or of the bytes in it.
    makers
        By the full name of every global that may occur: what makes a stand-in from the arguments of a call.
    most
        Opcodes that the pickle may have.
    persistent
        Makes what stands for a persistent id, whose value is its only argument; None: there may be none.

    Raises
    ------
    InputError
        For a global or an opcode beyond those, for more opcodes, and for what is damaged or contradicts itself. The
        message does not name the file.
    """
    start = stream.tell()
    machine = _Machine(makers, persistent, stream.seek(0, io.SEEK_END))
    stream.seek(start)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= most:
                raise InputError(f"it has more than {most} opcodes, many more than networks take")
            machine.step(opcode.name, argument, count)
    except InputError:
        raise
    except (ValueError, OverflowError) as error:  # genops found no opcode, or not the bytes that one speaks of
        raise InputError(f"it is damaged or no pickle: {one_line(error)[:_SHOWN]}") from error
    return machine.result()


_CONSTANTS: Mapping[str, object] = MappingProxyType({"NONE": None, "NEWTRUE": True, "NEWFALSE": False})
_WITH_VALUE = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
    | {"SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}
)
_EMPTY: Mapping[str, Callable[[], object]] = MappingProxyType(
    {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": list, "EMPTY_TUPLE": tuple}  # a set's items, in order
)
_TUPLES: Mapping[str, int] = MappingProxyType({"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3})
_PUTS = ("BINPUT", "LONG_BINPUT")
_GETS = ("BINGET", "LONG_BINGET")


class _Machine:
    """The stack and the memo of a pickle. Memo and dictionaries are keyed, so that an index takes no memory."""

    def __init__(self, makers: Mapping[str, Maker], persistent: Maker | None, length: int) -> None:
        self.makers, self.persistent, self.length = makers, persistent, length
        self.stack: list[object] = []
        self.below: list[list[object]] = []  # the stack under each mark
        self.memo: dict[int, object] = {}

    def result(self) -> object:
        """What STOP leaves."""
        if self.below or len(self.stack) != 1:
            raise InputError("it ends with other than one value")
        return self.stack[0]

    def step(self, name: str, argument: object, count: int) -> None:
        """Take one opcode, the `count`-th."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _WITH_VALUE:
            self.stack.append(argument)
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            self.stack.append(tuple(reversed([self.pop() for _ in range(_TUPLES[name])])))
        elif isinstance(argument, int):
            self.step_with_number(name, argument, count)
        elif name == "GLOBAL":
            self.push_global(*str(argument).split(" ", 1))
        elif name != "STOP":
            action = _ACTIONS.get(name)
            if action is None:
                raise _unknown(name)
            action(self)

    def step_with_number(self, name: str, number: int, count: int) -> None:
        """An opcode whose argument is a length or an index."""
        if name in _PUTS:
            if number > count:
                raise InputError(f"it puts value {number} aside before it has as many: it is damaged, or made to harm")
            self.memo[number] = self.top()
        elif name in _GETS:
            if number not in self.memo:
                raise InputError(f"it takes up value {number}, which it has not put aside")
            self.stack.append(self.memo[number])
        elif name == "FRAME":
            if number > self.length:
                raise InputError(f"it ends early: it has a frame of {number} bytes, and {self.length} in all")
        elif name != "PROTO":
            raise _unknown(name)

    def pop(self) -> object:
        """The uppermost value, which goes."""
        if not self.stack:
            raise InputError("it takes a value where there is none")
        return self.stack.pop()

    def top(self) -> object:
        """The uppermost value, which stays."""
        if not self.stack:
            raise InputError("it takes a value where there is none")
        return self.stack[-1]

    def mark(self) -> None:
        """Begin a row of values."""
        self.below.append(self.stack)
        self.stack = []

    def pop_row(self) -> list[object]:
        """The values since the last mark, which go with it."""
        if not self.below:
            raise InputError("it ends a row of values that it has not begun")
        row, self.stack = self.stack, self.below.pop()
        return row

    def close_tuple(self) -> None:
        """Make a tuple of a row."""
        row = tuple(self.pop_row())
        self.stack.append(row)

    def push_global(self, module: object, name: object = "") -> None:
        """Name a global of the closed list."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise InputError("it names a global by what is no text")
        full = f"{module}.{name}"
        if full not in self.makers:
            raise InputError(_refusal(full))
        self.stack.append(Global(full))

    def push_named(self) -> None:
        """Name a global by two texts on the stack."""
        name, module = self.pop(), self.pop()
        self.push_global(module, name)

    def call(self) -> None:
        """Have a stand-in made of what is called."""
        arguments, called = self.pop(), self.pop()
        if not isinstance(called, Global) or not isinstance(arguments, tuple):
            raise InputError("it calls what is no function")
        self.stack.append(self.makers[called.name](arguments))

    def identify(self) -> None:
        """Have a stand-in made of what a persistent id stands for."""
        if self.persistent is None:
            raise _unknown("BINPERSID")
        self.stack.append(self.persistent((self.pop(),)))

    def build(self) -> None:
        """Pass over the state of what is not read; an empty one changes nothing."""
        state, target = self.pop(), self.top()
        if not isinstance(target, Unread) and state:
            raise InputError("it sets the state of what has none")

    def memoize(self) -> None:
        """Put the uppermost value aside under the next index."""
        self.memo[len(self.memo)] = self.top()

    def extend(self, items: list[object]) -> None:
        """Add to the list, or the set, below."""
        target = self.top()
        if not isinstance(target, list):
            raise InputError("it adds items to what is no list")
        target.extend(items)

    def update(self, items: list[object]) -> None:
        """Add keys and values in turn to the dictionary below."""
        target, keys = self.top(), items[::2]
        if not isinstance(target, dict) or len(items) % 2 or not all(isinstance(key, str) for key in keys):
            raise InputError("it has a dictionary of other than texts and their values")
        target.update(zip(keys, items[1::2], strict=True))


_ACTIONS: Mapping[str, Callable[[_Machine], None]] = MappingProxyType(
    {
        "MARK": _Machine.mark,
        "MEMOIZE": _Machine.memoize,
        "STACK_GLOBAL": _Machine.push_named,
        "REDUCE": _Machine.call,
        "NEWOBJ": _Machine.call,
        "BUILD": _Machine.build,
        "BINPERSID": _Machine.identify,
        "TUPLE": _Machine.close_tuple,
        "APPEND": lambda machine: machine.extend([machine.pop()]),
        "APPENDS": lambda machine: machine.extend(machine.pop_row()),
        "ADDITEMS": lambda machine: machine.extend(machine.pop_row()),
        "SETITEM": lambda machine: machine.update([machine.pop(), machine.pop()][::-1]),
        "SETITEMS": lambda machine: machine.update(machine.pop_row()),
    }
)


def _unknown(name: str) -> InputError:
    return InputError(f"it has the opcode {name}, which the files of StyleGAN2-ADA for PyTorch have not")


def _refusal(name: str) -> str:
    shown = name[:_SHOWN].encode("unicode_escape").decode()
    if name.startswith("dnnlib.tflib."):
        return (
            f"it is of the TensorFlow release ({shown}), and only files of the PyTorch release are read; convert it "
            "with the reference's own legacy.py, where the reference is installed, and import what that writes"
        )
    return (
        f"it asks for {shown}, which the files of StyleGAN2-ADA for PyTorch have no use for; do not load it with any "
        "other program unless you trust who made it"
    )
