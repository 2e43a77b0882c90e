"""States and weights in safetensors files: nothing in them is ever executed.

A file holds named tensors, and in its header one JSON document that says what it is.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import safetensors
import torch
from torch import Tensor

from tiling.errors import InputError
from tiling.files import remove, replacing, sweep_partials
from training.mapped import bytes_of, mapped_floats
from training.steps import saved_steps, state_file

_HEADER = "hdgan"
_TENSOR = "__tensor__"
_PAIRS = "__pairs__"
_BEST = "best"
_LARGE = 2**20  # bytes from which on a tensor may stay in its file
_TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip

M = TypeVar("M", bound=torch.nn.Module)


def save_weights(path: Path, tensors: Mapping[str, Tensor], *, kind: str, about: Mapping[str, Any]) -> None:
    """Write named tensors and a JSON document about them, atomically.

    What safetensors would write, but that no tensor which is contiguous and on the CPU is copied for it.
    """
    header: dict[str, Any] = {"__metadata__": {_HEADER: json.dumps({"kind": kind, **about})}}
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))  # so all are aligned
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    told = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    told += b" " * (-len(told) % 8)
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told)
        for _, tensor in ordered:
            file.writelines(bytes_of(tensor))


def load_weights(
    path: Path, *, kind: str, needs: Collection[str] = (), mapped: Callable[[str], bool] = lambda _: False
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_weights` wrote: the tensors, and the document with at least the keys in `needs`.

    Large float32 tensors of the names that are `mapped` stay in the file, see :func:`training.mapped.mapped_floats`.
    Anything else is an :class:`InputError` that says what it is not.
    """
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        with path.open("rb") as content, safetensors.safe_open(path, framework="pt") as file:
            if not os.path.samestat(os.fstat(content.fileno()), path.stat()):
                raise ValueError("it was replaced while it was read; try again")
            header = file.metadata() or {}
            about = json.loads(header.get(_HEADER, "null"))
            names = list(file.keys())
            left = _mapped_tensors(content, filter(mapped, names))
            tensors = {name: left[name] if name in left else file.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, ValueError) as error:
        raise InputError(f"{path} is not a safetensors file ({error}); give a {kind} file made by hdgan") from error
    if not isinstance(about, dict) or about.get("kind") != kind:
        found = about.get("kind") if isinstance(about, dict) else "safetensors without hdgan's header"
        raise InputError(f"{path} is not a {kind} file but: {found}")
    if lacking := sorted(set(needs) - about.keys()):
        raise InputError(f"{path} does not tell its {', '.join(lacking)}; make it again with this version of hdgan")
    return tensors, about


def _mapped_tensors(file: BinaryIO, names: Iterable[str]) -> dict[str, Tensor]:
    """The large float32 tensors among those of a file whose header safetensors has checked."""
    start = 8 + int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(start - 8))
    return {
        name: mapped_floats(file, start + header[name]["data_offsets"][0], header[name]["shape"])
        for name in names
        if header[name]["dtype"] == "F32" and 4 * math.prod(header[name]["shape"]) >= _LARGE
    }


def read_about(path: Path) -> dict[str, Any]:
    """The document of a file that :func:`save_weights` wrote, without its tensors; else an :class:`InputError`."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(_HEADER, "null"))
    except (safetensors.SafetensorError, ValueError) as error:
        raise InputError(f"{path} is not a safetensors file ({error}); give a file made by hdgan") from error
    if not isinstance(about, dict):
        raise InputError(f"{path} is a safetensors file without hdgan's header; give a file made by hdgan")
    return about


def load_strictly(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put tensors into a module; every name and shape must fit, else an :class:`InputError` names those that do not."""
    _refuse_misfits(module, tensors, path)
    module.load_state_dict(dict(tensors))


def build_network(make: Callable[[], M], tensors: Mapping[str, Tensor], path: Path) -> M:
    """The network that `make` makes, on the CPU, with the tensors of a file.

    It is made on the meta device, takes no memory but that of the tensors, and these only when every name and shape
    fits: what the file says of itself cannot make it larger than the file. An :class:`InputError` of `make` is given
    the file's name.
    """
    try:
        with torch.device("meta"):
            network = make()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    _refuse_misfits(network, tensors, path)
    own = network.state_dict()
    network.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in tensors.items()}, assign=True)
    return network


def _refuse_misfits(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = module.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - own.keys())
    shapes = [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    for what, names in (("lacks", missing), ("has unknown", unknown), ("has other shapes of", sorted(shapes))):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise InputError(f"{path} {what} {', '.join(names[:3])}{more}; it was made for another network")


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a nested state of dicts, lists, tensors and JSON values (an optimiser's, say), atomically."""
    tensors: dict[str, Tensor] = {}
    save_weights(path, tensors, kind="training state", about={"state": _pack(state, tensors)})


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote."""
    tensors, about = load_weights(path, kind="training state", needs=["state"])
    state: dict[str, Any] = _unpack(about["state"], tensors)
    return state


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _pack(item, tensors) for key, item in value.items()}
        return {_PAIRS: [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(item, tensors) for item in value]
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        if _PAIRS in value:
            return {key: _unpack(item, tensors) for key, item in value[_PAIRS]}
        return {key: _unpack(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value


@dataclass(frozen=True)
class Score:
    """What a state is worth, the lower the better: a number, and what was measured, for numbers of one kind compare."""

    of: str
    value: float


class Checkpoints:
    """The numbered states of a run, in one folder; the last `keep` are kept, and the one with the lowest score."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep

    def sweep(self) -> None:
        """Remove what a killed process left half written; only whoever writes here may."""
        sweep_partials(self.folder)

    def steps(self) -> list[int]:
        """Steps of which a state is there, in order."""
        return saved_steps(self.folder)

    def save(self, step: int, state: Mapping[str, Any], *, score: Score | None = None) -> None:
        """Write the state of a step and drop the oldest beyond `keep`, but not the best."""
        best = self.best()
        if score is not None and (best is None or best[1].of != score.of or score.value < best[1].value):
            best = step, score
        about = {} if best is None else {_BEST: {"step": best[0], "of": best[1].of, "value": best[1].value}}
        save_state(self._path(step), {**state, **about})
        for old in self.steps()[: -self.keep]:
            if best is None or old != best[0]:
                remove(self._path(old))

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """The newest step and its state, or None.

        An :class:`InputError` if its file is damaged, which says what can be gone on from instead.
        """
        steps = self.steps()
        if not steps:
            return None
        try:
            return steps[-1], self.load(steps[-1])
        except InputError as error:
            instead = f"to go on from step {steps[-2]}" if len(steps) > 1 else "and begin again with --redo"
            raise InputError(f"{error}; remove it {instead}") from error

    def best(self) -> tuple[int, Score] | None:
        """The step with the lowest score, and that, as the newest state tells; None if none was ever given.

        A score of something else than the last ones begins anew, and so does one of a state that is not there any more.
        """
        steps = self.steps()
        best = read_about(self._path(steps[-1]))["state"].get(_BEST) if steps else None
        if not best or best["step"] not in steps:
            return None
        return int(best["step"]), Score(best["of"], float(best["value"]))

    def load(self, step: int) -> dict[str, Any]:
        """The state of a step that is there."""
        return load_state(self._path(step))

    def _path(self, step: int) -> Path:
        return state_file(self.folder, step)
