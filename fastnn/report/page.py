"""A page before anybody has decided how it is written: sections of text, pictures and tables, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph; **this** is emphasised and `this` is code."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list of paragraphs."""

    items: Sequence[str]


@dataclass(frozen=True)
class Picture:
    """A PNG and the words below it; `name` is its file's, without the suffix."""

    name: str
    png: bytes
    alt: str
    caption: str


@dataclass(frozen=True)
class Cell:
    """What stands in a table's cell, a smaller note below or behind it, and whether it is "good" or "bad" news."""

    text: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells below their headings.

    Attributes
    ----------
    headings, rows
        As many cells a row as there are headings.
    words
        How many columns at the left hold words; the others hold numbers and are set flush right.
    folded
        Where not empty, only this line is seen until the reader opens it.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    words: int = 1
    folded: str = ""


Block = Text | Points | Picture | Table


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """The whole: a title, a line below it, what opens the page, and sections."""

    title: str
    subtitle: str
    opening: Sequence[Block]
    sections: Sequence[Section]

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        blocks = [*self.opening, *(block for section in self.sections for block in section.blocks)]
        return [block for block in blocks if isinstance(block, Picture)]
