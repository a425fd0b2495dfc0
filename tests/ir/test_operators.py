"""Every row of the table of operators holds: what is called affine is, and float32 stays within what the rounding rule allows."""

from __future__ import annotations

import copy
import operator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from snnconv.engines import open_candidate
from snnconv.errors import InputError
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir.operator_rows import ELEMENTWISE
from snnconv.ir.operators import OPERATORS, Operator
from snnconv.ir.over_batch import OVER_BATCH
from snnconv.ir.per_step import EntryAt
from snnconv.ir.rounding_rules import COPY
from snnconv.ir.starting import STARTING_FROM
from snnconv.nn import LIF
from snnconv.verify.deployment import compare_layers
from snnconv.verify.rounding import Magnitudes, bound
from tests.networks import source_of
from tests.references import reference_to

_ATEN = torch.ops.aten
SHAPE = (4, 6, 6)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


INDEX = torch.tensor([2, 0, 1])
PLACES: dict[Any, tuple[tuple[int, ...], tuple[Any, ...]]] = {
    _ATEN.linear.default: ((2, 6), (random(5, 6), random(5))),
    _ATEN.conv1d.default: ((2, 4, 6), (random(6, 2, 3), random(6), [1], [1], [1], 2)),
    _ATEN.conv1d.padding: ((2, 4, 6), (random(6, 4, 3), random(6), [1], "same")),
    _ATEN.conv2d.default: ((2, *SHAPE), (random(6, 4, 3, 3), None)),
    _ATEN.conv2d.padding: ((2, *SHAPE), (random(6, 4, 3, 3), random(6), [1, 1], "valid")),
    _ATEN.conv3d.default: ((2, 2, 4, 4, 4), (random(3, 2, 2, 2, 2), random(3))),
    _ATEN.conv3d.padding: ((2, 2, 4, 4, 4), (random(3, 2, 2, 2, 2), random(3), [1, 1, 1], "same")),
    _ATEN.conv_transpose1d.default: ((2, 4, 6), (random(4, 3, 2), random(3))),
    _ATEN.conv_transpose2d.input: ((2, *SHAPE), (random(4, 3, 2, 2), random(3), [2, 2])),
    _ATEN.conv_transpose3d.input: ((2, 2, 4, 4, 4), (random(2, 3, 2, 2, 2), random(3))),
    _ATEN.avg_pool1d.default: ((2, 4, 6), ([3], [1], [1])),
    _ATEN.avg_pool2d.default: ((2, *SHAPE), ([3, 3], [1, 1], [1, 1], False, True, -4)),
    _ATEN.avg_pool3d.default: ((2, 2, 4, 4, 4), ([2, 2, 2],)),
    _ATEN.max_pool1d.default: ((2, 4, 6), ([3], [1], [1])),
    _ATEN.max_pool2d.default: ((2, *SHAPE), ([3, 3], [1, 1], [1, 1])),
    _ATEN.max_pool3d.default: ((2, 2, 4, 4, 4), ([2, 2, 2],)),
    _ATEN.adaptive_avg_pool1d.default: ((2, 4, 7), ([3],)),
    _ATEN.adaptive_avg_pool2d.default: ((2, *SHAPE), ([4, 5],)),
    _ATEN.adaptive_avg_pool3d.default: ((2, 2, 4, 4, 4), ([3, 2, 1],)),
    _ATEN.adaptive_max_pool1d.default: ((2, 4, 7), ([3],)),
    _ATEN.adaptive_max_pool2d.default: ((2, *SHAPE), ([4, 5],)),
    _ATEN.adaptive_max_pool3d.default: ((2, 2, 4, 4, 4), ([3, 2, 1],)),
    _ATEN.pixel_unshuffle.default: ((2, *SHAPE), (2,)),
    _ATEN.unfold.default: ((2, *SHAPE), (2, 3, 1)),
    _ATEN.reflection_pad1d.default: ((2, 4, 6), ([1, 2],)),
    _ATEN.replication_pad1d.default: ((2, 4, 6), ([1, 2],)),
    _ATEN.reflection_pad3d.default: ((2, 2, 4, 4, 4), ([1, 2, 0, 1, 1, 1],)),
    _ATEN.replication_pad3d.default: ((2, 2, 4, 4, 4), ([1, 2, 0, 1, 1, 1],)),
    _ATEN.upsample_nearest1d.vec: ((2, 4, 6), (None, [2.0])),
    _ATEN._upsample_nearest_exact1d.vec: ((2, 4, 6), (None, [2.0])),
    _ATEN.upsample_nearest3d.vec: ((2, 2, 4, 4, 4), ([5, 5, 5], None)),
    _ATEN._upsample_nearest_exact3d.vec: ((2, 2, 4, 4, 4), ([5, 5, 5], None)),
    _ATEN.t.default: ((2, 6), ()),
    _ATEN.mm.default: ((2, 6), (random(6, 3),)),
    _ATEN.bmm.default: ((2, 4, 6), (random(2, 6, 3),)),
}
"""The shape of x and the further arguments of a call, if x is not `[2, 4, 6, 6]`."""
ARGUMENTS: dict[Any, tuple[Any, ...]] = {
    _ATEN.add.Tensor: (random(4, 1, 1),),
    _ATEN.sub.Tensor: (random(4, 1, 1),),
    _ATEN.rsub.Scalar: (-2.5, -3),
    _ATEN.mul.Tensor: (random(4, 1, 1),),
    _ATEN.div.Tensor: (random(4, 1, 1),),
    _ATEN.matmul.default: (random(6, 5),),
    _ATEN.mean.dim: ([2, 3],),
    _ATEN.sum.dim_IntList: ([1],),
    _ATEN.cumsum.default: (1,),
    _ATEN.maximum.default: (random(4, 1, 1),),
    _ATEN.minimum.default: (random(4, 1, 1),),
    _ATEN.amax.default: ([2, 3],),
    _ATEN.amin.default: ([2, 3],),
    _ATEN.hardtanh.default: (-0.5, 0.7),
    _ATEN.clamp.default: (0.5, 2.0),
    _ATEN.clamp_min.default: (-0.5,),
    _ATEN.clamp_max.default: (-0.5,),
    _ATEN.leaky_relu.default: (-1.5,),
    _ATEN.prelu.default: (random(4),),
    _ATEN.elu.default: (2.0, 1.5, 1.2),
    _ATEN.celu.default: (0.5,),
    _ATEN.softplus.default: (2.0,),
    _ATEN.softmax.int: (1,),
    _ATEN._softmax.default: (1, False),
    _ATEN.log_softmax.int: (1,),
    _ATEN._log_softmax.default: (1, False),
    _ATEN.flatten.using_ints: (1,),
    _ATEN.unflatten.int: (1, [2, 2]),
    _ATEN.view.default: ([-1, 4, 36],),
    _ATEN._unsafe_view.default: ([-1, 4, 36],),
    _ATEN.reshape.default: ([-1, 4, 36],),
    _ATEN.permute.default: ([0, 2, 3, 1],),
    _ATEN.transpose.int: (1, 2),
    _ATEN.movedim.int: (1, 2),
    _ATEN.movedim.intlist: ([1], [2]),
    _ATEN.squeeze.dim: (0,),
    _ATEN.squeeze.dims: ([1, 2],),
    _ATEN.unsqueeze.default: (1,),
    _ATEN.dropout.default: (0.5, False),
    _ATEN.pixel_shuffle.default: (2,),
    _ATEN.channel_shuffle.default: (2,),
    _ATEN.expand.default: ([2, 4, 6, 6],),
    _ATEN.expand_as.default: (random(2, *SHAPE),),
    _ATEN.repeat.default: ([1, 1, 2, 1],),
    _ATEN.repeat_interleave.self_int: (2, 1),
    _ATEN.roll.default: ([1], [2]),
    _ATEN.flip.default: ([2],),
    _ATEN.slice.Tensor: (1, 1, 3),
    _ATEN.select.int: (1, 2),
    _ATEN.narrow.default: (1, 1, 2),
    _ATEN.index_select.default: (1, INDEX),
    _ATEN.im2col.default: ([3, 3], [1, 1], [0, 0], [1, 1]),
    _ATEN.reflection_pad2d.default: ([1, 2, 0, 1],),
    _ATEN.replication_pad2d.default: ([1, 2, 0, 1],),
    _ATEN.upsample_nearest2d.vec: ([9, 9], None),
    _ATEN._upsample_nearest_exact2d.vec: ([9, 9], None),
    _ATEN.pad.default: ([1, 0], "constant", -2.0),
    _ATEN.constant_pad_nd.default: ([1, 0], -2.0),
    _ATEN.chunk.default: (2, 1),
    _ATEN.split.Tensor: (2, 1),
    _ATEN.split.sizes: ([1, 3], 1),
    _ATEN.split_with_sizes.default: ([1, 3], 1),
    _ATEN.unbind.int: (1,),
    _ATEN.full_like.default: (-2.0,),
    _ATEN.new_zeros.default: ([2, 3],),
    _ATEN.new_ones.default: ([2, 3],),
    _ATEN.new_full.default: ([2, 3], -2.0),
}
"""The further arguments of a call on x `[2, 4, 6, 6]`, if there are any."""
WITHOUT_X = {_ATEN.zeros.default: ([2, 3],), _ATEN.ones.default: ([2, 3],), _ATEN.full.default: ([2, 3], -2.0)}
LISTS = {_ATEN.cat.default, _ATEN.concat.default, _ATEN.stack.default}


