"""A TorchScript artifact, run by torch alone, once it is known whose code it is."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from snnconv.artifact.script_file import ScriptFile
from snnconv.engines.engine import Candidate, Engine, Observation, failing, replaced
from snnconv.engines.over_time import State, Stepped, run_steps
from snnconv.files import reading
from snnconv.ir.default_type import numbers_in
from snnconv.ir.time import Outputs

# How the code of a script writes torch.float32 and torch.float64.
_FLOAT, _DOUBLE = 6, 7


@dataclass(frozen=True)
class TorchScript(Candidate):
    """A loaded TorchScript file."""

    module: Any

    def constants(self) -> dict[str, Tensor]:
        """The tensors of its state-dict."""
        return {name.removeprefix("body."): value for name, value in self.module.state_dict().items()}

    def with_constants(self, constants: dict[str, Tensor]) -> TorchScript:
        """A copy that holds other constants; in float64, its code asks for float64 too."""
        values, dtype = replaced(self.constants(), constants)
        module = copy.deepcopy(self.module) if dtype == torch.float32 else _in_float64(self.module)
        changed = replace(self, module=module)
        for name, held in changed.constants().items():
            held.copy_(values[name])
        return changed

    def outputs(self, x: Tensor) -> Outputs:
        """What its `forward` gives, for a step form over all steps."""
        with self._running():
            if self.form == "step":
                return run_steps(self._bare_step, x, self.artifact.metadata).outputs
            return _several(self.module(x))

    def observe(self, x: Tensor) -> Observation:
        """Its `observe`, for a step form over all steps."""
        with self._running():
            if self.form == "step":
                return run_steps(self._step, x, self.artifact.metadata)
            returned, *joined = self.module.observe(x)
            y, *further = _several(returned)
            values, spikes = ({name: list(value.split(len(x))) for name, value in seen.items()} for seen in joined)
            memories = {name: values.pop(name, []) for name in self.artifact.metadata.memories}
            return Observation(y, values, spikes, memories, tuple(further))

    @contextmanager
    def _running(self) -> Iterator[None]:
        """While its code runs: numbers without a type are of the type in which it computes."""
        computes = {held.dtype for held in self.constants().values() if held.is_floating_point()}
        with failing(), torch.no_grad(), numbers_in(torch.float64 if torch.float64 in computes else torch.float32):
            yield

    def _bare_step(self, frame: Tensor, state: State) -> Stepped:
        outputs, following = self.module(frame, state)
        return _several(outputs), following, {}, {}

    def _step(self, frame: Tensor, state: State) -> Stepped:
        outputs, *others = self.module.observe(frame, state)
        return (_several(outputs), *others)


def _several(returned: Tensor | Outputs) -> Outputs:
    """The outputs that a script gave: a tensor for one, a tuple for several."""
    return (returned,) if isinstance(returned, Tensor) else tuple(returned)


def load(artifact: ScriptFile) -> TorchScript:
    """Load the code, which runs it: it must be known by now whose code it is. Raises `InputError` if it cannot be loaded."""
    with reading(artifact.content.path, "cannot be loaded by torch.jit", "export it again"):
        module = torch.jit.load(artifact.archive.packed(), map_location="cpu")
    return TorchScript(artifact, ENGINE, module.eval())


ENGINE = Engine("torchscript", "TorchScript", torch.__version__, ("torchscript",), load)


def _in_float64(module: Any) -> Any:
    """A copy of the module, its code included, that computes in float64; `copy.deepcopy` would share the code."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    copied = torch.jit.load(buffer).eval().double()
    for part in copied.modules():
        for name in part._c._method_names():
            graph = part._c._get_method(name).graph
            for node in _nodes(graph):
                _widen_node(graph, node)
    return copied


def _widen_node(graph: Any, node: Any) -> None:
    """Where the code asks for float32, let it ask for float64."""
    if node.schema() == "(no schema)":
        return
    for i, (argument, value) in enumerate(zip(torch._C.parse_schema(node.schema()).arguments, node.inputs(), strict=False)):
        if argument.name == "dtype" and value.node().kind() == "prim::Constant" and value.toIValue() == _FLOAT:
            with graph.insert_point_guard(node):
                node.replaceInput(i, graph.insertConstant(_DOUBLE))


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)
