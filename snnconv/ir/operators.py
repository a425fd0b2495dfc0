"""The one table of operators: what folding, lowering, the rounding bound and `inspect` must know of each.

A row says of which arguments an operator is affine, whether it is a layer with a weight or a pool, and how it rounds. The rows of
aten are in `snnconv.ir.operator_rows`. Another package adds rows under an entry point of the group `snnconv.operators`:

    [project.entry-points."snnconv.operators"]
    mine = "my_package.operators:ROWS"       # a tuple of Operator

An operator without a row is not refused: it is taken for not affine, and its rounding error is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import fx

from snnconv.errors import InputError
from snnconv.ir.rounding_rules import Rounding
from snnconv.registry import Registry

Affine = Literal["", "first", "all"]


@dataclass(frozen=True)
class Layer:
    """An operator `(x, weight, bias, ...)` that is linear in x, channels in dimension 1 of x.

    Attributes:
        dims: dimensions of its window: 2 for a 2-D convolution, 0 for a linear layer, which works on the last dimension of x.
        transposed: whether the weight is `[in, out / groups, ...]`, not `[out, in / groups, ...]`.
    """

    dims: int
    transposed: bool = False


@dataclass(frozen=True)
class Pool:
    """A pool over the last `dims` dimensions with a kernel, a stride and a padding: a maximum, or an average."""

    dims: int
    maximum: bool = False


@dataclass(frozen=True)
class Operator:
    """One row of the table.

    Attributes:
        target: what a graph node calls.
        affine: the result is an affine function of the `first` argument if the others are constant, or of `all` together.
        layer: its weight, if it is a layer.
        pool: its window, if it is a pool.
        rounding: how it rounds; None if no bound is known, so that its error is measured.
    """

    target: Any
    affine: Affine = ""
    layer: Layer | None = None
    pool: Pool | None = None
    rounding: Rounding | None = None


class Operators:
    """The table, by what a node calls. The rows of aten and those of other packages are read when the first one is asked for."""

    def __init__(self) -> None:
        self._sources: Registry[tuple[Operator, ...]] = Registry("snnconv.operators", {"aten": "snnconv.ir.operator_rows:ROWS"})

    @cached_property
    def _rows(self) -> dict[Any, Operator]:
        rows: dict[Any, Operator] = {}
        for source in self._sources.names():
            for row in self._sources[source]:
                if row.target in rows:
                    raise InputError(f"'{source}' in {self._sources.group}: {row.target} has a row", "a package must drop it")
                rows[row.target] = row
        return rows

    def register(self, row: Operator) -> Operator:
        """Add a row for this process, as a notebook or a test does. Raises `InputError` if the operator has one."""
        if row.target in self._rows:
            raise InputError(f"{row.target} has a row", "take that one away first, or leave it")
        self._rows[row.target] = row
        return row

    def discard(self, target: Any) -> None:
        """Take away what `register` added."""
        self._rows.pop(target, None)

    def of(self, node: fx.Node) -> Operator | None:
        """The row of what `node` calls, if there is one."""
        return self._rows.get(node.target) if node.op == "call_function" else None

    def layer(self, node: fx.Node) -> Layer | None:
        """The layer that `node` calls, if it calls one."""
        row = self.of(node)
        return None if row is None else row.layer

    def pool(self, node: fx.Node) -> Pool | None:
        """The pool that `node` calls, if it calls one."""
        row = self.of(node)
        return None if row is None else row.pool

    def __iter__(self) -> Iterator[Operator]:
        return iter(self._rows.values())


OPERATORS = Operators()
