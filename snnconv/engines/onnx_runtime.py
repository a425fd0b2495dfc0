"""An ONNX artifact, run by ONNX Runtime on the CPU, and in float64 by ONNX's reference evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import Tensor

from snnconv.artifact.onnx_file import read_model
from snnconv.engines.candidate import Carded, Observation, RunFailure, read_card, replaced
from snnconv.engines.onnx_reference import REFERENCE, Engine, reference_engine, widen
from snnconv.engines.over_time import State, Stepped, run_steps
from snnconv.errors import InputError, first_line
from snnconv.files import Content, parse_json

METADATA_KEY = "snnconv"


def session_engine(model: onnx.ModelProto) -> Engine:
    """Any output of the graph by name, by ONNX Runtime in float32. Raises `RunFailure`."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    # Runs alternate with torch's: threads that wait by spinning would take its cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with _failing():
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(names: list[str], feeds: dict[str, Tensor]) -> dict[str, Tensor]:
        with _failing():
            values = session.run(names, {name: value.numpy() for name, value in feeds.items()})
            return dict(zip(names, map(torch.from_numpy, values), strict=True))

    return run


@dataclass(frozen=True)
class OnnxRuntime(Carded):
    """`tensors` names, per neuron, its potential and its spikes at every step; `start` makes an engine of a graph.

    `given` are constants that every run is fed in place of those the graph holds. Artifacts that differ in nothing else share
    their `engines`, bare and watched, and are kept by the names of what they are given in `opened`.
    """

    model: onnx.ModelProto
    tensors: dict[str, dict[str, list[str]]]
    start: Callable[[onnx.ModelProto], Engine] = session_engine
    runtime: str = f"ONNX Runtime {onnxruntime.__version__}"
    format: str = "onnx"
    given: dict[str, Tensor] = field(default_factory=dict)
    engines: dict[str, Engine] = field(default_factory=dict)
    opened: dict[frozenset[str], OnnxRuntime] = field(default_factory=dict)

    def load(self) -> OnnxRuntime:
        return self

    def structure(self) -> list[str]:
        graph = self.model.graph
        made = {name for node in graph.node for name in node.output}
        numbers = {name: f"%{i}" for i, name in enumerate(name for node in graph.node for name in node.output)}
        opsets = [f"opset {o.domain or 'onnx'} {o.version}" for o in self.model.opset_import]
        ends = [f"input {v.name} {v.type}" for v in graph.input if v.name not in self.given]
        ends += [f"output {v.name} {v.type}" for v in graph.output]
        held = [f"constant {t.name} {t.data_type} {list(t.dims)}" for t in graph.initializer]
        nodes = [
            f"{', '.join(numbers[n] for n in node.output)} = {node.domain}{node.op_type}"
            f"({', '.join(numbers.get(n, n) for n in node.input)}) {sorted(map(str, node.attribute))}"
            for node in graph.node
        ]
        ways = [f"y is {numbers.get('y')}"] + [
            f"{neuron} {kind} is {[numbers.get(n) for n in names]}"
            for neuron, kinds in self.tensors.items()
            for kind, names in sorted(kinds.items())
        ]
        states = [f"{v.name} is {numbers.get(v.name)}" for v in graph.output if v.name in made]
        return [*sorted(opsets), *ends, *sorted(held), *nodes, *ways, *states]

    def constants(self) -> dict[str, Tensor]:
        held = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in self.model.graph.initializer}
        return {**held, **self.given}

    def with_constants(self, constants: dict[str, Tensor]) -> OnnxRuntime:
        values, dtype = replaced(self.constants(), constants)
        given = {name: values[name] for name in (*self.given, *constants)}
        if dtype == torch.float32:
            return replace(self._open(frozenset(given)), given=given)
        model = _copy(self.model)
        for tensor in model.graph.initializer:
            if tensor.name in given:
                tensor.CopyFrom(numpy_helper.from_array(given[tensor.name].contiguous().numpy(), tensor.name))
        widen(model.graph)
        return replace(self, model=model, start=reference_engine, runtime=REFERENCE, given={}, engines={}, opened={})

    def _open(self, names: frozenset[str]) -> OnnxRuntime:
        """The artifact with the constants of these names among its inputs: no new session for every new value."""
        if names not in self.opened:
            model = _copy(self.model)
            inputs = {v.name for v in model.graph.input}
            for tensor in model.graph.initializer:
                if tensor.name in names - inputs:
                    model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
            self.opened[names] = replace(self, model=model, engines={})
        return self.opened[names]

    def run(self, x: Tensor) -> Tensor:
        if self.form == "step":
            return run_steps(lambda frame, state: self._step("bare", frame, state, []), x, *self.card.over_time).y
        return self._engine("bare")(["y"], {"x": x, **self.given})["y"]

    def observe(self, x: Tensor) -> Observation:
        names = self._watchable
        if self.form == "step":
            return run_steps(lambda f, s: self._step("watched", f, s, names), x, *self.card.over_time)
        seen = self._engine("watched")(["y", *names], {"x": x, **self.given})
        potentials, spikes = (
            {neuron: [seen[name] for name in kinds[kind]] for neuron, kinds in self.tensors.items()}
            for kind in ("potential", "spike")
        )
        return Observation(seen["y"], potentials, spikes)

    def _step(self, kind: str, frame: Tensor, state: State, names: list[str]) -> Stepped:
        following = {name: f"next_state.{name}" for name in state}
        feeds = {"x": frame, **{f"state.{name}": value for name, value in state.items()}, **self.given}
        seen = self._engine(kind)(["y", *following.values(), *names], feeds)
        potentials, spikes = (
            {neuron: seen[kinds[kind][0]] for neuron, kinds in self.tensors.items() if names} for kind in ("potential", "spike")
        )
        return seen["y"], {name: seen[output] for name, output in following.items()}, potentials, spikes

    def _engine(self, kind: str) -> Engine:
        """An engine of the graph, `bare`, or `watched`: with every potential and spike among its outputs."""
        if kind not in self.engines:
            self.engines[kind] = self.start(self.model if kind == "bare" else self._watched())
        return self.engines[kind]

    @property
    def _watchable(self) -> list[str]:
        """Every potential and spike of the graph; two neurons may share a potential."""
        return list(dict.fromkeys(name for kinds in self.tensors.values() for steps in kinds.values() for name in steps))

    def _watched(self) -> onnx.ModelProto:
        model = _copy(self.model)
        for name in self._watchable:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
        return model


def open(content: Content) -> OnnxRuntime:
    """Open an ONNX file. Raises `InputError`."""
    path, model = content.path, read_model(content)
    props = {p.key: p.value for p in model.metadata_props}
    if len(props) != len(model.metadata_props) or model.functions:
        raise InputError(f"{path}: holds metadata twice, or functions of its own", "export it again")
    text = props.get(METADATA_KEY, "")
    card = read_card(path, text)
    names = parse_json(text).get("tensors")
    made = {name for node in model.graph.node for name in node.output}
    try:
        whole = all(made.issuperset(names[n][kind]) for n in card.neurons for kind in ("potential", "spike"))
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise InputError(
            f"{path}: its snnconv metadata is damaged (it does not name every potential and spike)", "export it again"
        )
    return OnnxRuntime(card, content.sha256, model, names)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise RunFailure(first_line(error)) from error
