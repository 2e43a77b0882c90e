"""Parts of a self-contained HTML page: text, tables, pictures, a curve."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from hdgan.labels import Image
from hdgan.metrics import footnotes, score_rows
from hdgan.pictures import png_bytes

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; padding-bottom: .3rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .8rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } thead { border-bottom: 2px solid #888; }
tbody tr:nth-child(even) { background: #f5f5f5; } img { max-width: 100%; image-rendering: pixelated; }
figure { margin: 1rem 0; } figcaption { color: #555; font-size: .9rem; }
.swatch { display: inline-block; width: .9em; height: .9em; border: 1px solid #888; margin: 0 .3em 0 1em; }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """A whole HTML document."""
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def heading(text: str) -> str:
    """A section's heading."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def figure(image: Image, caption: str, *, width: int | None = None) -> str:
    """A picture (h, w, 3) uint8 inside the page, shown `width` px wide."""
    data = base64.b64encode(png_bytes(image)).decode()
    size = f' style="width:{width}px"' if width else ""
    text = escape(caption)
    return (
        f'<figure><img alt="{text}"{size} src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def report_table(report: Mapping[str, Any]) -> str:
    """The scores of a report, as `SegmentationReport.to_dict` gives it, and what its dashes mean."""
    rows = score_rows(report)
    scores = table(list(rows[0]), [list(row.values()) for row in rows])
    return "\n".join([scores, *map(paragraph, footnotes(report))])


def legend(classes: Sequence[tuple[str, tuple[int, int, int]]]) -> str:
    """Names of classes beside their colours."""
    entries = "".join(
        f'<span class="swatch" style="background:rgb{colour}"></span>{escape(name)}' for name, colour in classes
    )
    return f"<p>{entries}</p>"


def curve(points: Mapping[str, Sequence[tuple[float, float]]], *, x_label: str) -> str:
    """Lines over a common x axis as an SVG."""
    width, height, margin = 640, 220, 40
    everything = [point for line in points.values() for point in line]
    if not everything:
        return paragraph("no values were logged")
    x_high = max(x for x, _ in everything) or 1.0
    y_low, y_high = min(0.0, *(y for _, y in everything)), max(y for _, y in everything) or 1.0
    colours = ("#1f5fbf", "#c03a2b", "#2e8b57", "#8a5fbf")

    def place(x: float, y: float) -> str:
        across = margin + x / x_high * (width - 2 * margin)
        down = height - margin - (y - y_low) / (y_high - y_low or 1.0) * (height - 2 * margin)
        return f"{across:.1f},{down:.1f}"

    lines = []
    for i, (name, line) in enumerate(points.items()):
        colour = colours[i % len(colours)]
        path = " ".join(place(x, y) for x, y in line)
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>')
        lines.append(f'<text x="{margin + 10 + 130 * i}" y="18" fill="{colour}" font-size="13">{escape(name)}</text>')
    axis = f'<path d="M{margin} {margin / 2}V{height - margin}H{width - margin}" fill="none" stroke="#888"/>'
    ends = (
        f'<text x="{width - margin}" y="{height - 12}" font-size="12" text-anchor="end">'
        f"{x_high:g} {escape(x_label)}</text>"
        f'<text x="4" y="{margin}" font-size="12">{y_high:.3g}</text>'
        f'<text x="4" y="{height - margin}" font-size="12">{y_low:.3g}</text>'
    )
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img">{axis}{"".join(lines)}{ends}</svg>'
