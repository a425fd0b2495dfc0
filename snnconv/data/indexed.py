"""Samples that the user's code returns by their number, as a torch `Dataset` does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from snnconv.data.items import Item, check_labelled, item_of
from snnconv.data.samples import Block, Chunk, Wanted, every, joined, sliced
from snnconv.errors import InputError
from snnconv.ir.program import TimeContract
from snnconv.user_code import running_user_code


@dataclass(frozen=True)
class Indexed:
    """One sample per index of `dataset`; a sample that is not wanted is not asked for."""

    origin: str
    contract: TimeContract
    dataset: Any
    length: int
    labelled: bool

    def read(self, size: int, wanted: Wanted = every) -> Iterator[Chunk]:
        """The wanted chunks. Raises `InputError` for an item that fails or does not fit."""
        return sliced(self.length, self._fetch, size, wanted)

    def _fetch(self, start: int, stop: int) -> Block:
        return joined([self._sample(index) for index in range(start, stop)])

    def _sample(self, index: int) -> Block:
        item = fetched(self.origin, self.dataset, index, self.contract)
        if item.batched:
            raise InputError(f"{item.where}: is a batch, but item 0 is one sample", "give one sample for each index")
        check_labelled(item, self.labelled)
        return item.block(0, 1, index)


def fetched(text: str, made: Any, index: int, contract: TimeContract) -> Item:
    """The item at `index`. Raises `InputError` if the user's code fails or returns what does not fit."""
    with running_user_code(text, f"item {index}"):
        given = made[index]
    return item_of(f"{text}: item {index}", given, contract)
