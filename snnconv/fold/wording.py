"""What stands beside a norm in a graph, in words: for the reason that nothing takes it."""

from __future__ import annotations

from torch import fx

from snnconv.ir.neuron import NEURON_OP
from snnconv.ir.nodes import argument, operand
from snnconv.ir.operators import OPERATORS


def in_words(node: fx.Node) -> str:
    """A layer or neuron by its path, anything else by its kind: `conv1`, `neuron lif1`, `max_pool2d`, `the input`."""
    if node.op in ("placeholder", "output"):
        return "the input" if node.op == "placeholder" else "the output"
    if node.target is NEURON_OP:
        return f"neuron {argument(node, 2)}"
    if node.args and isinstance(node.args[0], fx.Node) and node.args[0].target is NEURON_OP:
        return f"neuron {argument(node.args[0], 2)}"
    if OPERATORS.layer(node) is not None and operand(node, 1).op == "get_attr":
        return str(operand(node, 1).target).rpartition(".")[0] or str(operand(node, 1).target)
    schema = getattr(node.target, "_schema", None)
    return str(node.target) if schema is None else str(schema.name).rpartition("::")[2]


def all_in_words(nodes: list[fx.Node]) -> str:
    """Some nodes, each once: `conv1, cat`."""
    return ", ".join(dict.fromkeys(map(in_words, nodes)))
