"""A page as one HTML file that needs nothing else: style and pictures are inside, there are no scripts."""

from __future__ import annotations

import base64
import re
from html import escape

from fastnn.report.page import Block, Cell, Page, Picture, Points, Table, Text

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --quiet: #595959; --paper: #ffffff; --line: #d9d9d9;
        --stripe: #f5f6f8; --good: #00558a; --bad: #a63a00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --quiet: #a9a9a9; --paper: #16181c; --line: #3a3d44; --stripe: #1e2127;
          --good: #7cc4f4; --bad: #ff9a63; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.55 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.4rem; line-height: 1.25; margin: 3rem 0 .6rem; padding-top: .8rem;
     border-top: 1px solid var(--line); }
p, li { max-width: 46rem; }
.subtitle, figcaption, caption, small { color: var(--quiet); }
.subtitle { margin-top: 0; }
nav { font-size: .95rem; margin: 1.4rem 0 0; }
nav a { margin-right: 1.1rem; white-space: nowrap; }
a { color: var(--good); }
code { font: .9em ui-monospace, monospace; background: var(--stripe); padding: .1em .3em; border-radius: 3px; }
figure { margin: 1.6rem 0; }
img { display: block; width: 100%; height: auto; background: #ffffff;
      border: 1px solid var(--line); border-radius: 6px; }
figcaption { font-size: .92rem; line-height: 1.45; margin-top: .5rem; max-width: 46rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
th { text-align: left; vertical-align: bottom; border-bottom: 2px solid var(--line); }
th, td { padding: .35rem .8rem .35rem 0; }
td { vertical-align: top; border-bottom: 1px solid var(--line); }
td:first-child { min-width: 9rem; }
th.number, td.number { text-align: right; white-space: nowrap; padding-left: .8rem; padding-right: .4rem; }
th.number { white-space: normal; }
td small { display: block; font-size: .82rem; font-weight: normal; }
td.good, b.good { color: var(--good); font-weight: 600; }
td.bad, b.bad { color: var(--bad); font-weight: 700; }
details { margin: 1rem 0; border: 1px solid var(--line); border-radius: 6px; padding: .5rem .9rem; }
summary { cursor: pointer; font-weight: 600; }
@media (max-width: 40rem) { body { font-size: 16px; } main { padding: 1.2rem 1rem 3rem; } h1 { font-size: 1.6rem; } }
@media print { details { border: 0; } }
"""


def html(page: Page) -> str:
    """The page as a document of its own."""
    links = "".join(f'<a href="#{_anchor(each.title)}">{escape(each.title)}</a> ' for each in page.sections)
    body = [f"<h1>{escape(page.title)}</h1>", f'<p class="subtitle">{_inline(page.subtitle)}</p>']
    body += [*map(_block, page.opening), f"<nav>{links}</nav>"]
    for section in page.sections:
        body += [f'<h2 id="{_anchor(section.title)}">{escape(section.title)}</h2>', *map(_block, section.blocks)]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"<p>{_inline(block.text)}</p>"
    if isinstance(block, Points):
        return "<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Picture):
        data = base64.b64encode(block.png).decode()
        image = f'<img src="data:image/png;base64,{data}" alt="{escape(block.alt)}">'
        return f"<figure>{image}<figcaption>{_inline(block.caption)}</figcaption></figure>"
    return _table(block)


def _table(table: Table) -> str:
    heads = "".join(f"<th{_numeric(n, table)}>{_inline(each)}</th>" for n, each in enumerate(table.headings))
    rows = "\n".join(
        "<tr>" + "".join(_cell(cell, number < table.words) for number, cell in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    body = f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'
    if table.folded:
        return f"<details><summary>{_inline(table.folded)}</summary>{body}</details>"
    return body


def _numeric(number: int, table: Table) -> str:
    return "" if number < table.words else ' class="number"'


def _cell(cell: Cell, words: bool) -> str:
    classes = " ".join(filter(None, ("" if words else "number", cell.tone)))
    note = f"<small>{_inline(cell.note)}</small>" if cell.note else ""
    return f"<td{f' class={chr(34)}{classes}{chr(34)}' if classes else ''}>{_inline(cell.text)}{note}</td>"


def _inline(text: str) -> str:
    """Text with **emphasis** and `code`."""
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")
