import json
import os
import signal
import subprocess
import sys

import pytest

from tiling.errors import InputError
from tiling.files import fingerprint, read_json, remove, replacing, sweep_partials, write_bytes, write_json


def test_a_file_is_replaced_only_when_the_block_ends_well(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with replacing(path) as partial:
        partial.write_text("first")
        assert not path.exists()
        assert partial.name.startswith(".partial-")
        assert partial.suffix == ".txt"
    with pytest.raises(UnicodeEncodeError), replacing(path) as partial:
        partial.write_text("second \ud800", encoding="utf-8")
    assert path.read_text() == "first"
    with replacing(path) as partial:
        partial.write_text("third")
    assert path.read_text() == "third"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def _write_half(folder):
    folder.mkdir()
    (folder / "chunk").write_bytes(b"1")
    (folder / "group" / "chunk").write_bytes(b"2")


def test_a_folder_is_there_with_all_it_holds_or_not_at_all(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "store") as partial:
        _write_half(partial)
    assert list(tmp_path.iterdir()) == []
    with replacing(tmp_path / "store") as partial:
        (partial / "group").mkdir(parents=True)
        (partial / "group" / "chunk").write_bytes(b"1")
    assert (tmp_path / "store" / "group" / "chunk").read_bytes() == b"1"


def test_a_killed_writer_leaves_the_old_file_and_a_partial_that_is_swept(tmp_path):
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")
    script = f"""
import os, signal
from pathlib import Path
from tiling.files import replacing
with replacing(Path({str(path)!r})) as partial:
    partial.write_bytes(b"new, half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
    sweep_partials(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]
    sweep_partials(tmp_path / "absent")


def test_removing_takes_files_folders_links_and_nothing(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    for name in ("folder", "file", "link", "absent"):
        remove(tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").read_text() == "kept"


def test_json_comes_back_as_it_was_written(tmp_path):
    value = {"stain": "H&E", "Größe": [1, 2.5, None], "nested": {"µm": True}}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    assert json.loads((tmp_path / "value.json").read_bytes()) == value


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{half", "is not JSON"), (b"\xff\xfe\x00", "is not JSON"), (b"[1]", "holds a JSON list, not an object")],
)
def test_files_that_are_no_json_object_are_refused_by_name(tmp_path, content, message):
    (tmp_path / "value.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"value\.json {message}"):
        read_json(tmp_path / "value.json")


def test_an_absent_json_file_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*absent\.json: No such file or directory"):
        read_json(tmp_path / "absent.json")


def test_fingerprints_tell_contents_and_names_apart_and_nothing_else(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "a").write_bytes(b"a")
        (tmp_path / name / "inner" / "b").write_bytes(b"b" * (1 << 21))
    same = fingerprint(tmp_path / "one")
    assert fingerprint(tmp_path / "two") == same
    os.utime(tmp_path / "two" / "a", (0, 0))
    (tmp_path / "two" / ".DS_Store").write_bytes(b"hidden")
    (tmp_path / "two" / ".partial-1").mkdir()
    (tmp_path / "two" / ".partial-1" / "file").write_bytes(b"hidden")
    assert fingerprint(tmp_path / "two") == same
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "c")
    assert fingerprint(tmp_path / "two") != same
    (tmp_path / "two" / "c").rename(tmp_path / "two" / "a")
    (tmp_path / "two" / "a").write_bytes(b"A")
    assert fingerprint(tmp_path / "two") != same
    assert fingerprint(tmp_path / "one" / "a") != fingerprint(tmp_path / "two" / "a")
