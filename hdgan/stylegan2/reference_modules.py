"""The modules and tensors in a `.pkl` file of StyleGAN2-ADA's PyTorch release, as plain values.

Such a file is a pickled dictionary. A module in it is a dictionary too, with the source text of its class, which the
reference executes and this does not look at; a tensor holds its numbers as a file of `torch.save` in the older format.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from hdgan.stylegan2.reference_pickle import Arguments, Global, Maker, Unread, read_pickle, refuse_calls
from tiling.errors import InputError

_MOST_OPCODES = 500_000  # several times as many as networks of 4096 px have
_MOST_OPCODES_OF_STORAGE = 100
_DEEPEST = 6  # modules in modules: synthesis.b4.conv1.affine
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_SAVED_BY_TORCH = (0x1950A86A20F9469CFC6C, 1001)  # what the older format of torch.save begins with, and its version
_BYTES_OF_COUNT = 8
_LONGEST_HEAD = 1024  # bytes before a tensor's numbers; about 300


@dataclass(frozen=True, eq=False, repr=False)
class Storage:
    """The float32 numbers of a tensor, in `data` from byte `start` on."""

    data: bytes
    start: int
    count: int


@dataclass(frozen=True, eq=False, repr=False)
class StoredTensor:
    """A float32 tensor: what of a storage it is."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self) -> Tensor:
        """The tensor, in memory of its own."""
        values = torch.frombuffer(bytearray(memoryview(self.storage.data)[self.storage.start :]), dtype=torch.float32)
        return values.as_strided(self.shape, self.stride, self.offset).contiguous()


@dataclass(frozen=True, eq=False, repr=False)
class StoredModule:
    """A module: the name of its class, and what `__dict__` held."""

    class_name: str
    state: Mapping[str, object]

    def tensors(self) -> dict[str, StoredTensor]:
        """Parameters and buffers of it and all modules in it, by the names of a state dict.

        Raises
        ------
        InputError
            For anything else among them, and for modules or numbers that are in two places.
        """
        found: dict[str, StoredTensor] = {}
        self._collect("", found, set(), 0)
        return found

    def _collect(self, prefix: str, found: dict[str, StoredTensor], seen: set[int], depth: int) -> None:
        if depth > _DEEPEST:
            raise InputError(f"it has modules nested deeper than any network's: {prefix[:100]}...")
        for name, value in [*self._entries("_parameters"), *self._entries("_buffers"), *self._entries("_modules")]:
            if value is None:  # a layer without bias
                continue
            source = value.storage.data if isinstance(value, StoredTensor) else value
            if id(source) in seen:
                raise InputError(f"{prefix}{name} is also in another place")
            seen.add(id(source))
            if isinstance(value, StoredTensor):
                found[prefix + name] = value
            elif isinstance(value, StoredModule):
                value._collect(f"{prefix}{name}.", found, seen, depth + 1)
            else:
                raise InputError(f"{prefix}{name} is neither a tensor nor a module")

    def _entries(self, section: str) -> list[tuple[str, object]]:
        entries = self.state.get(section)
        if not isinstance(entries, dict):
            raise InputError(f"a module of class {self.class_name[:64]!r} lacks {section}")
        for name in entries:
            if not _NAME.fullmatch(name):
                raise InputError(f"a module of class {self.class_name[:64]!r} has a name that is none: {name[:64]!r}")
        return list(entries.items())


def read_modules(content: bytes) -> dict[str, object]:
    """The dictionary in a `.pkl` file, with a :class:`StoredModule` for every module.

    Raises
    ------
    InputError
        When the bytes are anything but a file of StyleGAN2-ADA's PyTorch release. The message does not name it.
    """
    if not content.startswith(b"\x80"):  # the first opcode of every pickle of Python 3
        what = {b"": "empty", b"PK": "a zip archive, as torch.save makes them"}.get(content[:2], "no pickle")
        raise InputError(f"it is {what}; what is read are the .pkl files of StyleGAN2-ADA's PyTorch release")
    stream = io.BytesIO(content)
    networks = read_pickle(stream, _MAKERS, most=_MOST_OPCODES)
    if stream.read(1):
        raise InputError("it goes on behind its end")
    if not isinstance(networks, dict):
        raise InputError("it holds no dictionary of networks")
    return networks


