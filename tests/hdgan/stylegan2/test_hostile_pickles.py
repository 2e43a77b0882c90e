"""Files that are made to harm execute nothing and take no memory; like those that are damaged, they are refused."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reference_files import EasyDict, Module, dumped, reference_generator, write_reference

from hdgan.stylegan2 import Generator, convert_reference
from hdgan.stylegan2.reference import read_reference
from tiling.errors import InputError

pytestmark = pytest.mark.usefixtures("little_memory")
MIB = 1 << 20


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(resolution=16, z_dim=8, w_dim=8, channel_base=128, channel_max=16, mapping_layers=2)


@pytest.fixture
def refusal(tmp_path: Path) -> Callable[[bytes], str]:
    """Why bytes are refused, which must take no more than some MiB, and import and leave nothing."""

    def refused(content: bytes) -> str:
        (tmp_path / "hostile.pkl").write_bytes(content)
        modules = set(sys.modules)
        tracemalloc.start()
        with pytest.raises(InputError) as error:
            convert_reference(tmp_path / "hostile.pkl", tmp_path / "run")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * MIB
        assert set(sys.modules) == modules
        assert {path.name for path in tmp_path.iterdir()} == {"hostile.pkl"}
        said = str(error.value)
        assert len(said) < 500
        assert "\n" not in said
        return said

    return refused


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def called(name: str, *arguments: bytes) -> bytes:
    """The call of a global, in the opcodes of protocol 3."""
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n(".encode() + b"".join(arguments) + b"tR"


def number(value: int) -> bytes:
    encoded = pickle.encode_long(value)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def stream(*parts: bytes) -> bytes:
    return b"\x80\x03" + b"".join(parts) + b"."


def storage(count: int, numbers: bytes, *, first: bytes = b"", told: int | None = None, kind: str = "Float") -> bytes:
    """A tensor's numbers as torch.save writes them, in an opcode; `first` is another first pickle."""
    parts = [
        first or stream(number(0x1950A86A20F9469CFC6C)),
        stream(number(1001)),
        stream(b"}", text("little_endian"), b"\x88s"),
        stream(
            b"(", text("storage"), f"ctorch\n{kind}Storage\n".encode(), text("0"), text("cpu"), number(count), b"NtQ"
        ),
        stream(b"]", text("0"), b"a"),
        struct.pack("<q", count if told is None else told) + numbers,
    ]
    data = b"".join(parts)
    return called("torch.storage._load_from_bytes", b"B" + struct.pack("<I", len(data)) + data)


def tensor(stored: bytes, *, offset: int = 0, shape: tuple[int, ...] = (2,), stride: tuple[int, ...] = (1,)) -> bytes:
    sizes, steps = (b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (shape, stride))
    return called("torch._utils._rebuild_tensor_v2", stored, number(offset), sizes, steps, b"\x89N")


TWO = struct.pack("<2f", 1, 2)


def test_the_opcodes_that_these_tests_write_are_those_of_torch(refusal: Callable[[bytes], str]) -> None:
    assert "it holds no dictionary" in refusal(stream(tensor(storage(2, TWO))))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch executed",), f"{os.name}.system"),
        (eval, ("open('executed', 'w')",), "builtins.eval"),
        (getattr, ("a", "b"), "builtins.getattr"),
        (torch.load, ("x",), "torch.serialization.load"),
        (bytearray, (1 << 40,), "builtins.bytearray"),
    ],
)
def test_a_call_of_anything_else_is_refused_by_name(
    refusal: Callable[[bytes], str], function: Any, arguments: tuple[object, ...], name: str, protocol: int
) -> None:
    said = refusal(pickle.dumps({"G_ema": Call(function, *arguments)}, protocol=protocol))
    assert f"it asks for {name.replace('builtins', '__builtin__' if protocol == 2 else 'builtins')}," in said
    assert said.endswith("(nothing in it was executed)")


def test_a_call_hidden_in_the_part_that_nobody_needs_is_refused_too(
    refusal: Callable[[bytes], str], generator: Generator
) -> None:
    augment = Module("AugmentPipe", {}, {"then": Call(os.system, "touch executed")})
    assert "asks for posix.system" in refusal(
        dumped({"G_ema": reference_generator(generator), "augment_pipe": augment})
    )


