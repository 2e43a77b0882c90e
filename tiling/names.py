"""What slides and patients are called in all that a tile folder shows: by their own names, or by hashes.

Hashes are HMAC-SHA-256 (RFC 2104) with a random key of the folder, so that nobody can find a name by trying names. The
key, and which hash is which slide and which patient, are in `names.json`, which only its owner can read. Whoever makes
tiles public keeps that file: all that is hashed can be undone with it, and nothing without.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import unicodedata
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tiling.aside import wherever
from tiling.backends import SUFFIXES
from tiling.errors import InputError
from tiling.files import read_json, replacing

NAMES = "names.json"
_WARNING = "Never hand this file on: it tells which slide and which patient every hash is."
_REPAIR = "restore it; without it nobody knows the names"
_DIGITS = 24  # hexadecimal, of 64: two of a million names have the same with probability 1e-17
_OWNER_ONLY = 0o600


@dataclass
class PublicNames:
    """Names that may be told; made by :meth:`of`. Without a key they are the names themselves.

    Attributes
    ----------
    key
        Of the hashes, 32 bytes; None where nothing is hashed.
    slides, patients
        Which slide (its path below the archive) and which patient every hash given so far is.
    """

    key: bytes | None = field(default=None, repr=False)
    slides: dict[str, str] = field(default_factory=dict, repr=False)
    patients: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, folder: Path, *, anonymise: bool) -> PublicNames:
        """The names of a tile folder: with the key that it has, or else a new one, which :meth:`save` writes.

        A redo keeps the key, also one that was killed before it saved anything.

        Raises
        ------
        InputError
            If the folder's `names.json` cannot be read.
        """
        if not anonymise:
            return cls()
        path = wherever(folder, NAMES)
        if not path.exists():
            return cls(secrets.token_bytes(32))
        content = _content(path)
        return cls(bytes.fromhex(content["key"]), content["slides"], content["patients"])

    def slide(self, name: str) -> str:
        """What a slide is called, from its path below the archive: that, or a hash with its suffix, without folders."""
        if self.key is None:
            return name
        suffix = PurePosixPath(name).suffix
        public = self._hash("slide", name) + (suffix if suffix.lower() in SUFFIXES else "")
        return _kept(self.slides, public, name)

    def patient(self, name: str) -> str:
        """What a patient is called."""
        return name if self.key is None else _kept(self.patients, self._hash("patient", name), name)

    def scrub(self, text: str, name: str, *places: Path) -> str:
        """Take out of a message what must not be told about a slide.

        Parameters
        ----------
        text
            An error's message or traceback.
        name
            The slide's path below the archive. If it is hashed, the hash takes the place of the path, of the file name
            with and without suffix, and of the folders' names: wherever they stand as words of their own, as they are
            or as Python, JSON or an address would write them. Names of one letter, or of up to three digits, are
            replaced only beside a slash or a quotation mark: elsewhere they are ordinary numbers and words.
        places
            The archive, and other folders that messages may name. They are always taken out.
        """
        written = sorted({str(each) for place in places for each in (place, place.resolve())}, key=len, reverse=True)
        for place in written:
            text = re.sub(rf"(?<![\w.-]){_any_form(place)}{re.escape(os.sep)}", "", text)
        if self.key is None:
            return text
        public = self.slide(name)
        told = sorted(_parts(name), key=len, reverse=True)
        text = re.sub("|".join(map(_as_word, told)), public, text)
        return re.sub(rf"(?<![\w.-])(?:{'|'.join(map(_any_form, written))})(?![\w-])", "...", text)

    def scrubber(self, *places: Path) -> Callable[[str, str], str]:
        """:meth:`scrub` for the slides of an archive: (text, slide's name) to text."""
        return lambda text, name: self.scrub(text, name, *places)

    def setting(self, value: Any) -> Any:
        """A setting as the record of the stage may tell it: patterns of names can hold names."""
        return value if self.key is None or value is None else self._hash("setting", json.dumps(value, sort_keys=True))

    def told_root(self, root: Path) -> Path | None:
        """The archive's place as the manifest may tell it."""
        return root if self.key is None else None

    def save(self, folder: Path, root: Path) -> None:
        """Write key and names for :func:`real_names`, readable by their owner alone; nothing where none is hashed.

        Names that an earlier call saved, and that were not asked for now, stay.

        Raises
        ------
        InputError
            If the folder has got another key meanwhile.
        """
        if self.key is None:
            return
        path = folder / NAMES
        if path.exists() and _content(path)["key"] != self.key.hex():
            raise InputError(f"{path} was replaced while this process ran; run the same command again")
        place = os.path.relpath(root.resolve(), folder.resolve())
        names = {"slides": dict(sorted(self.slides.items())), "patients": dict(sorted(self.patients.items()))}
        content = json.dumps({"warning": _WARNING, "key": self.key.hex(), "root": place, **names}, indent=2).encode()
        if path.exists() and path.read_bytes() == content and path.stat().st_mode & 0o777 == _OWNER_ONLY:
            return
        with replacing(path) as partial:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)

    def _hash(self, kind: str, name: str) -> str:
        assert self.key is not None
        message = f"{kind}\0{name}".encode(errors="surrogateescape")
        return hmac.new(self.key, message, hashlib.sha256).hexdigest()[:_DIGITS]


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
    content = _content(folder / NAMES)
    return folder / content["root"], content["slides"]


def _content(path: Path) -> dict[str, Any]:
    content = read_json(path, repair=_REPAIR)
    kinds = {"key": str, "root": str, "slides": dict, "patients": dict}
    if wrong := [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]:
        raise InputError(f"{path} lacks {', '.join(wrong)}: {_REPAIR}")
    if not re.fullmatch("[0-9a-f]{64}", content["key"]):
        raise InputError(f"{path} has a key that is none: {_REPAIR}")
    return content


def _kept(known: dict[str, str], public: str, name: str) -> str:
    """A hash, noted; two names that have the same would be one slide, or one patient."""
    if known.setdefault(public, name) != name:
        raise InputError(
            f"{known[public]!r} and {name!r} have the same hash in {NAMES}: delete it, and tile with --redo"
        )
    return public


def _parts(name: str) -> set[str]:
    """What of a slide's path could tell who it is."""
    path = PurePosixPath(name)
    bare = path.with_suffix("")
    folders = {str(folder) for folder in path.parents} - {"."}
    return {name, str(bare), path.name, bare.name, bare.with_suffix("").name, *folders, *path.parts}


def _any_form(text: str) -> str:
    """A regular expression of a text, as it is or escaped in the ways that messages have."""
    spelt = {text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)}
    forms = set(spelt)
    for each in spelt:
        forms |= {repr(each)[1:-1], ascii(each)[1:-1], json.dumps(each)[1:-1]}
        forms.add(urllib.parse.quote(each, encoding="utf-8", errors="surrogateescape"))
    return f"(?:{'|'.join(re.escape(form) for form in sorted(forms, key=len, reverse=True))})"


def _as_word(part: str) -> str:
    """A regular expression of a part of a path where it is not within a longer word."""
    word = rf"(?<![^\W_]){_any_form(part)}(?![^\W_])"
    if len(part) > 1 and not (part.isdigit() and len(part) < 4):
        return word
    return rf"(?:(?<=[/'\"]){word}|{word}(?=[/'\"]))"
