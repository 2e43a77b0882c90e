import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from tiling.errors import InputError
from tiling.progress import set_quiet
from training.checkpoint import Checkpoints, Score, load_state, save_state
from training.draws import torch_draws
from training.errors import DivergedError
from training.loop import LoopConfig, _Forecast, run_loop
from training.metrics import Pace, read_metrics


class Walk:
    """A random walk with momentum: every step depends on all earlier ones and on its own draws."""

    def __init__(self):
        self.position = torch.zeros(3, requires_grad=True)
        self.optimiser = torch.optim.Adam([self.position], lr=0.1)
        self.stepped = []

    def step(self, index):
        draw = torch.randn(3, generator=torch_draws(0, "walk", index))
        self.optimiser.zero_grad()
        loss = (self.position - draw).square().sum()
        loss.backward()
        self.optimiser.step()
        self.stepped.append(index)
        return {"loss": loss.item()} | ({"every third": float(index)} if index % 3 == 0 else {})

    def state(self):
        return {"position": self.position.detach(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state):
        self.position.data.copy_(state["position"])
        self.optimiser.load_state_dict(state["optimiser"])


class DiedError(Exception):
    pass


class DiesAt(Walk):
    def __init__(self, step):
        super().__init__()
        self.last = step

    def step(self, index):
        if index == self.last:
            raise DiedError
        return super().step(index)


def train(trainer, folder, steps=11, **settings):
    finished = settings.pop("finished", lambda: False)
    run_loop(trainer, folder, LoopConfig(**{"steps": steps, "log_every": 4} | settings), "test", finished=finished)
    return trainer


def test_a_training_that_died_ends_as_if_nothing_had_happened(tmp_path):
    undisturbed = train(Walk(), tmp_path / "undisturbed", checkpoint_every=3)
    for step in (7, 10):
        with pytest.raises(DiedError):
            train(DiesAt(step), tmp_path / "died", checkpoint_every=3)
    resumed = train(Walk(), tmp_path / "died", checkpoint_every=3)
    assert resumed.stepped == [9, 10]
    assert torch.equal(resumed.position, undisturbed.position)
    assert read_metrics(tmp_path / "died") == read_metrics(tmp_path / "undisturbed")
    states = [(tmp_path / name / "checkpoints" / "step-00000011.safetensors") for name in ("died", "undisturbed")]
    assert states[0].read_bytes() == states[1].read_bytes()


def test_metrics_are_means_since_the_last_line_over_the_steps_that_have_them(tmp_path):
    train(Walk(), tmp_path / "each", log_every=1)
    losses = [line["loss"] for line in read_metrics(tmp_path / "each")]
    train(Walk(), tmp_path / "means", log_every=4)
    lines = read_metrics(tmp_path / "means")
    assert [line["step"] for line in lines] == [4, 8, 11]
    assert [line["loss"] for line in lines] == pytest.approx(
        [sum(losses[:4]) / 4, sum(losses[4:8]) / 4, sum(losses[8:]) / 3]
    )
    assert [line["every third"] for line in lines] == [1.5, 6, 9]


def test_lines_after_the_checkpoint_and_a_half_written_one_are_dropped(tmp_path):
    with pytest.raises(DiedError):
        train(DiesAt(9), tmp_path, checkpoint_every=6)
    assert [line["step"] for line in read_metrics(tmp_path)] == [4, 8]
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')
    train(Walk(), tmp_path)
    assert [line["step"] for line in read_metrics(tmp_path)] == [4, 8, 11]


def test_a_longer_training_continues_a_finished_one(tmp_path):
    train(Walk(), tmp_path / "grown", steps=5)
    grown = train(Walk(), tmp_path / "grown", steps=11)
    assert grown.stepped == list(range(5, 11))
    assert torch.equal(grown.position, train(Walk(), tmp_path / "at once", steps=11).position)
    assert train(Walk(), tmp_path / "grown", steps=11).stepped == []


def test_a_trainer_that_has_finished_early_ends_the_loop_then_and_after_a_resume(tmp_path):
    def near(trainer):
        return lambda: float(trainer.position.detach().abs().max()) > 0.25

    trainer = Walk()
    train(trainer, tmp_path, steps=500, finished=near(trainer))
    ended = len(trainer.stepped)
    assert 2 < ended < 500
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == read_metrics(tmp_path)[-1]["step"] == ended
    again = Walk()
    train(again, tmp_path, steps=500, finished=near(again))
    assert again.stepped == []


def test_checkpoints_are_written_by_steps_and_by_time_and_only_the_last_are_kept(tmp_path):
    train(Walk(), tmp_path / "steps", checkpoint_every=3)
    assert Checkpoints(tmp_path / "steps" / "checkpoints").steps() == [9, 11]
    train(Walk(), tmp_path / "time", checkpoint_seconds=0.0, keep=4)
    assert Checkpoints(tmp_path / "time" / "checkpoints").steps() == [8, 9, 10, 11]
    train(Walk(), tmp_path / "neither")
    assert Checkpoints(tmp_path / "neither" / "checkpoints").steps() == [11]


def test_what_is_not_finite_stops_the_training_and_keeps_the_checkpoint_before_it(tmp_path):
    class Diverges(Walk):
        def step(self, index):
            return super().step(index) | ({"penalty": float("nan")} if index == 7 else {})

    with pytest.raises(DivergedError, match="step 8: penalty is nan; begin again with a lower learning rate"):
        train(Diverges(), tmp_path, checkpoint_every=2)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [4, 6]


def test_settings_out_of_range_are_refused_with_the_value():
    for name in ("steps", "log_every", "checkpoint_every", "keep"):
        with pytest.raises(InputError, match=f"{name} must be at least 1, not 0"):
            LoopConfig(**{"steps": 3} | {name: 0})


_SLOW_WALK = """
import sys
import time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_loop import Walk, train
class Slow(Walk):
    def step(self, index):
        time.sleep(0.02)
        return super().step(index)
try:
    train(Slow(), Path(sys.argv[2]), steps=int(sys.argv[3]), log_every=1, checkpoint_every=7)
except KeyboardInterrupt as interrupt:
    sys.exit(str(interrupt))
"""


def start_walk(folder, steps):
    here = str(__file__).rpartition("/")[0]
    return subprocess.Popen(
        [sys.executable, "-c", _SLOW_WALK, here, str(folder), str(steps)], stderr=subprocess.PIPE, text=True
    )


def test_ctrl_c_finishes_the_step_writes_a_checkpoint_and_the_same_call_goes_on(tmp_path):
    process = start_walk(tmp_path / "stopped", 10_000)
    while len(read_metrics(tmp_path / "stopped")) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    checkpoints = Checkpoints(tmp_path / "stopped" / "checkpoints")
    stopped = checkpoints.steps()[-1]
    assert f"stopped after step {stopped}; the same command continues from there" in said
    resumed = train(Walk(), tmp_path / "stopped", steps=stopped + 4, log_every=1)
    assert resumed.stepped == list(range(stopped, stopped + 4))
    undisturbed = train(Walk(), tmp_path / "undisturbed", steps=stopped + 4, log_every=1)
    assert torch.equal(resumed.position, undisturbed.position)
    assert read_metrics(tmp_path / "stopped") == read_metrics(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(tmp_path):
    steps = 120
    for kill in range(4):
        process = start_walk(tmp_path / "killed", steps)
        while len(_lines(tmp_path / "killed")) < 20 * (kill + 1):
            assert process.poll() is None
            time.sleep(0.003)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        (tmp_path / "killed" / "checkpoints").mkdir(exist_ok=True)
        (tmp_path / "killed" / "checkpoints" / ".partial-0-step-00000099.safetensors").write_bytes(b"half")
    resumed = train(Walk(), tmp_path / "killed", steps=steps, log_every=1)
    assert resumed.stepped[0] >= 77
    train(Walk(), tmp_path / "undisturbed", steps=steps, log_every=1)
    for name in ("metrics.jsonl", f"checkpoints/step-{steps:08d}.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert not list((tmp_path / "killed" / "checkpoints").glob(".partial-*"))
    assert load_state(tmp_path / "killed" / "checkpoints" / f"step-{steps:08d}.safetensors")["pending"] == {}


def _lines(folder):
    path = folder / "metrics.jsonl"
    return [line for line in path.read_text().splitlines() if json.loads(line)] if path.exists() else []


def test_a_long_training_says_once_how_long_it_will_take(capsys):
    set_quiet(False)
    seconds = iter([0, 10, 25, 40])
    forecast = _Forecast("train", 1000, 101_000, clock=lambda: next(seconds))
    forecast.look(1010)
    assert capsys.readouterr().err == ""
    forecast.look(1025)
    said = "train: 99975 more steps would take about 28 h; Ctrl-C stops it at any time, and the same command goes on\n"
    assert capsys.readouterr().err == said
    forecast.look(1040)
    assert capsys.readouterr().err == ""


def test_a_training_of_minutes_makes_no_forecast(tmp_path, capsys):
    train(Walk(), tmp_path, steps=3)
    seconds = iter([0, 30])
    _Forecast("train", 0, 100, clock=lambda: next(seconds)).look(10)
    assert capsys.readouterr().err == ""


def test_the_best_checkpoint_is_kept_and_each_evaluation_logged(tmp_path):
    scores = iter([3.0, 1.0, 2.0, 4.0, 5.0])

    def evaluation(done):
        score = next(scores)
        return {"distance": score}, Score("distance", score)

    run_loop(Walk(), tmp_path, LoopConfig(steps=10, evaluate_every=2, keep=1), "test", evaluation=evaluation)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert (checkpoints.steps(), checkpoints.best()) == ([4, 10], (4, Score("distance", 1.0)))
    logged = {line["step"]: line["distance"] for line in read_metrics(tmp_path) if "distance" in line}
    assert logged == {2: 3.0, 4: 1.0, 6: 2.0, 8: 4.0, 10: 5.0}


def test_metrics_are_logged_for_tensorboard_too(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run_loop(Walk(), tmp_path, LoopConfig(steps=6, log_every=2), "test", tensorboard=True)
    read = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    steps = [scalar.step for scalar in read.Scalars("loss")]
    assert steps == [2, 4, 6]
    assert read.Scalars("loss")[0].value == pytest.approx(read_metrics(tmp_path)[0]["loss"])


def test_rate_and_memory_are_logged_where_steps_take_images(tmp_path):
    run_loop(Walk(), tmp_path, LoopConfig(steps=4, log_every=2, images=8), "test")
    for line in read_metrics(tmp_path):
        assert line["images_per_second"] > 0
        assert 0.05 < line["memory_gib"] < 20


def test_sigterm_stops_after_the_step_with_a_checkpoint(tmp_path):
    class Told(Walk):
        def step(self, index):
            if index == 3:
                signal.raise_signal(signal.SIGTERM)
            return super().step(index)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 4"):
        run_loop(Told(), tmp_path, LoopConfig(steps=10), "test")
    assert Checkpoints(tmp_path / "checkpoints").steps() == [4]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_scores_of_something_else_begin_anew(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    for step, score in ((1, Score("fd", 0.1)), (2, Score("other fd", 30.0)), (3, Score("other fd", 31.0))):
        checkpoints.save(step, {}, score=score)
    assert (checkpoints.steps(), checkpoints.best()) == ([2, 3], (2, Score("other fd", 30.0)))


def test_pictures_come_in_time_and_a_training_goes_on_without_one(tmp_path, capsys):
    drawn = []

    def picture(done):
        drawn.append(done)
        if done == 4:
            raise OSError("disk full")

    run_loop(Walk(), tmp_path, LoopConfig(steps=7, picture_every=2), "test", picture=picture)
    assert drawn == [2, 4, 6, 7]
    assert "test, step 4: no picture (disk full)" in capsys.readouterr().err


class Measured(Walk):
    """A walk that is measured and drawn; it dies while it is measured, or saved with its score, for the first time."""

    def __init__(self, folder, *, measured_at=None, saved_at=None, stopped_at=None):
        super().__init__()
        self.folder, self.drawn = folder, []
        self.measured_at, self.saved_at, self.stopped_at, self.scored = measured_at, saved_at, stopped_at, None

    def step(self, index):
        if index + 1 == self.stopped_at:
            signal.raise_signal(signal.SIGTERM)
        return super().step(index)

    def state(self):
        if self.scored is not None and self.scored == self.saved_at:
            raise DiedError
        return super().state()

    def evaluation(self, done):
        if done == self.measured_at:
            raise DiedError
        self.scored, value = done, float(self.position.detach().square().sum())
        return {"distance": value}, Score("distance", value)

    def run(self):
        config = LoopConfig(steps=7, log_every=5, evaluate_every=5, picture_every=5, keep=1)
        run_loop(self, self.folder, config, "test", evaluation=self.evaluation, picture=self.drawn.append)
        return self


@pytest.mark.parametrize(
    "died", [{"measured_at": 5}, {"saved_at": 5}, {"stopped_at": 5}, {"measured_at": 7}, {"saved_at": 7}]
)
def test_what_is_owed_where_a_training_died_is_done_when_it_goes_on(tmp_path, died):
    undisturbed = Measured(tmp_path / "undisturbed").run()
    with pytest.raises((DiedError, KeyboardInterrupt)):
        Measured(tmp_path / "died", **died).run()
    died_at = max(died.values())
    assert Checkpoints(tmp_path / "died" / "checkpoints").steps()[-1] == died_at
    resumed = Measured(tmp_path / "died").run()
    assert resumed.stepped == list(range(died_at, 7))
    assert resumed.drawn == [step for step in undisturbed.drawn if step >= died_at]
    assert (tmp_path / "died" / "metrics.jsonl").read_bytes() == (
        tmp_path / "undisturbed" / "metrics.jsonl"
    ).read_bytes()
    best = [Checkpoints(tmp_path / name / "checkpoints").best() for name in ("died", "undisturbed")]
    assert best[0] == best[1]
    assert best[0] is not None


def test_a_state_of_before_there_was_anything_owed_is_gone_on_from(tmp_path):
    train(Walk(), tmp_path / "before", steps=6, log_every=1)
    path = tmp_path / "before" / "checkpoints" / "step-00000006.safetensors"
    state = load_state(path)
    save_state(path, {name: value for name, value in state.items() if name not in ("owed", "lines")})
    with (tmp_path / "before" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 7, "loss": 1}\n')
    train(Walk(), tmp_path / "before", steps=8, log_every=1)
    train(Walk(), tmp_path / "undisturbed", steps=8, log_every=1)
    assert read_metrics(tmp_path / "before") == read_metrics(tmp_path / "undisturbed")


def test_the_rate_is_that_of_the_steps_alone(monkeypatch):
    seconds = iter([0.0, 4.0, 104.0, 106.0])  # a step, what is measured, another step
    monkeypatch.setattr("training.metrics.time.monotonic", lambda: next(seconds))
    pace = Pace(images=30, done=0)
    with pace.paused():
        pass
    assert pace.measured(2)["images_per_second"] == 10


def test_a_best_state_that_is_not_there_any_more_is_none(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    for step, score in ((1, Score("fd", 0.1)), (2, Score("fd", 3.0))):
        checkpoints.save(step, {}, score=score)
    assert checkpoints.best() == (1, Score("fd", 0.1))
    (tmp_path / "step-00000001.safetensors").unlink()
    assert checkpoints.best() is None
    checkpoints.save(3, {}, score=Score("fd", 4.0))
    assert checkpoints.best() == (3, Score("fd", 4.0))
