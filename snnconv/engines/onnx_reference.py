"""An ONNX graph in float64, node by node, by ONNX's own reference evaluator: ONNX Runtime has no double kernel for convolution.

What is slow or rounded to float32 there is computed by torch; the graph is the file's own, every float32 in it made float64.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from onnx import AttributeProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_cum_sum, op_pad, op_resize
from torch import Tensor
from torch.nn.functional import interpolate, pad

from snnconv.engines.engine import RunFailure
from snnconv.errors import first_line

Session = Callable[[list[str], dict[str, Tensor]], dict[str, Tensor]]
"""Runs a graph: the named values, outputs or not, from its inputs."""


def reference_session(model: onnx.ModelProto) -> Session:
    """Any value of the graph by name. Raises `RunFailure` with the name of the operator that cannot be run."""
    with _naming():
        evaluator = ReferenceEvaluator(model, new_ops=[Conv, ConvTranspose, AveragePool, MaxPool, Resize, Erf, CumSum, Pad])

    def run(names: list[str], feeds: dict[str, Tensor]) -> dict[str, Tensor]:
        with _naming():
            values = evaluator.run(names, {name: value.numpy() for name, value in feeds.items()})
            return dict(zip(names, map(_tensor, values), strict=True))

    return run


def widen(graph: onnx.GraphProto) -> None:
    """Make every float32 tensor, attribute and type of a graph float64, in place."""
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        _widen_node(node)


def _widen_node(node: onnx.NodeProto) -> None:
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(onnx.helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float64))))
    for attribute in node.attribute:
        if node.op_type == "Constant" and attribute.type in (AttributeProto.FLOAT, AttributeProto.FLOATS):
            value = np.array(onnx.helper.get_attribute_value(attribute), np.float64)
            attribute.CopyFrom(onnx.helper.make_attribute("value", numpy_helper.from_array(value)))
        elif attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.DOUBLE
        elif attribute.HasField("t"):
            _widen_tensor(attribute.t)
        elif attribute.HasField("g"):
            widen(attribute.g)


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


@contextmanager
def _naming() -> Iterator[None]:
    """Whatever goes wrong in the evaluator becomes a `RunFailure` with the operator's name and the first cause."""
    try:
        yield
    except Exception as error:
        frames = (frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__))
        failed = next((f"{frame.op_type} {frame.onnx_node.name}: " for frame in frames if isinstance(frame, OpRun)), "")
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise RunFailure(failed + first_line(cause)) from error


