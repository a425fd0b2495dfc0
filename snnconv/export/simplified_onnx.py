"""Simplifying an ONNX model as torch's exporter writes it, without touching the constants that the proof reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir
import onnxscript.optimizer
import onnxscript.rewriter
import torch
from onnx_ir.passes import common as passes
from onnxscript.rewriter import RewriteRuleSet
from onnxscript.rewriter.rules import common as rules

_RULES = (
    *RewriteRuleSet([rules.mul_by_1_rule, rules.add_0_rule], commute=True).rules,
    rules.sub_0_rule,
    rules.div_by_1_rule,
    rules.two_reshapes_matmul_reshape_rule,
    rules.one_reshape_matmul_reshape_rule,
    rules.cast_constant_of_shape_rule,
    rules.cast_constant_of_shape_without_value_rule,
    rules.collapse_slice_rule,
    rules.collapse_slice2_rule,
    rules.materialize_reshape_shape_rule,
    rules.min_min_rule,
    rules.max_max_rule,
    rules.min_max_rule,
    rules.max_min_rule,
    rules.successive_clip_relu_rule,
    rules.successive_relu_clip_rule,
    rules.successive_relu_rule,
    rules.successive_clip_rule,
    rules.cast_cast_rule,
    rules.no_op_cast_rule,
    rules.no_op_expand_rule,
    rules.flatten_to_reshape_rule,
    rules.reshape_reshape_rule,
    rules.no_op_transpose_rule,
    rules.transpose_transpose_rule,
    rules.unsqueeze_unsqueeze_rule,
    rules.squeeze_reshape_1d_rule,
    rules.no_op_dynamic_scatter_nd_rule,
    rules.no_op_static_scatter_nd_rule,
    rules.normalize_pad_format_conv_rule,
    rules.fuse_pad_into_conv_rule,
    rules.remove_optional_bias_from_conv_rule,
    rules.remove_optional_bias_from_conv_transpose_rule,
    rules.remove_optional_bias_from_gemm_rule,
)
"""The rules of onnxscript for float graphs; one that joins slices is left out, since it tries all pairs of them in the graph."""


def simplified(model: ir.Model, held: dict[str, torch.Tensor]) -> ir.Model:
    """Fold the shape arithmetic and drop what torch's exporter leaves in metadata: source paths and its own node names.

    The constants `held` by the lowered graph stay apart, equal ones too, and keep name and value, so that each can be found,
    checked and changed by its name.
    """
    with _opaque(model, held):
        onnxscript.optimizer.fold_constants(model)
        onnxscript.rewriter.rewrite(model, _RULES)
        passes.RemoveUnusedNodesPass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    ensure_held(model, held)
    passes.RemoveUnusedOpsetsPass()(model)
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.metadata_props.clear()
    _name_batch(model)
    model.graph.name, model.producer_name, model.producer_version = "snnconv", "snnconv", None
    return model


@contextmanager
def _opaque(model: ir.Model, held: dict[str, torch.Tensor]) -> Iterator[None]:
    """Meanwhile the constants `held` are inputs: what an optimizer does not know it can neither fold, merge, rename nor drop."""
    graph = model.graph
    hidden = {name: graph.initializers.pop(name) for name in held if name in graph.initializers}
    values = {name: value.const_value for name, value in hidden.items()}
    for value in hidden.values():
        value.const_value = None
        graph.inputs.append(value)
    yield
    del graph.inputs[len(graph.inputs) - len(hidden) :]
    for name, value in hidden.items():
        value.const_value = values[name]
        graph.initializers[name] = value


def ensure_held(model: ir.Model, held: dict[str, torch.Tensor]) -> None:
    """Raise RuntimeError unless the model holds every constant of the lowered graph, bit for bit, under its name."""
    for name, value in held.items():
        found = model.graph.initializers.get(name)
        if found is None or found.const_value is None:
            raise RuntimeError(f"the exporter dropped or renamed {name}")
        if found.const_value.numpy().tobytes() != value.contiguous().numpy().tobytes():
            raise RuntimeError(f"the exporter changed {name}")


def _name_batch(model: ir.Model) -> None:
    """Call the dynamic dimension `batch`; torch numbers its symbols differently from run to run."""
    x = model.graph.inputs[0].shape
    symbol = None if x is None else x[0]
    if not isinstance(symbol, ir.SymbolicDim):
        return
    values = [*model.graph.inputs, *(value for node in model.graph.all_nodes() for value in node.outputs)]
    for shape in (value.shape for value in values if value.shape is not None):
        for axis, size in enumerate(shape):
            if not isinstance(size, int) and size.value is not None:
                shape[axis] = re.sub(rf"\b{symbol.value}\b", "batch", size.value)
