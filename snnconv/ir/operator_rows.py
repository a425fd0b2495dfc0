"""The operators of aten that snnconv knows: one row each, those of one kind together.

An operator belongs here if its rule is sound for every correct implementation of it. What has no such bound (a square root near
0, a logarithm, an exponential, rounding to integers, a choice by a comparison) has no row, and its error is measured.
"""

from __future__ import annotations

import operator
from typing import Any

import torch

from snnconv.ir import rounding_rules as rules
from snnconv.ir.operators import Affine, Layer, Operator, Pool
from snnconv.ir.over_batch import OVER_BATCH
from snnconv.ir.rounding_rules import Rounding, elementwise
from snnconv.ir.starting import STARTING_FROM

_ATEN = torch.ops.aten


def _alike(rounding: Rounding, *targets: Any, affine: Affine = "") -> tuple[Operator, ...]:
    return tuple(Operator(target, affine, rounding=rounding) for target in targets)


def _layer(target: Any, dims: int, transposed: bool = False) -> Operator:
    return Operator(target, "first", layer=Layer(dims, transposed), rounding=rules.layer(transposed))


def _average(target: Any, dims: int) -> Operator:
    return Operator(target, "first", pool=Pool(dims), rounding=rules.average(dims))


def _maximum(target: Any, dims: int) -> Operator:
    return Operator(target, pool=Pool(dims, maximum=True), rounding=rules.COPY)


def _at(position: int, default: float) -> Any:
    """The size of the number at `position`."""
    return lambda args: abs(args[position] if len(args) > position else default)


def _elu_slope(args: tuple[Any, ...]) -> float:
    alpha, scale, input_scale = (abs(_at(i, 1.0)(args)) for i in (1, 2, 3))
    return max(scale, float(scale * alpha * input_scale))


def _elu_floor(args: tuple[Any, ...]) -> float:
    return float(_at(1, 1.0)(args) * _at(2, 1.0)(args))


LAYERS = (
    _layer(_ATEN.linear.default, 0),
    _layer(_ATEN.conv1d.default, 1),
    _layer(_ATEN.conv1d.padding, 1),
    _layer(_ATEN.conv2d.default, 2),
    _layer(_ATEN.conv2d.padding, 2),
    _layer(_ATEN.conv3d.default, 3),
    _layer(_ATEN.conv3d.padding, 3),
    _layer(_ATEN.conv_transpose1d.default, 1, transposed=True),
    _layer(_ATEN.conv_transpose2d.input, 2, transposed=True),
    _layer(_ATEN.conv_transpose3d.input, 3, transposed=True),
)

POOLS = (
    _average(_ATEN.avg_pool1d.default, 1),
    _average(_ATEN.avg_pool2d.default, 2),
    _average(_ATEN.avg_pool3d.default, 3),
    _maximum(_ATEN.max_pool1d.default, 1),
    _maximum(_ATEN.max_pool2d.default, 2),
    _maximum(_ATEN.max_pool3d.default, 3),
    *_alike(
        rules.ADAPTIVE_AVERAGE,
        _ATEN.adaptive_avg_pool1d.default,
        _ATEN.adaptive_avg_pool2d.default,
        _ATEN.adaptive_avg_pool3d.default,
        affine="first",
    ),
    *_alike(
        rules.COPY,
        _ATEN.adaptive_max_pool1d.default,
        _ATEN.adaptive_max_pool2d.default,
        _ATEN.adaptive_max_pool3d.default,
    ),
)

ARITHMETIC = (
    *_alike(rules.ADD, _ATEN.add.Tensor, _ATEN.sub.Tensor, affine="all"),
    Operator(_ATEN.rsub.Scalar, "first", rounding=rules.SUBTRACT_FROM_NUMBER),
    Operator(_ATEN.mul.Tensor, "first", rounding=rules.MULTIPLY),
    Operator(_ATEN.div.Tensor, "first", rounding=rules.DIVIDE),
    *_alike(rules.MATRIX_PRODUCT, _ATEN.matmul.default, _ATEN.bmm.default, _ATEN.mm.default, affine="first"),
    *_alike(rules.REDUCTION, _ATEN.mean.dim, _ATEN.sum.dim_IntList, affine="first"),
    Operator(_ATEN.cumsum.default, "first", rounding=rules.CUMULATIVE),
    *_alike(rules.LARGER, _ATEN.maximum.default, _ATEN.minimum.default),
    *_alike(rules.LARGEST, _ATEN.amax.default, _ATEN.amin.default),
)

