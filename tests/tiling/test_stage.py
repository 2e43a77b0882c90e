import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tiling import aside
from tiling.errors import InputError
from tiling.files import read_json
from tiling.stage import Stage, completed, fingerprint_of, mend, versions

SETTINGS = {"size": 64, "shape": (2, 3), "name": None}


@pytest.fixture
def slides(tmp_path):
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a.svs").write_bytes(b"a slide")
    return tmp_path / "slides"


def begin(folder, slides, config=SETTINGS, name="tile", **more):
    return Stage.begin(folder, name=name, config=config, inputs={"slides": slides}, **more)


def make(folder, slides, config=SETTINGS, content="made", redo=False, **finished):
    stage = begin(folder, slides, config, redo=redo)
    (folder / "result").write_text(content)
    stage.finish(principal=[folder / "result"], **finished)
    return stage


def test_a_new_stage_says_that_it_runs_and_from_what_it_is_made(tmp_path, slides):
    stage = begin(tmp_path / "out", slides)
    record = read_json(tmp_path / "out" / "stage.json")
    assert not stage.complete
    assert (record["stage"], record["status"]) == ("tile", "running")
    assert record["config"] == {"size": 64, "shape": [2, 3], "name": None}
    assert record["inputs"] == {"slides": fingerprint_of(slides)}
    assert record["versions"] == versions()
    with pytest.raises(InputError, match="is only half made: run `hdgan tile` again to finish it"):
        completed(tmp_path / "out", made_by="hdgan tile")


def test_a_finished_stage_is_recognised_and_has_a_fingerprint(tmp_path, slides):
    made = make(tmp_path / "out", slides, summary={"tiles": 7})
    assert made.complete
    record = completed(tmp_path / "out", made_by="hdgan tile")
    assert record["summary"] == {"tiles": 7}
    assert record["seconds"] > 0
    assert record["peak_rss_bytes"] > 1_000_000
    assert begin(tmp_path / "out", slides).complete
    assert fingerprint_of(tmp_path / "out") == record["fingerprint"]


def test_a_peak_that_is_kept_outlives_the_process_s_own(tmp_path, slides):
    forget = Path("/proc/self/clear_refs")
    if not forget.exists():
        pytest.skip("the system cannot set a process's peak back")
    stage = begin(tmp_path / "out", slides)
    forget.write_text("5")
    block = b"1" * 300_000_000
    stage.keep_peak()
    kept = stage.record["peak_rss_bytes"]
    del block
    forget.write_text("5")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < kept - 200_000_000
    stage.finish()
    assert completed(tmp_path / "out", made_by="hdgan tile")["peak_rss_bytes"] == kept


def test_fingerprints_follow_the_principal_files_the_settings_and_the_inputs_only(tmp_path, slides):
    make(tmp_path / "one", slides)
    make(tmp_path / "same", slides, summary={"seconds": 5})
    make(tmp_path / "content", slides, content="other")
    make(tmp_path / "settings", slides, SETTINGS | {"size": 32})
    (slides / "b.svs").write_bytes(b"another")
    make(tmp_path / "inputs", slides)
    names = ("one", "content", "settings", "inputs")
    assert len({fingerprint_of(tmp_path / name) for name in names}) == 4
    assert fingerprint_of(tmp_path / "one") == fingerprint_of(tmp_path / "same")


