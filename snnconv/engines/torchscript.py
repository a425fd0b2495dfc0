"""A TorchScript artifact, run by torch alone, once it is known whose code it is."""

from __future__ import annotations

import copy
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from snnconv.artifact.script_archive import METADATA_FILE, ScriptArchive, first_difference, read_archive
from snnconv.engines.candidate import Carded, Observation, failing, read_card, renamed, replaced
from snnconv.engines.over_time import State, Stepped, run_steps
from snnconv.errors import InputError
from snnconv.files import Content, undamaged

__all__ = ["METADATA_FILE", "Script", "TorchScript", "open"]

_RUNTIME = f"TorchScript {torch.__version__}"

_VALUE = re.compile(r"%[\w.]+")
_NOISE = re.compile(r"___torch_mangle_\d+\.?|\s*#.*$")
"""The numbers that torch.jit gives to classes, and its notes on where code came from."""

# How the code of a script writes torch.float32 and torch.float64.
_FLOAT, _DOUBLE = 6, 7


@dataclass(frozen=True)
class Script(Carded):
    """A TorchScript file that was read: nothing of it has been loaded or run."""

    content: Content
    archive: ScriptArchive
    runtime: str = _RUNTIME
    format: str = "torchscript"

    def foreign(self, ours: Script) -> str:
        """The first line that is not as in `ours`, an export of snnconv's; empty if there is none."""
        return first_difference(self.archive, ours.archive)

    def load(self) -> TorchScript:
        """Load the code, which runs it. Raises `InputError` if it cannot be loaded."""
        with undamaged(self.content.path, "cannot be loaded by torch.jit", "export it again"):
            module = torch.jit.load(self.archive.packed(), map_location="cpu")
        return TorchScript(self.card, self.sha256, module.eval())


@dataclass(frozen=True)
class TorchScript(Carded):
    """A loaded TorchScript file."""

    module: Any
    runtime: str = _RUNTIME
    format: str = "torchscript"

    def load(self) -> TorchScript:
        return self

    def structure(self) -> list[str]:
        lines = []
        for path, part in self.module.named_modules():
            for name in sorted(part._c._method_names()):
                graph = part._c._get_method(name).graph.copy()
                torch._C._jit_pass_inline(graph)
                lines.append(f"method {path}.{name}")
                lines += renamed(str(graph).splitlines(), _VALUE)
                lines += [f"tensor {digest}" for digest in _tensors(graph)]
        return [_NOISE.sub("", line) for line in lines]

    def constants(self) -> dict[str, Tensor]:
        return {name.removeprefix("body."): value for name, value in self.module.state_dict().items()}

    def with_constants(self, constants: dict[str, Tensor]) -> TorchScript:
        values, dtype = replaced(self.constants(), constants)
        module = copy.deepcopy(self.module) if dtype == torch.float32 else _in_float64(self.module)
        changed = replace(self, module=module)
        for name, held in changed.constants().items():
            held.copy_(values[name])
        return changed

    def run(self, x: Tensor) -> Tensor:
        with failing(), torch.no_grad():
            return run_steps(self._bare_step, x, *self.card.over_time).y if self.form == "step" else self.module(x)

    def observe(self, x: Tensor) -> Observation:
        with failing(), torch.no_grad():
            if self.form == "step":
                return run_steps(self.module.observe, x, *self.card.over_time)
            y, *joined = self.module.observe(x)
            return Observation(y, *({name: list(value.split(len(x))) for name, value in seen.items()} for seen in joined))

    def _bare_step(self, frame: Tensor, state: State) -> Stepped:
        return (*self.module(frame, state), {}, {})


def open(content: Content) -> Script:
    """Read a TorchScript file without running it. Raises `InputError`."""
    archive = read_archive(content)
    card = read_card(content.path, archive.metadata)
    if card.batch is not None:
        raise InputError(f"{content.path}: its snnconv metadata is damaged (batch {card.batch})", "export it again")
    return Script(card, content.sha256, content, archive)


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


def _tensors(graph: Any) -> Iterator[str]:
    """The SHA-256 of every tensor that stands in the code itself."""
    for node in _nodes(graph):
        if node.kind() == "prim::Constant" and node.hasAttribute("value") and node.kindOf("value") == "t":
            yield hashlib.sha256(node.t("value").contiguous().numpy().tobytes()).hexdigest()


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)