class Call(nn.Module):
    """A call of an operator as a function of x, whose shape is `shape`; further tensors are held."""

    def __init__(self, row: Operator) -> None:
        super().__init__()
        self.target = row.target
        self.shape, self.rest = PLACES.get(row.target, ((2, *SHAPE), ARGUMENTS.get(row.target, ())))
        for i, argument in enumerate(self.rest):
            if isinstance(argument, Tensor):
                self.register_buffer(f"c{i}", argument)
        if row.target is _ATEN.index.Tensor:
            self.register_buffer("index", INDEX)
        if row.target in (OVER_BATCH, STARTING_FROM):
            self.register_buffer("token", random(1, *SHAPE))

    def forward(self, x: Tensor) -> Tensor:
        rest = [getattr(self, f"c{i}") if isinstance(a, Tensor) else a for i, a in enumerate(self.rest)]
        if self.target in WITHOUT_X:
            return x.flatten()[0] * 0 + self.target(*WITHOUT_X[self.target], dtype=x.dtype)
        if self.target is _ATEN.expand_as.default:
            return self.target(x[:, :1], x)
        if self.target is OVER_BATCH:
            return x + self.target(self.token, x, 0)
        if self.target is STARTING_FROM:
            with EntryAt(1):
                return self.target(x, self.token)
        if self.target is operator.getitem:
            return self.target(x.split(2, 1), 1)
        rest = [[None, self.index]] if self.target is _ATEN.index.Tensor else rest
        y = self.target([x, x * 2], 1) if self.target in LISTS else self.target(x, *rest)
        return y if isinstance(y, Tensor) else y[0]