def test_a_killed_stage_goes_on_with_what_it_had_and_without_half_written_files(tmp_path, slides):
    out = tmp_path / "out"
    script = f"""
import os, signal
from pathlib import Path
from tiling.files import replacing, write_bytes
from tiling.stage import Stage
out = Path({str(out)!r})
stage = Stage.begin(out, name="tile", config={SETTINGS!r}, inputs={{"slides": Path({str(slides)!r})}})
write_bytes(out / "first", b"whole")
with replacing(out / "second") as partial:
    partial.write_bytes(b"ha")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert len(list(out.iterdir())) == 4  # the record, a whole and a half file, a lock that holds no longer
    stage = begin(out, slides)
    assert not stage.complete
    assert {entry.name for entry in out.iterdir()} == {".lock", "first", "stage.json"}
    stage.finish(principal=[out / "first"])
    assert begin(out, slides).complete


def test_other_settings_inputs_and_stages_are_refused_with_both_values(tmp_path, slides):
    make(tmp_path / "out", slides)
    with pytest.raises(InputError, match=r"was made with size = 64, and now 32 is asked for; repeat .* add --redo"):
        begin(tmp_path / "out", slides, SETTINGS | {"size": 32})
    with pytest.raises(InputError, match="was made with no extra, and now 1"):
        begin(tmp_path / "out", slides, SETTINGS | {"extra": 1})
    with pytest.raises(InputError, match="was made by `tile`, not by `train`; choose another folder"):
        begin(tmp_path / "out", slides, name="train")
    others = dict.fromkeys(["zoom", *reversed(SETTINGS), "b", "a"], 9)
    with pytest.raises(InputError, match=r"was made with no zoom, .* and \d+ more, and now zoom = 9, .* are asked for"):
        begin(tmp_path / "out", slides, others)
    (slides / "a.svs").write_bytes(b"another slide")
    with pytest.raises(InputError, match="was made from other slides; add --redo"):
        begin(tmp_path / "out", slides)
    assert completed(tmp_path / "out", made_by="hdgan tile")["config"]["size"] == 64


def test_other_origins_are_told_in_words_and_not_as_settings(tmp_path, slides):
    origins = {"masks": "other masks (they have changed since)"}
    begin(tmp_path / "out", slides, SETTINGS | {"masks": "c39d"}, origins=origins).finish()
    with pytest.raises(InputError) as caught:
        begin(tmp_path / "out", slides, SETTINGS | {"masks": "b705"}, origins=origins)
    said = "was made from other masks (they have changed since); add --redo to make it again from what is there now"
    assert str(caught.value) == f"{tmp_path / 'out'} {said}"
    with pytest.raises(InputError, match="was made with size = 64"):  # what the user set goes first
        begin(tmp_path / "out", slides, SETTINGS | {"size": 32, "masks": "b705"}, origins=origins)
    with pytest.raises(InputError, match="was made from another generator;"):
        Stage.begin(tmp_path / "out", name="tile", config={}, inputs={"generator": slides}, grows=[*SETTINGS, "masks"])


def test_a_record_of_an_earlier_version_is_read_as_it_would_be_written_now(tmp_path, slides):
    def begin_now(size, **more):
        now = {**SETTINGS, "size": size, "rule": "vote"}
        return begin(tmp_path / "out", slides, now | more, as_now=lambda made: {"rule": "vote", **made}, grows={"size"})

    make(tmp_path / "out", slides)
    assert begin_now(64).complete
    with pytest.raises(InputError, match="was made with rule = 'vote', and now 'mean' is asked for"):
        begin_now(64, rule="mean")
    begin_now(128).finish()
    assert completed(tmp_path / "out", made_by="hdgan tile")["config"]["rule"] == "vote"


def test_a_half_made_stage_does_not_change_its_settings_either(tmp_path, slides):
    begin(tmp_path / "out", slides)
    with pytest.raises(InputError, match="was made with size = 64, and now 32"):
        begin(tmp_path / "out", slides, SETTINGS | {"size": 32})


def test_what_grows_may_change_and_the_stage_goes_on(tmp_path, slides):
    make(tmp_path / "out", slides)
    longer = begin(tmp_path / "out", slides, SETTINGS | {"size": 128}, grows={"size"})
    assert not longer.complete
    assert (tmp_path / "out" / "result").read_text() == "made"
    assert read_json(tmp_path / "out" / "stage.json")["config"]["size"] == 128
    before = read_json(tmp_path / "out" / "stage.json")["seconds"]
    longer.finish()
    assert read_json(tmp_path / "out" / "stage.json")["seconds"] > before > 0


def test_inputs_that_grow_may_change_and_the_stage_goes_on(tmp_path):
    def again(content: str) -> Stage:
        (tmp_path / "in").write_text(content)
        return Stage.begin(tmp_path / "out", name="s", config={}, inputs={"given": tmp_path / "in"}, grows=("given",))

    again("some").finish()
    first = read_json(tmp_path / "out" / "stage.json")["inputs"]
    assert again("some").complete
    more = again("some more")
    assert not more.complete
    more.finish()
    assert read_json(tmp_path / "out" / "stage.json")["inputs"] != first


def test_the_time_of_a_run_that_was_stopped_counts(tmp_path, slides):
    stage = begin(tmp_path / "out", slides)
    (stage.folder / "item").touch()
    stage.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    stopped = read_json(tmp_path / "out" / "stage.json")
    assert stopped["status"] == "running"
    assert stopped["seconds"] > 0
    with begin(tmp_path / "out", slides) as stage:
        stage.finish()
    assert read_json(tmp_path / "out" / "stage.json")["seconds"] > stopped["seconds"]


def test_what_grew_shows_in_the_fingerprint_by_the_principal_files_alone(tmp_path, slides):
    def grown(size: int, content: str) -> str:
        stage = begin(tmp_path / "out", slides, SETTINGS | {"size": size}, grows={"size"})
        (tmp_path / "out" / "result").write_text(content)
        stage.finish(principal=[tmp_path / "out" / "result"])
        return completed(tmp_path / "out", made_by="hdgan tile")["fingerprint"]

    first = grown(64, "small")
    assert grown(128, "small") == first
    assert grown(256, "large") != first


def test_redo_discards_what_is_there(tmp_path, slides):
    make(tmp_path / "out", slides)
    again = begin(tmp_path / "out", slides, SETTINGS | {"size": 32}, redo=True)
    assert not again.complete
    again.finish()
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {"stage.json"}
    assert {entry.name for entry in tmp_path.iterdir()} == {"out", "slides"}


def test_redo_discards_no_other_stage(tmp_path, slides):
    make(tmp_path / "out", slides)
    with pytest.raises(InputError, match="was made by `tile`, not by `train`; choose another folder"):
        begin(tmp_path / "out", slides, name="train", redo=True)
    assert (tmp_path / "out" / "result").read_text() == "made"


def held(folder):
    """All files of a folder, hidden ones too, with what they hold, but for locks that hold no longer."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def fail(out, slides):
    with begin(out, slides, SETTINGS | {"size": 32}, redo=True):
        raise InputError("no tissue")


