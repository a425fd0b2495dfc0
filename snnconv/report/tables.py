"""What the terminal report is made of: tables and facts that fit themselves to the width at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import fill

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

NARROWEST = 24
"""Columns below which text is not folded: whole words then stand under one another."""


class FittedTable:
    """A plain table; `right` names the columns of numbers. If it is too wide, it folds at words, or becomes a list."""

    def __init__(self, columns: Iterable[str], rows: Iterable[Iterable[str]], right: Iterable[str] = ()) -> None:
        self.columns, self.rows, self.right = list(columns), [list(row) for row in rows], set(right)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text | Table]:
        """The table for that width."""
        cells = list(zip(self.columns, *self.rows, strict=True))
        widths = [max(map(len, column)) for column in cells]
        if sum(widths) + 3 * len(widths) <= options.max_width:
            yield self._table(widths, roomy=True)
            return
        yield Text()
        least = [_least(column, column[0] in self.right) for column in cells]
        room = options.max_width - len(widths) + 1
        yield self._list() if sum(least) > room else self._table(_narrowed(widths, least, room), roomy=False)

    def _table(self, widths: list[int], roomy: bool) -> Table:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, int(roomy)), show_edge=roomy)
        for name, width in zip(self.columns, widths, strict=True):
            table.add_column(name, justify="right" if name in self.right else "left", overflow="fold", width=width)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def _list(self) -> Table:
        """Row under row, each value behind the name of its column; a dash behind each if there is no row."""
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for row in self.rows or [["-"] * len(self.columns)]:
            for name, value in zip(self.columns, row, strict=True):
                if value:
                    grid.add_row(f" {name}", Text(value))
            grid.add_row()
        return grid


def _least(cells: tuple[str, ...], number: bool) -> int:
    """The width that a column needs: words and numbers stay whole, and text keeps a few words a line."""
    words = max(len(word) for cell in cells for word in cell.split())
    return words if number else max(words, min(max(map(len, cells)), NARROWEST))


def _narrowed(widths: list[int], least: list[int], room: int) -> list[int]:
    """`widths`, the widest made narrower one by one until all fit into `room`, which holds `least`."""
    narrow = list(widths)
    while sum(narrow) > room:
        widest = max(range(len(narrow)), key=lambda i: (narrow[i] > least[i], narrow[i]))
        narrow[widest] -= 1
    return narrow


class Facts:
    """Texts with their names before them, wrapped to the width."""

    def __init__(self, facts: Iterable[tuple[str, str]]) -> None:
        self.facts = list(facts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The facts for that width."""
        for name, text in self.facts:
            start, margin = f"{name:<9}  ", " " * 11
            yield Text(fill(text, options.max_width, initial_indent=start, subsequent_indent=margin, break_on_hyphens=False))
