"""What slides and patients are called in all that a tile folder shows: by their own names, or by hashes.

Hashes are HMAC-SHA-256 (RFC 2104) with a random key of the folder, so that nobody can find a name by trying names. The
key, and which hash is which slide, are in `names.json`, which stays with who made it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tiling.errors import InputError
from tiling.files import read_json, replacing

NAMES = "names.json"
_DIGITS = 20
_OWNER_ONLY = 0o600


@dataclass
class PublicNames:
    """Names that may be told; made by :meth:`of`. Without a key they are the names themselves."""

    key: bytes | None = None
    slides: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, *, anonymise: bool) -> PublicNames:
        """The names of a tile folder: with the key that it has, or else a new one."""
        if not anonymise:
            return cls()
        known = (folder / NAMES).exists()
        return cls(bytes.fromhex(read_json(folder / NAMES)["key"]) if known else secrets.token_bytes(32))

    def slide(self, name: str) -> str:
        """What a slide is called, from its path below the archive: that, or a hash with its suffix, without folders."""
        if self.key is None:
            return name
        public = self._hash(name) + PurePosixPath(name).suffix
        self.slides[public] = name
        return public

    def patient(self, name: str) -> str:
        """What a patient is called."""
        return name if self.key is None else self._hash(f"patient {name}")

    def scrub(self, text: str, name: str, root: Path) -> str:
        """Take the archive's place out of a message about a slide, and what the slide is called if that is hashed."""
        text = text.replace(f"{root}{os.sep}", "")
        if self.key is None:
            return text
        path, public = PurePosixPath(name), self.slide(name)
        for told in (name, path.name, path.stem):
            text = re.sub(rf"(?<!\w){re.escape(told)}(?!\w)", public, text)
        return text.replace(str(root), "...")

    def scrubber(self, root: Path) -> Callable[[str, str], str]:
        """:meth:`scrub` for the slides of an archive: (text, slide's name) to text."""
        return lambda text, name: self.scrub(text, name, root)

    def told_root(self, root: Path) -> Path | None:
        """The archive's place as the manifest may tell it."""
        return root if self.key is None else None

    def save(self, folder: Path, root: Path) -> None:
        """Write key and slides for :func:`real_names`, readable by their owner alone; nothing where none is hashed."""
        if self.key is None:
            return
        content = {
            "key": self.key.hex(),
            "root": os.path.relpath(root.resolve(), folder.resolve()),
            "slides": self.slides,
        }
        with replacing(folder / NAMES) as partial:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(json.dumps(content, ensure_ascii=False, indent=2))

    def _hash(self, text: str) -> str:
        assert self.key is not None
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def real_names(folder: Path) -> tuple[Path, Mapping[str, str]]:
    """The archive's place, and the path of every slide below it, of a tile folder whose slides are called by hashes.

    Raises
    ------
    InputError
        If the folder was handed on without its names.
    """
    if not (folder / NAMES).exists():
        raise InputError(
            f"{folder} is anonymised, and {NAMES}, which tells where its slides are, is not there: its tiles can be "
            "read where it was made, or if they were materialised"
        )
    content = read_json(folder / NAMES)
    return folder / content["root"], content["slides"]