def test_a_redo_that_proves_impossible_leaves_what_was_there(tmp_path, slides):
    out = tmp_path / "out"
    make(out, slides)
    (out / "parts").mkdir()
    (out / "parts" / "one").write_text("whole")
    before = held(out)
    with pytest.raises(InputError, match="no tissue"):
        fail(out, slides)
    assert held(out) == before
    assert begin(out, slides).complete


def test_what_was_replaced_is_kept_hidden_until_the_redo_is_finished(tmp_path, slides):
    out = tmp_path / "out"
    make(out, slides)
    before = held(out)
    with begin(out, slides, SETTINGS | {"size": 32}, redo=True) as stage:
        (out / "result").write_text("made anew")
        assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {"result", "stage.json"}
        assert held(out / ".replaced") == before
        stage.finish(principal=[out / "result"])
    assert held(out).keys() == {"result", "stage.json"}
    assert (out / "result").read_text() == "made anew"


def killed_at(moment, out, slides, config, redo):
    """A call that makes `result` anew and is killed before the so-manieth change to the folder; False if it ended."""
    script = f"""
import os, signal
from pathlib import Path
from tiling.stage import Stage
changes = 0
def counting(change):
    def counted(*arguments, **options):
        global changes
        changes += 1
        if changes > {moment}:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*arguments, **options)
    return counted
for name in ("rename", "replace", "unlink", "mkdir", "rmdir"):
    setattr(Path, name, counting(getattr(Path, name)))
out = Path({str(out)!r})
with Stage.begin(out, name="tile", config={config!r}, inputs={{"slides": Path({str(slides)!r})}}, redo={redo}) as stage:
    if not stage.complete:
        (out / "result").write_text("made anew")
        stage.finish(principal=[out / "result"])
"""
    ended = subprocess.run([sys.executable, "-c", script], stderr=subprocess.DEVNULL).returncode
    assert ended in (0, -signal.SIGKILL)
    return ended != 0


def test_a_redo_that_is_killed_at_any_change_leaves_the_old_output_or_goes_on_to_the_new(tmp_path, slides):
    new = SETTINGS | {"size": 32}
    moment = 0
    while True:
        out = tmp_path / f"out {moment}"
        make(out, slides)
        old = held(out)
        if not killed_at(moment, out, slides, new, redo=True):
            break
        again = tmp_path / f"again {moment}"
        shutil.copytree(out, again)
        make(again, slides, new, "made anew", redo=True)
        assert held(again).keys() == old.keys()
        assert completed(again, made_by="hdgan tile")["config"]["size"] == 32
        try:
            assert begin(out, slides).complete
            assert held(out) == old
        except InputError:  # the new one has begun, and goes on
            make(out, slides, new, "made anew")
            assert held(out).keys() == old.keys()
            assert (out / "result").read_text() == "made anew"
        moment += 1
    assert moment > 8


def test_a_redo_that_was_killed_goes_on_when_the_same_is_asked_for_and_makes_way_for_another(tmp_path, slides):
    out = tmp_path / "out"
    make(out, slides)
    old = held(out)
    for size, kept in ((32, False), (32, True), (16, False)):
        with begin(out, slides, SETTINGS | {"size": size}, redo=True):  # ends without an end, as if it was killed
            assert (out / "first").exists() == kept
            (out / "first").write_text("whole")
    (out / "first").unlink()
    with pytest.raises(InputError, match="no tissue"):
        fail(out, slides)
    assert held(out) == old


