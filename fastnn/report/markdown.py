"""A page as Markdown, for the places where code is kept; pictures lie beside it as files."""

from __future__ import annotations

from fastnn.report.page import Block, Cell, Page, Picture, Points, Table, Text


def markdown(page: Page) -> str:
    """The page; pictures are linked as `name.png`."""
    parts = [f"# {page.title}", page.subtitle, *map(_block, page.opening)]
    for section in page.sections:
        parts += [f"## {section.title}", *map(_block, section.blocks)]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Points):
        return "\n".join(f"- {item}" for item in block.items)
    if isinstance(block, Picture):
        return f"![{block.alt}]({block.name}.png)\n\n*{block.caption}*"
    return _table(block)


def _table(table: Table) -> str:
    rules = ["---" if number < table.words else "--:" for number in range(len(table.headings))]
    lines = [_line([heading or " " for heading in table.headings]), _line(rules)]
    lines += [_line([_cell(cell) for cell in row]) for row in table.rows]
    body = "\n".join(lines)
    if table.folded:
        return f"<details><summary>{table.folded}</summary>\n\n{body}\n\n</details>"
    return body


def _cell(cell: Cell) -> str:
    text = f"{cell.text} ({cell.note})" if cell.note else cell.text
    return f"**{text}**" if cell.tone == "bad" and text else text


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