def rows() -> list[Any]:
    return [pytest.param(row, id=str(row.target)) for row in OPERATORS]


class Calling(nn.Module):
    """One call in front of a neuron, behind a layer whose sums are rounded."""

    def __init__(self, row: Operator) -> None:
        super().__init__()
        self.called, self.scale, self.act = Call(row), nn.Parameter(torch.tensor(1 / 3)), LIF()

    def forward(self, x: Tensor) -> Tensor:
        y = self.called(x * self.scale)
        return self.act(y).flatten(1)


def magnitude(net: nn.Module, x: Tensor) -> tuple[Tensor, int]:
    """Magnitude and terms of the current into the only neuron of `net`."""
    program = source_of(net, timesteps=1, shape=tuple(x.shape[1:])).program
    found = Magnitudes(program)
    with torch.no_grad():
        found.measure([x], {name: [torch.zeros(len(x), *neuron.shape)] for name, neuron in program.neurons.items()})
    assert not found.measured, "a row that does not apply to its own call"
    return found.current["act"], found.terms["act"]


@pytest.mark.parametrize("row", [row for row in rows() if row.values[0].affine])
def test_what_is_called_affine_is(row: Operator) -> None:
    called = Call(row).double()
    x, y = random(*called.shape).double(), random(*called.shape, seed=1).double()
    torch.testing.assert_close(called(0.3 * x + 0.7 * y), 0.3 * called(x) + 0.7 * called(y), rtol=1e-9, atol=1e-9)


