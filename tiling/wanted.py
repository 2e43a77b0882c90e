"""What is wanted of a stage, against the record of what its folder holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiling.errors import InputError
from tiling.wording import first_few

_PARTS = ("config", "inputs")


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a stage, as :meth:`tiling.stage.Stage.begin` is asked for it.

    Attributes
    ----------
    stage
        The command that makes it.
    config
        The settings that determine its output, as JSON gives them back.
    inputs
        The fingerprints of what it is made from.
    origins
        Settings that are fingerprints, and what it means that one is another.
    grows
        Settings, and inputs, that may be others than before.
    unsettled
        Tells from the summary of a complete stage whether something in it is to be tried again.
    as_now
        Gives the settings of a record, which an earlier version may have written, as they would be recorded now.
    elsewhere
        What to do to have both, in words.
    """

    stage: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    origins: Mapping[str, str]
    grows: Collection[str]
    unsettled: Callable[[Mapping[str, Any]], bool]
    as_now: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    elsewhere: str

    def to_dict(self) -> dict[str, Any]:
        """What the stage's record says of it."""
        return {"stage": self.stage, "config": self.config, "inputs": self.inputs}

    def is_what_was(self, previous: Mapping[str, Any]) -> bool:
        """Whether the same was wanted when a record was written, but for what grows."""
        before, asked = self._before(previous), self.to_dict()
        return not any(key not in self.grows for part in _PARTS for key in _differing(before[part], asked[part]))

    def is_settled(self, previous: Mapping[str, Any]) -> bool:
        """Whether a stage is complete, as far as is wanted now, and nothing in it is to be tried again."""
        before, asked = self._before(previous), self.to_dict()
        complete = previous["status"] == "complete" and all(before[part] == asked[part] for part in _PARTS)
        return complete and not self.unsettled(previous.get("summary", {}))

    def _before(self, previous: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """What was wanted when a record was written."""
        return {"config": self.as_now(previous["config"]), "inputs": previous["inputs"]}

    def refuse_other_stage(self, folder: Path, previous: Mapping[str, Any]) -> None:
        """Refuse a folder that another stage made."""
        if previous["stage"] != self.stage:
            made_by = previous["stage"]
            raise InputError(f"{folder} was made by `{made_by}`, not by `{self.stage}`; choose another folder")

    def refuse_other(self, folder: Path, previous: Mapping[str, Any]) -> None:
        """Refuse to go on with a folder of other settings or from other inputs."""
        config = self._before(previous)["config"]
        changed = [key for key in _differing(config, self.config) if key not in self.grows]
        if settings := [key for key in changed if key not in self.origins]:
            values = [pair for key in settings for pair in _values(key, config.get(key), self.config.get(key))]
            before = first_few([_told(key, value) for key, value, _ in values])
            now = first_few([_told(key, value) for key, _, value in values])
            if len(values) == 1 and values[0][2] is not None:
                now = repr(values[0][2])
            raise InputError(
                f"{folder} was made with {before}, and now {now} {'is' if len(values) == 1 else 'are'} asked for; "
                f"repeat the first setting, add --redo to replace it, or {self.elsewhere}"
            )
        others = [words for key, words in self.origins.items() if key in changed]
        others += [_other(key) for key in _differing(previous["inputs"], self.inputs) if key not in self.grows]
        if others:
            raise InputError(f"{folder} was made from {others[0]}; add --redo to make it again from what is there now")


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [key for key in {**now, **before} if before.get(key) != now.get(key)]


def _values(setting: str, before: Any, now: Any) -> list[tuple[str, Any, Any]]:
    """What a setting was and is; of one that is a group of settings, those that differ."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return [(key, before.get(key), now.get(key)) for key in _differing(before, now)]
    return [(setting, before, now)]


def _told(setting: str, value: Any) -> str:
    return f"no {setting}" if value is None else f"{setting} = {value!r}"


def _other(inputs: str) -> str:
    return f"{'other' if inputs.endswith('s') else 'another'} {inputs}"