def _make_module(arguments: Arguments) -> object:
    match arguments:
        case ({"type": "class", "version": 6, "class_name": str(name), "state": dict(state)},):
            return StoredModule(name, state)
    raise InputError("it has a module that does not tell its class and state, or not as the format's version 6 does")


def _make_tensor(arguments: Arguments) -> object:
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(stride), *_):
            sizes, steps = _whole(shape, 1), _whole(stride, 0)
            last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=False))
            if len(sizes) == len(steps) and offset >= 0 and last < storage.count >= math.prod(sizes):
                return StoredTensor(storage, offset, sizes, steps)
            raise InputError(f"it has a tensor that asks for more than the {storage.count} numbers that it has")
    raise InputError("it has a tensor that is none")


def _whole(numbers: tuple[object, ...], least: int) -> tuple[int, ...]:
    """Sizes or strides, checked."""
    whole = tuple(number for number in numbers if isinstance(number, int) and number >= least)
    if len(whole) != len(numbers) or len(whole) > 4:
        raise InputError("it has a tensor whose shape is none")
    return whole


def _make_parameter(arguments: Arguments) -> object:
    match arguments:
        case (StoredTensor() as tensor, *_):
            return tensor
    raise InputError("it has a parameter that is no tensor")


def _make_storage(arguments: Arguments) -> object:
    """Check the file of `torch.save` that holds a tensor's numbers; they are not copied."""
    match arguments:
        case (bytes(data),):
            return _stored(data)
    raise InputError("it has a tensor without bytes")


def _stored(data: bytes) -> Storage:
    stream = io.BytesIO(data[:_LONGEST_HEAD])
    parts = [
        read_pickle(stream, _MAKERS_OF_STORAGE, most=_MOST_OPCODES_OF_STORAGE, persistent=_identify)
        for _ in ("what it is", "version", "system", "storage", "keys")
    ]
    match parts:
        case [magic, version, {"little_endian": True}, (str(key), int(count)), [str(same)]] if key == same:
            start = stream.tell() + _BYTES_OF_COUNT
            told = int.from_bytes(data[stream.tell() : start], "little")
            if (magic, version) == _SAVED_BY_TORCH and told == count and len(data) == start + 4 * count:
                return Storage(data, start, count)
    raise InputError("it has a tensor whose bytes are not as torch.save writes float32, or not as many as it tells")


def _identify(arguments: Arguments) -> object:
    """(key, number of values) of a storage."""
    match arguments:
        case (("storage", Global("torch.FloatStorage"), str(key), str(), int(count), None),):
            return key, count
    raise InputError("it has a tensor of other than float32")


def _make_dictionary(arguments: Arguments) -> object:
    if arguments:
        raise InputError("it makes a dictionary of what is none")
    return {}


def _make_set(arguments: Arguments) -> object:
    return Unread("set")


def _make_array(arguments: Arguments) -> object:
    return Unread("array")


_MAKERS_OF_STORAGE: Mapping[str, Maker] = MappingProxyType({"torch.FloatStorage": refuse_calls})
_MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "torch_utils.persistence._reconstruct_persistent_obj": _make_module,
        "torch._utils._rebuild_parameter": _make_parameter,
        "torch._utils._rebuild_tensor_v2": _make_tensor,
        "torch.storage._load_from_bytes": _make_storage,
        "collections.OrderedDict": _make_dictionary,
        "dnnlib.util.EasyDict": _make_dictionary,
        "builtins.set": _make_set,
        "numpy.ndarray": refuse_calls,
        "numpy.dtype": _make_array,
        **{
            f"numpy.{core}.multiarray.{function}": _make_array
            for core in ("core", "_core")
            for function in ("scalar", "_reconstruct")
        },
    }
)
