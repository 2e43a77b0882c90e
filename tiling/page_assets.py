"""Style and script of the page of an archive."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --text: #1d2125; --pale: #5c6670; --line: #d5dae0; --ground: #fff; --band: #f4f6f8;
  --failed: #b3202c; --corrupt: #9a5b00; --empty: #5c6670; --done: #1b7a43; --link: #1f5fbf; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e7eb; --pale: #a0a9b3; --line: #3a424b; --ground: #15181c;
  --band: #1d2126; --failed: #ff7b84; --corrupt: #f0b35a; --empty: #a0a9b3; --done: #62c98c; --link: #7fb0ff; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem; color: var(--text); background: var(--ground); }
h1 { line-height: 1.2; margin: 0 0 .6rem; font-size: 1.6rem; overflow-wrap: anywhere; }
h1, p, dl, form { max-width: 66rem; } p { margin: .3rem 0; } a { color: var(--link); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .6rem 0; }
dt { color: var(--pale); } dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--link); }
pre { font-size: .8rem; margin: .3rem 0; max-width: 60rem; overflow: auto; max-height: 24rem; white-space: pre-wrap; }
#controls { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: 1rem 0 .5rem; }
#controls[hidden] { display: none; }
input, select, button { font: inherit; color: inherit; }
input, select, #controls button { padding: .3rem .5rem; border: 1px solid var(--line); border-radius: 4px;
  background: var(--ground); }
button { cursor: pointer; } input { min-width: 14rem; } output { color: var(--pale); }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { position: sticky; top: 0; background: var(--ground); vertical-align: bottom; z-index: 1; }
th button { border: 0; padding: 0; background: none; font-weight: 600; text-align: inherit; }
th[aria-sort=ascending] button::after { content: " \\25b2"; }
th[aria-sort=descending] button::after { content: " \\25bc"; }
tbody tr:hover { background: var(--band); } tr[hidden] { display: none; }
tbody tr { border-left: 4px solid var(--rank); }
[data-rank="0"] { --rank: var(--failed); } [data-rank="1"] { --rank: var(--corrupt); }
[data-rank="2"] { --rank: var(--empty); } [data-rank="3"] { --rank: var(--done); }
img { object-fit: contain; background: var(--band); display: block; }
@media (min-width: 48.01rem) { #controls select:last-of-type { display: none; } }
@media (max-width: 48rem) { body { margin: 1rem; } thead { display: none; } table, tbody, tr, td { display: block; }
  table { margin: .5rem 0; } input { min-width: 0; flex: 1 1 100%; }
  tbody tr { border: 1px solid var(--line); border-left: 4px solid var(--rank); border-radius: 4px;
    padding: .5rem .7rem; margin: 0 0 .6rem; }
  td, tbody td:nth-child(n) { border: 0; padding: .1rem 0; text-align: left; min-width: 0; max-width: none; }
  td:empty { display: none; }
  td::before { color: var(--pale); display: inline-block; min-width: 9rem; font: .85rem system-ui, sans-serif; } }
"""

SCRIPT = """
"use strict";
(() => {
  const table = document.querySelector("table"), body = table.tBodies[0], rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells), form = document.getElementById("controls");
  const search = form.querySelector("input"), [status, sorting] = form.querySelectorAll("select");
  const shown = form.querySelector("output"), collator = new Intl.Collator(undefined, { numeric: true });
  const more = form.querySelector("button"), texts = new Map();
  let order = rows, limit = 500;
  const text = row => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };
  const key = (row, column) => {
    if ("rank" in heads[column].dataset) return Number(row.dataset.rank);
    const value = row.cells[column].textContent.trim();
    return value === "" ? null : "number" in heads[column].dataset ? Number(value) : value;
  };
  const compare = (a, b) => typeof a === "number" ? a - b : collator.compare(a, b);
  const sort = (column, direction) => {
    heads.forEach(head => head.removeAttribute("aria-sort"));
    order = rows;
    if (direction) {
      heads[column].setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      const keyed = rows.map(row => [key(row, column), row]);
      const filled = keyed.filter(pair => pair[0] !== null), empty = keyed.filter(pair => pair[0] === null);
      filled.sort((a, b) => direction * compare(a[0], b[0]));
      order = filled.concat(empty).map(pair => pair[1]);
    }
    sorting.value = direction ? `${column} ${direction}` : "";
    order.forEach(row => body.append(row));
    show();
  };
  const show = () => {
    const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let found = 0;
    for (const row of order) {
      const ofStatus = !status.value || row.dataset.rank === status.value;
      const fits = ofStatus && words.every(word => text(row).includes(word));
      found += fits;
      row.hidden = !fits || found > limit;
    }
    const visible = Math.min(found, limit);
    shown.value = visible === rows.length ? "" : `${visible} of ${found === visible ? rows.length : found} slides`;
    more.hidden = found <= limit;
  };
  sorting.add(new Option("as it came: failures first", ""));
  heads.forEach((head, column) => {
    if ("fixed" in head.dataset) return;
    const name = head.textContent, button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      sort(column, before === "ascending" ? -1 : before === "descending" ? 0 : 1);
    });
    head.replaceChildren(button);
    sorting.add(new Option(`${name}, ascending`, `${column} 1`));
    sorting.add(new Option(`${name}, descending`, `${column} -1`));
  });
  sorting.addEventListener("change", () => sort(...(sorting.value || "0 0").split(" ").map(Number)));
  search.addEventListener("input", show);
  status.addEventListener("change", show);
  more.addEventListener("click", () => { limit = Infinity; show(); });
  form.addEventListener("submit", event => event.preventDefault());
  form.hidden = false;
  show();
})();
"""
