import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiling.errors import InputError
from tiling.files import write_json
from tiling.ledger import LEDGER, read_ledger, write_ledger
from tiling.parts import asked_of


def test_a_ledger_is_read_as_it_was_written(tmp_path):
    write_ledger(tmp_path, [{"slide": "a.svs", "status": "done", "stain": "HE"}])
    (row,) = read_ledger(tmp_path)
    assert (row["slide"], row["status"], row["stain"], row["reason"]) == ("a.svs", "done", "HE", None)


def test_a_ledger_that_is_damaged_or_gone_is_told_with_what_to_do(tmp_path):
    path = tmp_path / LEDGER
    with pytest.raises(InputError, match=r"cannot read .*ledger.parquet: No such file .*; restore it, or run the same"):
        read_ledger(tmp_path)
    write_ledger(tmp_path, [{"slide": "a.svs", "status": "done"}] * 100)
    whole = path.read_bytes()
    holed = whole[:40] + bytes(200) + whole[240:]
    for content in (b"", b"PAR1", whole[: len(whole) // 2], holed, b"no table of anything"):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"ledger.parquet is damaged \(.*\); restore it, or delete it and run the same"
        ):
            read_ledger(tmp_path)
    pq.write_table(pa.table({"slide": ["a.svs"]}), path)
    with pytest.raises(
        InputError, match=r"ledger.parquet has no column 'status'; restore it, or delete it and run the same"
    ):
        read_ledger(tmp_path)


def test_a_ledger_from_before_regions_without_a_class_were_counted_is_read(tmp_path):
    write_ledger(tmp_path, [{"slide": "a.svs", "status": "done"}])
    path = tmp_path / "ledger.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["without_class"]), path)
    assert [row["slide"] for row in read_ledger(tmp_path)] == ["a.svs"]


@pytest.mark.parametrize("asked", [{}, {"keys": "abc", "places": []}, {"keys": [1], "places": []}, {"keys": ["abc"]}])
def test_a_damaged_note_of_what_was_asked_for_is_told_with_what_to_do(tmp_path, asked):
    assert asked_of(tmp_path) == (None, [])
    write_json(tmp_path / "under-way" / "asked.json", asked)
    with pytest.raises(
        InputError, match=r"asked.json does not tell which slides were asked for: run `hdgan tile` agai"
    ):
        asked_of(tmp_path)