def test_a_call_in_the_bytes_of_a_tensor_is_refused(refusal: Callable[[bytes], str]) -> None:
    first = stream(called("os.system", text("touch executed")))
    assert "it asks for os.system" in refusal(stream(tensor(storage(2, TWO, first=first))))
    zipped = io.BytesIO()
    torch.save(torch.ones(2), zipped)
    data = b"B" + struct.pack("<I", len(zipped.getvalue())) + zipped.getvalue()
    assert "damaged or no pickle" in refusal(stream(called("torch.storage._load_from_bytes", data)))


def test_the_source_in_a_module_is_not_run(generator: Generator, tmp_path: Path) -> None:
    pkl = write_reference(tmp_path / "g.pkl", G_ema=reference_generator(generator))
    assert b"raise SystemExit" in pkl.read_bytes()
    assert read_reference(pkl).generator.resolution == 16


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        pytest.param((b"Nr\xff\xff\xff\x7f",), "it puts value 2147483647 aside before", id="memo index"),
        pytest.param((b"Nh\x05",), "it takes up value 5, which it has not put aside", id="no such memo"),
        pytest.param((b"\x8e" + struct.pack("<Q", 1 << 62),), "expected 4611686018427387904 bytes", id="bytes"),
        pytest.param((b"B\xff\xff\xff\xff",), "expected 4294967295 bytes", id="shorter bytes"),
        pytest.param((b"\x8d" + struct.pack("<Q", 1 << 40),), "expected 1099511627776 bytes", id="text"),
        pytest.param((b"\x95" + struct.pack("<Q", 1 << 50) + b"N",), "ends early: it has a frame of 1125", id="frame"),
        pytest.param((b"\x96" + struct.pack("<Q", 1 << 40),), "damaged", id="bytearray"),
        pytest.param((b"\x8b\xff\xff\xff\x7f",), "not enough data in stream to read long4", id="long"),
        pytest.param((b"I" + b"9" * 5000 + b"\n",), "damaged", id="digits"),
        pytest.param((b"]2222a",), "opcode DUP", id="duplicates"),
        pytest.param((b"N0N",), "opcode POP", id="pop"),
        pytest.param((b"\x82\x01",), "opcode EXT1", id="extension"),
        pytest.param((b"Pid\n",), "opcode PERSID", id="persistent id"),
        pytest.param((text("id"), b"Q"), "opcode BINPERSID", id="binary persistent id"),
        pytest.param((b"(ios\nsystem\n",), "opcode INST", id="instance"),
        pytest.param((b"ccollections\nOrderedDict\n)}\x92",), "opcode NEWOBJ_EX", id="new with keywords"),
        pytest.param((b"}}(", text("a"), b"Nub",), "sets the state of what has none", id="state of a dictionary"),
        pytest.param((b"ctorch\nFloatStorage\n}(", text("a"), b"Nub",), "it asks for torch.FloatStorage", id="class"),
        pytest.param((b"cnumpy\nndarray\n}(", text("a"), b"Nub",), "sets the state", id="state of a class"),
        pytest.param((b"cnumpy\nndarray\n)R",), "it calls what is no function", id="a class called"),
        pytest.param((b"NNR",), "it calls what is no function", id="nothing called"),
        pytest.param((text("a"), b"N\x93"), "names a global by what is no text", id="unnamed"),
        pytest.param((b"}NNs",), "a dictionary of other than texts", id="key"),
        pytest.param((b"}](NNu",), "a dictionary of other than texts", id="no dictionary"),
        pytest.param((b"}Na",), "adds items to what is no list", id="no list"),
        pytest.param((b"a",), "it takes a value where there is none", id="empty stack"),
        pytest.param((b"t",), "ends a row of values that it has not begun", id="no mark"),
        pytest.param((b"(N",), "ends with other than one value", id="open mark"),
        pytest.param((b"NN",), "ends with other than one value", id="two values"),
        pytest.param((b"N.N",), "it goes on behind its end", id="more behind"),
        pytest.param((called("collections.OrderedDict", b"]"),), "makes a dictionary of what is none", id="ordered"),
        pytest.param((called("torch._utils._rebuild_parameter", b"N"),), "parameter that is no tensor", id="parameter"),
        pytest.param((called("torch.storage._load_from_bytes", b"N"),), "a tensor without bytes", id="no bytes"),
        pytest.param((b"cdnnlib.tflib.network\nNetwork\n)\x81",), "TensorFlow release", id="TensorFlow"),
        pytest.param((b"c" + b"a" * MIB + b"\nb\n",), "it asks for aaaa", id="long name"),
        pytest.param((b"c" + b"\x1b[2J" + b"\nb\n",), "it asks for \\x1b[2J.b", id="name that is no text"),
    ],
)  # fmt: skip
def test_a_stream_that_is_no_file_of_the_reference_is_refused(
    refusal: Callable[[bytes], str], parts: tuple[bytes, ...], message: str
) -> None:
    assert message in refusal(stream(*parts))


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (tensor(storage(2, TWO), shape=(1 << 62,)), "asks for more than the 2 numbers"),
        (tensor(storage(2, TWO), shape=(1 << 20, 1 << 20), stride=(0, 0)), "asks for more than the 2 numbers"),
        (tensor(storage(2, TWO), shape=(2,), stride=(2,)), "asks for more than the 2 numbers"),
        (tensor(storage(2, TWO), offset=1), "asks for more than the 2 numbers"),
        (tensor(storage(2, TWO), offset=-1), "asks for more than the 2 numbers"),
        (tensor(storage(2, TWO), shape=(2, 1)), "asks for more than the 2 numbers"),
        (tensor(storage(2, TWO), shape=(0,)), "a tensor whose shape is none"),
        (tensor(storage(2, TWO), stride=(-1,)), "a tensor whose shape is none"),
        (tensor(storage(2, TWO), shape=(1,) * 500, stride=(1,) * 500), "a tensor whose shape is none"),
        (tensor(b"N"), "a tensor that is none"),
        (tensor(storage(1 << 60, TWO)), "not as many as it tells"),
        (tensor(storage(3, TWO)), "not as many as it tells"),
        (tensor(storage(2, TWO, told=1 << 60)), "not as many as it tells"),
        (tensor(storage(2, TWO + b"more")), "not as many as it tells"),
        (tensor(storage(2, TWO, first=stream(number(1)))), "not as torch.save writes"),
        (tensor(storage(2, TWO, first=stream(b"Nr\xff\xff\xff\x7f"))), "it puts value 2147483647 aside before"),
        (tensor(storage(2, TWO, first=stream(b"N" * 500))), "it has more than 100 opcodes"),
        (tensor(storage(2, TWO, kind="Half")), "it asks for torch.HalfStorage"),
    ],
)
def test_a_tensor_that_asks_for_more_than_its_bytes_is_refused(
    refusal: Callable[[bytes], str], stored: bytes, message: str
) -> None:
    assert message in refusal(stream(stored))