ELEMENTWISE = (
    *_alike(elementwise(1.0, terms=1), _ATEN.relu.default, _ATEN.relu6.default, _ATEN.hardtanh.default),
    *_alike(elementwise(1.0, terms=1), _ATEN.clamp.default, _ATEN.clamp_min.default, _ATEN.clamp_max.default),
    *_alike(elementwise(1.0, terms=1), _ATEN.abs.default),
    Operator(_ATEN.neg.default, "first", rounding=rules.ABSOLUTE),
    Operator(_ATEN.leaky_relu.default, rounding=elementwise(lambda args: max(1.0, _at(1, 0.01)(args)), terms=1)),
    Operator(_ATEN.prelu.default, rounding=rules.PRELU),
    Operator(_ATEN.elu.default, rounding=elementwise(_elu_slope, floor=_elu_floor)),
    Operator(_ATEN.celu.default, rounding=elementwise(1.0, floor=_at(1, 1.0))),
    Operator(_ATEN.selu.default, rounding=elementwise(1.7581, floor=1.7581)),
    Operator(_ATEN.softplus.default, rounding=elementwise(1.0)),
    Operator(_ATEN.sigmoid.default, rounding=elementwise(0.25)),
    Operator(_ATEN.hardsigmoid.default, rounding=elementwise(1 / 6)),
    Operator(_ATEN.tanh.default, rounding=elementwise(1.0)),
    Operator(_ATEN.erf.default, rounding=elementwise(1.1284)),
    Operator(_ATEN.gelu.default, rounding=elementwise(1.13)),
    Operator(_ATEN.silu.default, rounding=elementwise(1.1)),
    Operator(_ATEN.mish.default, rounding=elementwise(1.09)),
    Operator(_ATEN.hardswish.default, rounding=elementwise(1.5)),
    *_alike(rules.SOFTMAX, _ATEN.softmax.int, _ATEN._softmax.default),
    *_alike(rules.LOG_SOFTMAX, _ATEN.log_softmax.int, _ATEN._log_softmax.default),
)

RESHAPES = _alike(
    rules.COPY,
    _ATEN.flatten.using_ints,
    _ATEN.unflatten.int,
    _ATEN.view.default,
    _ATEN._unsafe_view.default,
    _ATEN.reshape.default,
    _ATEN.permute.default,
    _ATEN.transpose.int,
    _ATEN.t.default,
    _ATEN.movedim.int,
    _ATEN.movedim.intlist,
    _ATEN.squeeze.dim,
    _ATEN.squeeze.dims,
    _ATEN.unsqueeze.default,
    _ATEN.contiguous.default,
    _ATEN.clone.default,
    _ATEN.alias.default,
    _ATEN.detach.default,
    _ATEN.dropout.default,
    _ATEN.pixel_shuffle.default,
    _ATEN.pixel_unshuffle.default,
    _ATEN.channel_shuffle.default,
    affine="first",
)

COPIES = (
    *_alike(
        rules.COPY,
        _ATEN.expand.default,
        _ATEN.expand_as.default,
        _ATEN.repeat.default,
        _ATEN.repeat_interleave.self_int,
        _ATEN.roll.default,
        _ATEN.flip.default,
        _ATEN.slice.Tensor,
        _ATEN.select.int,
        _ATEN.narrow.default,
        _ATEN.index_select.default,
        _ATEN.index.Tensor,
        _ATEN.im2col.default,
        _ATEN.unfold.default,
        _ATEN.reflection_pad1d.default,
        _ATEN.reflection_pad2d.default,
        _ATEN.reflection_pad3d.default,
        _ATEN.replication_pad1d.default,
        _ATEN.replication_pad2d.default,
        _ATEN.replication_pad3d.default,
        _ATEN.upsample_nearest1d.vec,
        _ATEN.upsample_nearest2d.vec,
        _ATEN.upsample_nearest3d.vec,
        _ATEN._upsample_nearest_exact1d.vec,
        _ATEN._upsample_nearest_exact2d.vec,
        _ATEN._upsample_nearest_exact3d.vec,
        affine="first",
    ),
    *_alike(rules.PAD, _ATEN.pad.default, _ATEN.constant_pad_nd.default, affine="first"),
    *_alike(rules.COPY, _ATEN.cat.default, _ATEN.concat.default, _ATEN.stack.default, affine="all"),
    Operator(OVER_BATCH, rounding=rules.COPY),
    Operator(STARTING_FROM, rounding=rules.START),
    # Several results, of which a part of the network may take one before the last neuron and another one behind it.
    *_alike(
        rules.COPY,
        _ATEN.chunk.default,
        _ATEN.split.Tensor,
        _ATEN.split.sizes,
        _ATEN.split_with_sizes.default,
        _ATEN.unbind.int,
        operator.getitem,
    ),
    *_alike(
        rules.CREATE,
        _ATEN.zeros.default,
        _ATEN.ones.default,
        _ATEN.full.default,
        _ATEN.zeros_like.default,
        _ATEN.ones_like.default,
        _ATEN.full_like.default,
        _ATEN.new_zeros.default,
        _ATEN.new_ones.default,
        _ATEN.new_full.default,
    ),
)

ROWS = (*LAYERS, *POOLS, *ARITHMETIC, *ELEMENTWISE, *RESHAPES, *COPIES)
"""The whole table."""