BATCHLESS = {_ATEN.t.default, _ATEN.squeeze.dim, _ATEN.bmm.default, _ATEN.new_zeros.default, _ATEN.new_ones.default, *WITHOUT_X}
BATCHLESS |= {_ATEN.new_full.default, _ATEN.expand.default, _ATEN.expand_as.default, OVER_BATCH}
"""Calls above that no step of a network makes: they move the batch, or have its size."""


@pytest.mark.sample(60)
@pytest.mark.parametrize("row", [row for row in rows() if row.values[0].target not in BATCHLESS])
def test_float32_stays_within_the_rule_and_the_magnitude_covers_the_value(row: Operator) -> None:
    net = Calling(row).eval()
    wide = copy.deepcopy(net).double()
    for seed in range(3):
        x = random(*net.called.shape, seed=seed)
        size, terms = magnitude(net, x)
        with torch.no_grad():
            y, exact = net.called(x * net.scale), wide.called(x.double() * wide.scale)
        assert bool((size * (1 + 1e-5) >= exact.abs()).all())
        assert bool(((y - exact).abs() <= bound(size, terms) / 2).all())


STEEP = [row for row in ELEMENTWISE if row.target not in {_ATEN.softmax.int, _ATEN._softmax.default}]
STEEP = [row for row in STEEP if row.target not in {_ATEN.log_softmax.int, _ATEN._log_softmax.default}]


@pytest.mark.parametrize("row", STEEP, ids=lambda row: str(row.target))
def test_no_function_is_steeper_than_its_row_says(row: Operator) -> None:
    x = torch.linspace(-30, 30, 240_001, dtype=torch.float64).view(1, 1, -1)
    rest = (torch.tensor([-2.5], dtype=torch.float64),) if row.target is _ATEN.prelu.default else ARGUMENTS.get(row.target, ())
    assert row.rounding is not None
    slopes = row.target(x, *rest).diff().abs() / x.diff()
    claimed = row.rounding.magnitude(
        row.target, (torch.ones_like(x), *(abs(a) if isinstance(a, Tensor) else a for a in rest)), {}
    )
    at_zero = row.rounding.magnitude(
        row.target, (torch.zeros_like(x), *(abs(a) if isinstance(a, Tensor) else a for a in rest)), {}
    )
    assert float(slopes.max()) <= float((claimed - at_zero).max()) * (1 + 1e-9)


class Activations(nn.Module):
    """Many functions of one sum, each into a neuron of its own."""

    def __init__(self, functions: dict[str, nn.Module]) -> None:
        super().__init__()
        self.functions = nn.ModuleDict(functions)
        self.acts = nn.ModuleDict({name: LIF(threshold=0.4) for name in functions})

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.acts[name](function(x * 20)) for name, function in self.functions.items()], 1).flatten(1)


def test_onnx_runtime_stays_within_the_rules_of_the_functions_of_an_element(tmp_path: Path) -> None:
    functions = [nn.ELU(1.5), nn.CELU(0.5), nn.SELU(), nn.Softplus(), nn.Sigmoid(), nn.Hardsigmoid(), nn.Tanh()]
    functions += [nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.LeakyReLU(-0.3), nn.ReLU6(), nn.Softmax(1)]
    net = Activations({f"{type(function).__name__}{i}": function for i, function in enumerate(functions)}).eval()
    source = source_of(net, timesteps=1, shape=(3, 50, 40))
    folded, path = fold(source.program), tmp_path / "net.onnx"
    export(folded, path, format_of(path))
    x = torch.linspace(-1, 1, 6000).view(1, 3, 50, 40)
    tallies = compare_layers(reference_to(source, folded), x, open_candidate(path).load().observe(x)).layers
    assert len(tallies) == len(functions) + 1 and not any(tally.measured for tally in tallies)
    assert {tally.name: tally.outside for tally in tallies if tally.outside} == {}


def test_a_row_is_registered_once() -> None:
    target = _ATEN.sqrt.default
    node = fx.Graph().call_function(target)
    assert OPERATORS.of(node) is None
    row = OPERATORS.register(Operator(target, rounding=COPY))
    try:
        assert OPERATORS.of(node) is row
        with pytest.raises(InputError, match="has a row"):
            OPERATORS.register(row)
    finally:
        OPERATORS.discard(target)
    assert OPERATORS.of(node) is None