def test_arrays_of_any_size_are_not_made(refusal: Callable[[bytes], str]) -> None:
    huge = called("numpy.core.multiarray._reconstruct", b"cnumpy\nndarray\n", b"(", number(1 << 50), b"t", text("b"))
    assert "it holds no dictionary" in refusal(stream(huge, b"(", number(1), b"(", number(1 << 50), b"ttb"))


def test_a_stream_of_many_small_values_is_refused(tmp_path: Path) -> None:
    (tmp_path / "many.pkl").write_bytes(stream(b"\x8f" * 32 * MIB))  # sets, of 216 bytes each in Python
    with pytest.raises(InputError, match="more than 500000 opcodes"):
        convert_reference(tmp_path / "many.pkl", tmp_path / "run")


def module(below: bytes, name: str = "Generator") -> bytes:
    """A module with these modules below it: keys and values in turn."""
    sections = b"".join(text(section) + b"}" for section in ("_parameters", "_buffers"))
    state = b"}(" + sections + text("_modules") + b"}(" + below + b"uu"
    meta = text("type") + text("class") + text("version") + b"K\x06" + text("class_name") + text(name)
    return called("torch_utils.persistence._reconstruct_persistent_obj", b"}(" + meta + text("state") + state + b"u")


def test_modules_that_are_in_many_places_are_not_multiplied(refusal: Callable[[bytes], str]) -> None:
    parts = module(b"") + b"q\x00"
    for level in range(5):  # each has the one before it twice
        below = b"".join(text(name) + b"h" + bytes([level]) for name in "ab")
        parts += module(below) + b"q" + bytes([level + 1])
    content = stream(b"}", text("others"), b"](", parts, b"es", text("G_ema"), b"h\x05s")
    assert "b is also in another place" in refusal(content)


