from __future__ import annotations

import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tiling.page import write_page

EVIL = "</script><script>alert('1')</script> <b>&amp; \"quoted\" 🔬 #1?.svs"


class Page(HTMLParser):
    """What a browser sees of the page: the table's text, all tags, and the text of scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.table: list[list[str]] = []
        self.raw: dict[str, str] = {}
        self.text = ""
        self._inside: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self._inside.append(tag)
        if tag == "tr":
            self.table.append([])
        if tag in ("td", "th"):
            self.table[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag, f"{tag} is not closed where it should be"

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] in ("script", "style"):
            self.raw[self._inside[-1]] = data
        elif "td" in self._inside or "th" in self._inside:
            self.table[-1][-1] += data
        else:
            self.text += data

    def column(self, name: str) -> list[str]:
        index = self.table[0].index(name)
        return [row[index] for row in self.table[1:]]

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _row(slide: str, **more: Any) -> dict[str, Any]:
    return {"slide": slide, "status": "done", "reason": "", "tiles": 3, "candidates": 10, "below_tissue": 7} | more


def _cells(count: int) -> list[dict[str, int]]:
    return [
        {"level": 0, "row": i, "column": 2, "x": 480, "y": 240 * i, "width": 240, "height": 240} for i in range(count)
    ]


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    failed = {"tiles": 0, "candidates": None, "below_tissue": None}
    return [
        _row(
            "b.svs",
            mpp=0.2522,
            width=100_000,
            height=80_000,
            backend="tiff",
            fold=1,
            patient="P1",
            fingerprint="ab" * 16,
        ),
        _row("c.svs", corrupt_cells=_cells(1), stain="PAS", over_limit=2),
        _row("a.svs", stain="Masson", grade=2, damaged=4, scanner="X & Y"),
        _row("empty.svs", status="empty", reason="no tissue found", tiles=0),
        _row("late.svs", **failed, status="failed", reason="cannot open late.svs", traceback="Traceback:\n  <frame>"),
        _row(EVIL, **failed, status="failed", reason=f"cannot open {EVIL}", error="OSError: disk"),
    ]


def test_failures_come_first_then_corrupt_then_empty_slides(rows, tmp_path):
    page = Page(write_page(tmp_path, rows))
    assert page.column("slide") == [EVIL, "late.svs", "c.svs", "empty.svs", "a.svs", "b.svs"]
    assert [row["data-rank"] for row in page.having("tr")[1:]] == list("001233")
    assert page.column("status") == ["failed", "failed", "done", "empty", "done", "done"]


def test_the_summary_says_in_words_what_became_of_the_archive(rows, tmp_path):
    page = Page(write_page(tmp_path, rows, title="Kidneys", settings={"size": 4096}))
    for told in (
        "6 slides: 3 done, 1 empty, 2 failed. 9 tiles of 40 candidates.",
        "Dropped: 28 below the tissue fraction, 2 over the limit, 4 with pixels that cannot be decoded.",
        "1 corrupt cell in 1 slide.",
    ):
        assert told in page.text.splitlines()
    for told in ("Kidneys", "Settings", "size", "4096"):
        assert told in page.text


def test_every_column_that_holds_something_is_shown(rows, tmp_path):
    page = Page(write_page(tmp_path, rows))
    assert page.table[0] == [
        *("slide", "status", "reason", "tiles", "candidates", "below tissue", "over limit", "damaged"),
        *("corrupt cells", "width", "height", "mpp", "backend", "patient", "fold", "stain", "grade", "scanner"),
        "fingerprint",
    ]
    shown = {name: page.column(name) for name in page.table[0]}
    assert shown["mpp"] == ["", "", "", "", "", "0.2522"]
    assert shown["stain"] == ["", "", "PAS", "", "Masson", ""]
    assert shown["scanner"][4] == "X & Y"
    assert "240" in shown["reason"][2]
    numeric = [
        head for head, attributes in zip(page.table[0], page.having("th"), strict=True) if "data-number" in attributes
    ]
    assert set(numeric) >= {"tiles", "damaged", "corrupt cells", "mpp", "fold", "grade"}
    assert not set(numeric) & {"slide", "status", "reason", "stain", "scanner"}


def test_an_error_is_shown_and_its_traceback_folded(rows, tmp_path):
    page = Page(write_page(tmp_path, rows))
    evil, late = page.column("reason")[:2]
    assert "OSError: disk" in evil
    assert late == "cannot open late.svsTracebackTraceback:\n  <frame>"
    assert len(page.having("details")) == 2
    assert not any("open" in attributes for attributes in page.having("details"))


def test_no_text_of_a_ledger_becomes_markup(tmp_path):
    row = _row(EVIL, reason=EVIL, patient=EVIL, traceback=EVIL, status="failed")
    row |= {EVIL: EVIL, 'x"}</style><b>': 3}
    page = Page(write_page(tmp_path, [row], title=EVIL, settings={EVIL: [EVIL]}))
    assert page.column("slide") == [EVIL]
    assert len(page.having("script")) == len(page.having("style")) == 1
    assert not page.having("b")
    assert page.source.count(html.escape(EVIL)) >= 8


def test_the_page_may_run_its_own_script_alone_and_loads_nothing_from_elsewhere(rows, tmp_path):
    page = Page(write_page(tmp_path, rows, pictures={"b.svs": "overviews/b.jpg"}))
    policy = next(meta["content"] for meta in page.having("meta") if "http-equiv" in meta)
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://|//[a-z]", page.source)
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.tags for name in attributes)


def test_pictures_are_linked_whatever_their_name_and_loaded_when_seen(rows, tmp_path):
    pictures = {"b.svs": "overviews/50 % #1? 🔬.jpg", EVIL: "javascript:alert(1)"}
    page = Page(write_page(tmp_path, rows, pictures=pictures))
    images = page.having("img")
    assert [image["src"] for image in images] == [
        "javascript%3Aalert%281%29",
        "overviews/50%20%25%20%231%3F%20%F0%9F%94%AC.jpg",
    ]
    assert [link["href"] for link in page.having("a")] == [image["src"] for image in images]
    assert all(image["loading"] == "lazy" for image in images)
    assert page.table[0][:2] == ["picture", "slide"]
    assert page.column("slide")[-1] == "b.svs"


def test_a_slide_of_thousands_of_corrupt_cells_lists_the_first(tmp_path):
    page = Page(write_page(tmp_path, [_row("a.svs", corrupt_cells=_cells(5000))]))
    assert page.column("corrupt cells") == ["5000"]
    assert page.column("reason")[0].endswith("and 4900 more, in the ledger")
    assert "5,000 corrupt cells in 1 slide." in page.text


def test_the_page_of_an_archive_of_thousands_stays_small(tmp_path):
    many = [_row(f"case-{i:05d}/HE 1.svs", width=100_000, height=80_000, fingerprint="ab" * 16) for i in range(5000)]
    path = write_page(tmp_path, many, pictures={row["slide"]: f"overviews/{row['slide']}.jpg" for row in many})
    assert path.stat().st_size < 3_000_000
    assert "5,000 slides: 5,000 done, 0 empty, 0 failed. 15,000 tiles of 50,000 candidates." in Page(path).text


def test_the_same_ledger_gives_the_same_bytes_in_any_order(rows, tmp_path):
    first = write_page(tmp_path / "a", rows).read_bytes()
    assert write_page(tmp_path / "b", rows[::-1]).read_bytes() == first
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["index.html"]


def test_an_archive_without_slides_and_a_name_that_is_no_text_have_a_page(tmp_path):
    assert "0 slides" in Page(write_page(tmp_path, [])).text
    name = b"caf\xe9.svs".decode("utf-8", "surrogateescape")
    page = Page(write_page(tmp_path, [_row(name)], pictures={name: f"overviews/{name}.jpg"}))
    assert page.column("slide") == ["caf?.svs"]
    assert page.having("img")[0]["src"] == "overviews/caf%E9.svs.jpg"