class Killed(BaseException):
    """A process is killed, as far as one can play that within another."""


def killed_in_the_removal(out, slides, monkeypatch, half=True):
    """A redo that is killed when its output is complete: before the old one is removed, or in the midst of that."""
    make(out, slides)
    (out / "second").write_text("old")

    def remove(path):
        if path.exists():
            (path / "result").unlink()
            raise Killed

    def drop(folder):
        raise Killed

    with begin(out, slides, SETTINGS | {"size": 32}, redo=True) as stage, monkeypatch.context() as patch:
        (out / "result").write_text("made anew")
        patch.setattr(*((aside, "remove", remove) if half else ("tiling.stage.drop_aside", drop)))
        with pytest.raises(Killed):
            stage.finish(principal=[out / "result"], summary={"failed": 1})


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("redo", [False, True])
def test_a_redo_that_is_killed_while_the_old_output_is_removed_is_complete(tmp_path, slides, monkeypatch, half, redo):
    out = tmp_path / "out"
    killed_in_the_removal(out, slides, monkeypatch, half)
    assert completed(out, made_by="hdgan tile")["config"]["size"] == 32
    assert len(held(out)) > 2
    assert begin(out, slides, SETTINGS | {"size": 32}, redo=redo).complete
    assert held(out).keys() == {"result", "stage.json"}
    assert (out / "result").read_text() == "made anew"
    assert not begin(out, slides, SETTINGS | {"size": 32}, redo=True).complete  # that is another redo


@pytest.mark.parametrize("half", [False, True])
def test_the_old_output_never_comes_back_when_the_new_one_is_complete(tmp_path, slides, monkeypatch, half):
    new = SETTINGS | {"size": 32}

    def retried(out, redo):
        stage = begin(out, slides, new, redo=redo, unsettled=lambda summary: summary["failed"] > 0)
        assert not stage.complete
        assert (out / "result").read_text() == "made anew"
        stage.withdraw()

    def replaced(out):
        with pytest.raises(InputError, match="no tissue"), begin(out, slides, SETTINGS | {"size": 16}, redo=True):
            raise InputError("no tissue")

    for number, again in enumerate((lambda out: retried(out, False), lambda out: retried(out, True), replaced)):
        out = tmp_path / f"out {number}"
        killed_in_the_removal(out, slides, monkeypatch, half)
        again(out)
        assert held(out).keys() == {"result", "stage.json"}
        assert completed(out, made_by="hdgan tile")["config"]["size"] == 32