def test_a_module_in_itself_and_one_below_many_others_are_refused(refusal: Callable[[bytes], str]) -> None:
    below = b"}q\x00"
    state = b"}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + below + b"u"
    meta = text("type") + text("class") + text("version") + b"K\x06" + text("class_name") + text("Generator")
    own = called("torch_utils.persistence._reconstruct_persistent_obj", b"}(" + meta + text("state") + state + b"u")
    content = stream(b"}", text("G_ema"), own, b"q\x01s", text("x"), b"h\x00", text("x"), b"h\x01ss")
    assert "x is also in another place" in refusal(content)
    deep = module(b"")
    for _ in range(300):
        deep = module(text("x") + deep)
    assert "nested deeper than any network's: x.x.x" in refusal(stream(b"}", text("G_ema"), deep, b"s"))


def test_names_that_are_none_are_refused(refusal: Callable[[bytes], str]) -> None:
    assert "a name that is none: 'a\\nb'" in refusal(stream(b"}", text("G_ema"), module(text("a\nb") + b"N"), b"s"))
    assert "a name that is none" in refusal(stream(b"}", text("G_ema"), module(text("a" * MIB) + b"N"), b"s"))


def test_settings_that_are_long_or_strange_are_told_shortly(
    refusal: Callable[[bytes], str], generator: Generator
) -> None:
    for value in (b"a" * MIB, "a" * MIB, [b"a" * MIB], 1 << 2000, float("nan"), [["a" * MIB]]):
        refusal(dumped({"G_ema": reference_generator(generator, conv_clamp=value)}))
        refusal(dumped({"G_ema": reference_generator(generator, activation=value)}))
    refusal(dumped({"G_ema": reference_generator(generator, **{"a" * MIB: EasyDict()})}))


def test_numbers_that_several_tensors_share_are_refused(refusal: Callable[[bytes], str]) -> None:
    shared = storage(2, TWO) + b"q\x00"
    tensors = text("a") + tensor(shared) + text("b") + tensor(b"h\x00")
    assert "b is also in another place" in refusal(stream(b"}", text("G_ema"), module(tensors), b"s"))


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_ends_early_is_refused(refusal: Callable[[bytes], str], generator: Generator, share: float) -> None:
    content = dumped({"G_ema": reference_generator(generator)})
    assert re.search("ends early|damaged or no pickle", refusal(content[: int(len(content) * share)]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"PK\x03\x04 and more", "it is a zip archive"),
        (b"seed,z\n1,2\n", "it is no pickle"),
        (b"\x80", "damaged or no pickle"),
        (b"\x08\0\0\0\0\0\0\0{}      ", "it is no pickle"),
    ],
)
def test_other_files_are_refused(refusal: Callable[[bytes], str], content: bytes, message: str) -> None:
    assert message in refusal(content)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, not a"):
        convert_reference(tmp_path, tmp_path / "run")
    with pytest.raises(InputError, match="no such file"):
        convert_reference(tmp_path / "absent.pkl", tmp_path / "run")
    with (tmp_path / "large.pkl").open("wb") as file:
        file.truncate((4 << 30) + 1)
    with pytest.raises(InputError, match="has 4294967297 bytes"):
        convert_reference(tmp_path / "large.pkl", tmp_path / "run")
