"""Samples and batches that the user's code yields one after the other, as a `DataLoader` or a generator does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from snnconv.data.items import Item, check_labelled, item_of
from snnconv.data.samples import Block, Chunk, Wanted, every, joined, streamed
from snnconv.errors import InputError
from snnconv.ir.program import TimeContract
from snnconv.user_code import running_user_code

_END = object()


class Iterated:
    """Samples and batches of any sizes, one after the other. Each read but the first calls the factory again."""

    length: int | None = None

    def __init__(self, origin: str, contract: TimeContract, make: Callable[[], Iterable[Any]], made: Iterable[Any]) -> None:
        """`made` is what the factory returned first. Its first item is looked at here, and the first `read` goes on with it."""
        self.origin, self._contract, self._make = origin, contract, make
        rows = self._rows(made)
        rows.look()
        self._opened: ItemRows | None = rows

    def read(self, size: int, wanted: Wanted = every) -> Iterator[Chunk]:
        """The wanted chunks. Raises `InputError` for an item that fails or does not fit."""
        rows, self._opened = self._opened, None
        yield from streamed(rows or self._rows(self._make()), size, wanted)

    def _rows(self, made: Iterable[Any]) -> ItemRows:
        with running_user_code(self.origin, "iterating over it"):
            return ItemRows(self.origin, self._contract, iter(made))


class ItemRows:
    """A position in the samples of items that come one after the other."""

    def __init__(self, origin: str, contract: TimeContract, items: Iterator[Any]) -> None:
        self._origin, self._contract, self._items = origin, contract, items
        self._item: Item | None = None
        self._labelled: bool | None = None
        self._asked, self._used, self._at = 0, 0, 0

    def look(self) -> None:
        """Read the first item without using it. Raises `InputError` if it does not fit or there is none."""
        self._current()

    def take(self, count: int) -> Block:
        """The next `count` samples, fewer only at the end. Raises `InputError` for an item that fails or does not fit."""
        nothing = Block(torch.zeros(self._contract.batch_shape(0)), None)
        return joined([item.block(at, stop, start) for item, at, stop, start in self._parts(count)] or [nothing])

    def skip(self, count: int) -> int:
        """Pass over the next `count` samples; returns how many there were. Their items are read all the same."""
        return sum(stop - at for _, at, stop, _ in self._parts(count))

    def close(self) -> None:
        """Let go of the items."""
        self._item, self._items = None, iter(())

    def _parts(self, count: int) -> Iterator[tuple[Item, int, int, int]]:
        """The next `count` samples, as `(item, at, stop, start)`: samples `at` to `stop` of `item`, from number `start` on."""
        while count and (item := self._current()):
            at, start = self._used, self._at
            stop = min(item.count, at + count)
            self._used, self._at, count = stop, start + stop - at, count - (stop - at)
            yield item, at, stop, start

    def _current(self) -> Item | None:
        """The item that holds the next sample; None at the end. Raises `InputError` if there was no sample at all."""
        while self._item is None or self._used == self._item.count:
            self._item, self._used = None, 0
            with running_user_code(self._origin, f"item {self._asked}"):
                given = next(self._items, _END)
            if given is _END:
                if self._at == 0:
                    raise InputError(f"{self._origin}: holds no samples")
                return None
            self._item = self._checked(given)
        return self._item

    def _checked(self, given: Any) -> Item:
        item = item_of(f"{self._origin}: item {self._asked}", given, self._contract)
        self._asked += 1
        if item.count and self._labelled is None:
            self._labelled = item.y is not None
        if item.count:
            check_labelled(item, bool(self._labelled))
        return item