def test_what_is_left_of_old_output_is_left_to_who_may_remove_it(tmp_path, slides, monkeypatch):
    out = tmp_path / "out"
    killed_in_the_removal(out, slides, monkeypatch)
    before = held(out)

    def refused(folder):
        raise OSError("read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr("tiling.stage.drop_aside", refused)
        assert begin(out, slides, SETTINGS | {"size": 32}).complete
        with pytest.raises(OSError, match="read-only"):
            begin(out, slides, SETTINGS | {"size": 32}, redo=True)
    assert held(out) == before


def test_a_torn_redo_is_mended_before_anybody_reads_the_folder(tmp_path, slides):
    out = tmp_path / "out"
    mend(out)
    assert not out.exists()
    make(out, slides)
    before = held(out)
    mend(out)
    assert held(out) == before
    aside.set_aside(out, "stage.json")
    mend(out)
    assert held(out) == before


def test_one_process_at_a_time_works_in_a_folder(tmp_path, slides):
    out = tmp_path / "out"
    script = f"""
from pathlib import Path
from tiling.stage import Stage
stage = Stage.begin(Path({str(out)!r}), name="tile", config={SETTINGS!r}, inputs={{"slides": Path({str(slides)!r})}})
print("begun", flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"begun\n"
        for redo in (False, True):
            with pytest.raises(InputError, match=rf"another process \({other.pid}\) works in .*out; wait for it"):
                begin(out, slides, redo=redo)
        other.kill()
    stage = begin(out, slides)
    stage.finish()
    assert {entry.name for entry in out.iterdir()} == {"stage.json"}


def test_bad_input_before_anything_is_made_leaves_nothing_that_refuses_the_corrected_request(tmp_path, slides):
    out = tmp_path / "out"
    for before in ({}, {".hidden": b"by a file manager"}):
        for name, content in before.items():
            out.mkdir()
            (out / name).write_bytes(content)
        with pytest.raises(InputError, match="no such layer"), begin(out, slides):
            raise InputError("no such layer")
        assert {entry.name for entry in out.rglob("*")} == before.keys()
    with begin(out, slides, SETTINGS | {"size": 32}) as stage:
        (out / "first").write_text("whole")
        stage.finish()
    assert out.exists()


def test_folders_that_were_made_for_a_stage_go_with_it_and_others_stay(tmp_path, slides):
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "there" / "new" / "study" / "out", tmp_path / "there" / "out"):
        with pytest.raises(InputError, match="no such layer"), begin(out, slides):
            raise InputError("no such layer")
    assert list((tmp_path / "there").iterdir()) == []
    stage = begin(tmp_path / "study" / "out", slides)
    (tmp_path / "study" / "notes.txt").write_text("mine")
    stage.withdraw()
    assert [entry.name for entry in (tmp_path / "study").iterdir()] == ["notes.txt"]


def fail_after_the_first(out, slides):
    with begin(out, slides):
        (out / "first").write_text("whole")
        raise InputError("bad item")


def test_bad_input_after_something_was_made_keeps_it_for_the_same_request_only(tmp_path, slides):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="bad item"):
        fail_after_the_first(out, slides)
    assert {entry.name for entry in out.iterdir()} == {"first", "stage.json"}
    with pytest.raises(InputError, match="was made with size = 64"):
        begin(out, slides, SETTINGS | {"size": 32})
    with begin(out, slides) as stage:
        stage.finish()


def test_a_complete_stage_may_have_something_to_try_again(tmp_path, slides):
    make(tmp_path / "out", slides, summary={"failed": 1})
    assert begin(tmp_path / "out", slides).complete
    stage = begin(tmp_path / "out", slides, unsettled=lambda summary: summary["failed"] > 0)
    assert not stage.complete
    stage.withdraw()
    assert completed(tmp_path / "out", made_by="hdgan tile")["summary"] == {"failed": 1}


def test_files_that_no_stage_made_are_left_alone_even_with_redo(tmp_path, slides):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    for redo in (False, True):
        with pytest.raises(InputError, match="holds files that no stage made; choose another folder"):
            begin(tmp_path / "thesis", slides, redo=redo)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def test_inputs_must_be_there_and_complete(tmp_path, slides):
    with pytest.raises(InputError, match="no such file or folder"):
        begin(tmp_path / "out", tmp_path / "absent")
    begin(tmp_path / "half", slides)
    with pytest.raises(InputError, match="half is only half made: run `hdgan tile` again"):
        begin(tmp_path / "out", tmp_path / "half", name="train")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="does not exist yet: make it with `hdgan tile`"):
        completed(tmp_path / "out", made_by="hdgan tile")


def test_licences_travel_from_stage_to_stage(tmp_path, slides):
    make(tmp_path / "generator", slides, licence=["non-commercial"])
    make(tmp_path / "masks", slides, licence=["CC-BY-4.0"])
    inputs = {"generator": tmp_path / "generator", "masks": tmp_path / "masks"}
    stage = Stage.begin(tmp_path / "pairs", name="synthesize", config={}, inputs=inputs)
    assert stage.record["licence"] == ["CC-BY-4.0", "non-commercial"]
    stage.finish(licence=["CC-BY-4.0"])
    assert read_json(tmp_path / "pairs" / "stage.json")["licence"] == ["CC-BY-4.0", "non-commercial"]


def test_a_damaged_record_is_named(tmp_path, slides):
    make(tmp_path / "out", slides)
    (tmp_path / "out" / "stage.json").write_text('{"stage": "ti')
    with pytest.raises(InputError, match=r"stage\.json is not JSON"):
        begin(tmp_path / "out", slides)


def test_a_complete_stage_stays_complete_until_it_is_changed_where_work_is_done_beside_it(tmp_path, slides):
    make(tmp_path / "out", slides, summary={"failed": 1})
    before = (tmp_path / "out" / "stage.json").read_bytes()
    with pytest.raises(KeyboardInterrupt), begin(tmp_path / "out", slides, unsettled=lambda summary: True, aside=True):
        raise KeyboardInterrupt
    assert (tmp_path / "out" / "stage.json").read_bytes() == before
    with begin(tmp_path / "out", slides, unsettled=lambda summary: True, aside=True) as stage:
        stage.change()
        with pytest.raises(InputError, match="only half made"):
            completed(tmp_path / "out", made_by="hdgan tile")
        stage.finish()
    assert completed(tmp_path / "out", made_by="hdgan tile")