class _Windows:
    """Where the windows of a convolution or pooling lie, over any number of axes.

    `padding` is what the operator declares, `beyond` what the last windows need further (`ceil_mode`); both as torch's `pad`
    takes them, last axis first.
    """

    def __init__(self, size: Sequence[int], kernel: Sequence[int], attributes: dict[str, Any]) -> None:
        n = len(size)
        self.stride = attributes["strides"] or [1] * n
        self.dilation = attributes.get("dilations") or [1] * n
        self.spans = [(k - 1) * d + 1 for k, d in zip(kernel, self.dilation, strict=True)]
        declared = attributes["pads"] or [0] * 2 * n
        self.padding: list[int] = []
        self.beyond: list[int] = []
        for i in reversed(range(n)):
            stride, span = self.stride[i], self.spans[i]
            before, after = declared[i], declared[n + i]
            if (attributes["auto_pad"] or "").startswith("SAME"):
                total = max((math.ceil(size[i] / stride) - 1) * stride + span - size[i], 0)
                after = total // 2 if attributes["auto_pad"] == "SAME_LOWER" else total - total // 2
                before = total - after
            room = size[i] + before + after - span
            last = room // stride
            if attributes.get("ceil_mode"):
                last = min(math.ceil(room / stride), (size[i] + before - 1) // stride)
            self.padding += [before, after]
            self.beyond += [0, max(last * stride - room, 0)]

    def of(self, padded: Tensor) -> Tensor:
        """Every window of `[N, C, ...]`, its values along one last axis."""
        n = len(self.spans)
        for axis, (span, stride, dilation) in enumerate(zip(self.spans, self.stride, self.dilation, strict=True), 2):
            padded = padded.unfold(axis, span, stride)[..., ::dilation]
        return padded.flatten(-n)


class Conv(OpRun):
    """Convolution."""

    def _run(self, x, weight, bias=None, **attributes: Any):
        windows = _Windows(x.shape[2:], weight.shape[2:], attributes)
        none = [0] * len(windows.stride)
        padded, added = pad(_tensor(x), windows.padding), None if bias is None else _tensor(bias)
        groups = attributes["group"] or 1
        y = torch.convolution(padded, _tensor(weight), added, windows.stride, none, windows.dilation, False, none, groups)
        return (y.numpy(),)


class ConvTranspose(OpRun):
    """Transposed convolution: padding takes from its output, output padding adds to it."""

    def _run(self, x, weight, bias=None, **attributes: Any):
        if attributes["output_shape"] or attributes["auto_pad"] not in (None, "NOTSET"):
            raise NotImplementedError("padding that follows from the output's shape is not supported")
        n = x.ndim - 2
        none, groups = [0] * n, attributes["group"] or 1
        stride, dilation = attributes["strides"] or [1] * n, attributes["dilations"] or [1] * n
        y = torch.convolution(_tensor(x), _tensor(weight), None, stride, none, dilation, True, none, groups)
        pads, added = attributes["pads"] or none * 2, attributes["output_padding"] or none
        y = pad(y, [size for i in reversed(range(n)) for size in (-pads[i], added[i] - pads[n + i])])
        return ((y if bias is None else y + _tensor(bias).view(-1, *[1] * n)).numpy(),)


class AveragePool(OpRun):
    """Average over each window, of what is inside the image or, if so declared, its padding."""

    def _run(self, x, **attributes: Any):
        windows = _Windows(x.shape[2:], attributes["kernel_shape"], attributes)
        image = _tensor(x)
        counted = pad(torch.ones_like(image[:1, :1]), windows.padding, value=float(bool(attributes["count_include_pad"])))
        total, count = (windows.of(pad(part, windows.beyond)).sum(-1) for part in (pad(image, windows.padding), counted))
        return ((total / count).numpy(),)


class MaxPool(OpRun):
    """Maximum of each window."""

    def _run(self, x, **attributes: Any):
        windows = _Windows(x.shape[2:], attributes["kernel_shape"], attributes)
        values, places = windows.of(self._padded(_tensor(x), windows, -math.inf)).max(-1)
        if len(self.onnx_node.output) == 1:
            return (values.numpy(),)
        if attributes["storage_order"]:
            raise NotImplementedError("indices of maxima in another order are not supported")
        numbers = torch.arange(x.size).view(x.shape)
        found = windows.of(self._padded(numbers, windows, -1)).gather(-1, places.unsqueeze(-1)).squeeze(-1)
        return values.numpy(), found.numpy()

    @staticmethod
    def _padded(x: Tensor, windows: _Windows, value: float) -> Tensor:
        return pad(pad(x, windows.padding, value=value), windows.beyond, value=value)


class Resize(op_resize.Resize):
    """Resizing. The evaluator's own coordinates between pixels are float32, which bicubic interpolation to a size shows."""

    def _run(self, x, roi=None, scales=None, sizes=None, **attributes: Any):  # type: ignore[override]
        how = attributes["coordinate_transformation_mode"]
        cubic = (attributes["antialias"], attributes["exclude_outside"], round(attributes["cubic_coeff_a"], 6))
        as_torch = how in ("align_corners", "half_pixel", "pytorch_half_pixel") and cubic in ((0, 0, -0.75), (1, 1, -0.5))
        if attributes["mode"] != "cubic" or x.ndim != 4 or not as_torch:
            return super()._run(x, roi, scales, sizes, **attributes)
        to = {"size": list(map(int, sizes[2:]))} if sizes is not None else {"scale_factor": list(map(float, scales[2:]))}
        aligned, antialias = how == "align_corners", bool(attributes["antialias"])
        return (interpolate(_tensor(x), **to, mode="bicubic", align_corners=aligned, antialias=antialias).numpy(),)


class Erf(OpRun):
    """The error function, which the evaluator rounds to float32."""

    def _run(self, x):
        return (torch.erf(_tensor(x)).numpy(),)


class CumSum(op_cum_sum.CumSum):
    """Sums along an axis, which may come as a tensor of one number."""

    def _run(self, x, axis, **attributes: Any):  # type: ignore[override]
        return super()._run(x, np.asarray(axis).reshape(()), **attributes)


class Pad(op_pad.Pad_18):
    """A constant border, which is cut off where its width is negative: the evaluator cannot do that."""

    def _run(self, data, pads, constant_value=None, axes=None, mode=None):
        if mode != "constant" or axes is not None:
            return super()._run(data, pads, constant_value, axes, mode)
        widths = [int(width) for i in reversed(range(data.ndim)) for width in (pads[i], pads[data.ndim + i])]
        value = 0 if constant_value is None else np.asarray(constant_value).item()
        return (pad(_tensor(data), widths, value=value).numpy(),)


def _tensor(value: np.ndarray) -> Tensor:
    """The same memory where torch takes it, which may not be read-only."""
    return torch.from_numpy(np.require(value, requirements=["C", "W"]))
