"""ONNX graphs in float64: the operators that torch computes, and failures that name their operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from snnconv.engines import RunFailure, open_candidate
from snnconv.engines.onnx_reference import reference_session, widen
from snnconv.export import export, format_of
from snnconv.fold import fold
from tests.networks import inputs, per_element, source_of

IMAGE, LINE, VOLUME = (2, 4, 9, 8), (2, 4, 9), (1, 2, 5, 6, 4)
POOLED: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    (IMAGE, {"kernel_shape": [2, 2]}),
    (IMAGE, {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 1, 1]}),
    (IMAGE, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}),
    (IMAGE, {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    (LINE, {"kernel_shape": [3], "strides": [2]}),
    (VOLUME, {"kernel_shape": [2, 2, 2], "strides": [1, 2, 2]}),
]
CASES: list[tuple[str, list[tuple[int, ...]], dict[str, Any]]] = [
    *(("AveragePool", [shape], attributes) for shape, attributes in POOLED),
    *(("AveragePool", [shape], {**attributes, "count_include_pad": 1}) for shape, attributes in POOLED),
    *(("MaxPool", [shape], attributes) for shape, attributes in POOLED),
    ("MaxPool", [IMAGE], {"kernel_shape": [2, 2], "dilations": [2, 3]}),
    ("Conv", [IMAGE, (6, 4, 3, 3)], {}),
    ("Conv", [IMAGE, (6, 4, 3, 3), (6,)], {"strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2]}),
    ("Conv", [IMAGE, (6, 4, 2, 3)], {"auto_pad": "SAME_UPPER"}),
    ("Conv", [IMAGE, (6, 4, 2, 3)], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("Conv", [IMAGE, (8, 1, 3, 3), (8,)], {"group": 4}),
    ("Conv", [LINE, (6, 4, 3)], {"pads": [1, 1]}),
    ("Conv", [VOLUME, (3, 2, 2, 3, 1)], {}),
    ("ConvTranspose", [IMAGE, (4, 3, 3, 3), (3,)], {"strides": [2, 2], "pads": [1, 1, 1, 0], "output_padding": [1, 0]}),
    ("ConvTranspose", [IMAGE, (4, 1, 2, 2)], {"group": 4, "dilations": [2, 1]}),
]


def single(op: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any]) -> onnx.ModelProto:
    """A float32 model of one operator."""
    names = [f"x{i}" for i in range(len(shapes))]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in zip(names, shapes, strict=True)]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node(op, names, ["y"], **attributes)], "one", values, [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(("op", "shapes", "attributes"), CASES)
def test_operators_by_torch_are_those_of_onnx_runtime(op: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any]) -> None:
    model, generator = single(op, shapes, attributes), torch.Generator().manual_seed(0)
    feeds = {f"x{i}": torch.randn(shape, generator=generator) for i, shape in enumerate(shapes)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(["y"], {name: value.numpy() for name, value in feeds.items()})
    widen(model.graph)
    y = reference_session(model)(["y"], {name: value.double() for name, value in feeds.items()})["y"]
    assert y.dtype == torch.float64
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_every_way_to_write_a_float32_constant_is_widened() -> None:
    nodes = [
        helper.make_node("Constant", [], ["a"], value=onnx.numpy_helper.from_array(np.float32([1.0]))),
        helper.make_node("Constant", [], ["b"], value_float=2.0),
        helper.make_node("Constant", [], ["c"], value_floats=[3.0]),
        helper.make_node("Constant", [], ["shape"], value_ints=[1]),
        helper.make_node("ConstantOfShape", ["shape"], ["d"]),
        helper.make_node("ConstantOfShape", ["shape"], ["e"], value=onnx.numpy_helper.from_array(np.float32([5.0]))),
        helper.make_node("Cast", ["shape"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Sum", ["a", "b", "c", "d", "e", "f", "g"], ["y"]),
    ]
    held = onnx.numpy_helper.from_array(np.float32([7.0]), "g")
    graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])], [held])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    widen(model.graph)
    onnx.checker.check_model(model, full_check=True)
    values = reference_session(model)([*"abcdefg", "y"], {})
    assert {value.dtype for value in values.values()} == {torch.float64}
    assert values["y"].item() == 19.0


@pytest.mark.parametrize("damage", ["unknown", "at odds"])
def test_an_operator_that_cannot_be_run_is_named(damage: str, tmp_path: Path) -> None:
    source = source_of(per_element())
    export(fold(source.program), tmp_path / "net.onnx", format_of(tmp_path / "net.onnx"))
    model = onnx.load(tmp_path / "net.onnx")
    node = next(node for node in model.graph.node if node.op_type == "AveragePool")
    if damage == "unknown":
        node.op_type = "Sprinkle"
    else:
        next(a for a in node.attribute if a.name == "kernel_shape").ints.append(2)
    onnx.save(model, tmp_path / "net.onnx")
    candidate = open_candidate(tmp_path / "net.onnx").load()
    with pytest.raises(RunFailure, match=node.op_type):
        exact = candidate.with_constants({"conv1.bias": candidate.constants()["conv1.bias"].double()})
        exact.observe(inputs(source, 2).double())


@pytest.mark.parametrize("corners", ["half_pixel", "align_corners"])
def test_bicubic_interpolation_is_computed_in_float64(corners: str) -> None:
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="cubic", coordinate_transformation_mode=corners)
    sizes = onnx.numpy_helper.from_array(np.array([1, 2, 12, 11]), "sizes")
    ends = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], [sizes]))
    x = torch.rand(1, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(x, (12, 11), mode="bicubic", align_corners=corners == "align_corners")
    torch.testing.assert_close(reference_session(model)(["y"], {"x": x})["y"], expected, rtol=0, atol=1e-12)
