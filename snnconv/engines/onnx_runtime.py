"""An ONNX artifact, run by ONNX Runtime on the CPU, and in float64 by ONNX's reference evaluator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import Tensor

from snnconv.artifact.onnx_file import OnnxFile, constants_of, numbers_of
from snnconv.engines.engine import Candidate, Engine, Observation, failing, replaced
from snnconv.engines.onnx_reference import Session, reference_session, widen
from snnconv.engines.over_time import State, Stepped, run_steps
from snnconv.ir.dynamics import NeuronConstants, fire
from snnconv.ir.time import Outputs


def session(model: onnx.ModelProto) -> Session:
    """Any output of the graph by name, by ONNX Runtime in float32. Raises `RunFailure`."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    # Runs alternate with torch's: threads that wait by spinning would take its cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with failing((Exception,)):
        started = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(names: list[str], feeds: dict[str, Tensor]) -> dict[str, Tensor]:
        with failing((Exception,)):
            values = started.run(names, {name: value.numpy() for name, value in feeds.items()})
            return dict(zip(names, map(torch.from_numpy, values), strict=True))

    return run


@dataclass(frozen=True)
class OnnxRuntime(Candidate):
    """An ONNX graph, run by what `start` makes of it: ONNX Runtime, or in float64 a reference evaluator.

    `given` are constants that every run is fed in place of those the graph holds. Artifacts that differ in nothing else share
    their `engines`, bare and watched, and are kept by the names of what they are given in `opened`.
    """

    model: onnx.ModelProto
    names: dict[str, dict[str, list[str | None]]]
    start: Callable[[onnx.ModelProto], Session] = session
    given: dict[str, Tensor] = field(default_factory=dict)
    engines: dict[str, Session] = field(default_factory=dict)
    opened: dict[frozenset[str], OnnxRuntime] = field(default_factory=dict)

    @property
    def _file(self) -> OnnxFile:
        found: OnnxFile = self.artifact  # type: ignore[assignment]
        return found

    @property
    def unobservable(self) -> str:
        """Why its neurons cannot be seen: by the engine, or because the graph makes one of their values no more."""
        lost = f"the graph makes no {self._file.lost[0]} any more, so its neurons cannot be seen" if self._file.lost else ""
        return super().unobservable or lost

    def constants(self) -> dict[str, Tensor]:
        """The initializers of the graph, and what is given in their place."""
        return {**constants_of(self.model), **self.given}

    def numbers(self) -> list[float]:
        """The attributes of its operators that are real numbers: ONNX holds them in float32."""
        return numbers_of(self.model)

    def with_constants(self, constants: dict[str, Tensor]) -> OnnxRuntime:
        """The same graph fed with other constants; in float64 a graph of its own, run by the reference evaluator."""
        values, dtype = replaced(self.constants(), constants)
        given = {name: values[name] for name in (*self.given, *constants)}
        if dtype == torch.float32:
            return replace(self._open(frozenset(given)), given=given)
        model = _copy(self.model)
        for tensor in model.graph.initializer:
            if tensor.name in given:
                tensor.CopyFrom(numpy_helper.from_array(given[tensor.name].contiguous().numpy(), tensor.name))
        widen(model.graph)
        return replace(self, model=model, start=reference_session, given={}, engines={}, opened={})

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

    def outputs(self, x: Tensor) -> Outputs:
        """The graph as it is, for a step form over all steps."""
        if self.form == "step":
            return run_steps(lambda frame, state: self._step("bare", frame, state, []), x, self.artifact.metadata).outputs
        names = self._file.outputs
        seen = self._engine("bare")(list(names), {self._file.input: x, **self.given})
        return tuple(seen[name] for name in names)

    def observe(self, x: Tensor) -> Observation:
        """The graph with every potential and spike among its outputs."""
        names = self._watchable
        if self.form == "step":
            return run_steps(lambda f, s: self._step("watched", f, s, names), x, self.artifact.metadata)
        outputs = self._file.outputs
        seen = {"x": x, **self._engine("watched")([*outputs, *names], {"x": x, **self.given})}
        potentials = {neuron: [seen[name] for name in self._potentials(neuron)] for neuron in self._neurons}
        spikes = {neuron: self._spikes(neuron, seen) for neuron in self._neurons}
        memories = {name: self._found(name, seen) for name in self.artifact.metadata.memories}
        y, *further = (seen[name] for name in outputs)
        return Observation(y, potentials, spikes, memories, tuple(further))

    def _step(self, kind: str, frame: Tensor, state: State, names: list[str]) -> Stepped:
        following = {name: f"next_state.{name}" for name in state}
        feeds = {"x": frame, **{f"state.{name}": value for name, value in state.items()}, **self.given}
        outputs = self._file.outputs
        seen = self._engine(kind)([*outputs, *following.values(), *names], feeds)
        watched = self._neurons if names else ()
        potentials = {neuron: seen[self._potentials(neuron)[0]] for neuron in watched}
        spikes = {neuron: self._spikes(neuron, seen)[0] for neuron in watched}
        states = {name: seen[output] for name, output in following.items()}
        return tuple(seen[name] for name in outputs), states, potentials, spikes

    @property
    def _neurons(self) -> list[str]:
        return [name for name, kinds in self.names.items() if "potential" in kinds]

    def _found(self, memory: str, seen: dict[str, Tensor]) -> list[Tensor]:
        """What each step finds in a memory; the first one finds zeros, which the graph may not compute."""
        shape = self.artifact.metadata.memories[memory]
        named = self.names.get(memory, {}).get("memory", [])
        zeros = seen["x"].new_zeros(len(seen["x"]), *shape)
        return [zeros if name is None else seen[name] for name in named]

    def _potentials(self, neuron: str) -> list[str]:
        return [name for name in self.names[neuron]["potential"] if name is not None]

    def _spikes(self, neuron: str, seen: dict[str, Tensor]) -> list[Tensor]:
        """The spikes of each step. Those that the graph leaves out, because nothing reads them, follow from what it holds."""
        potentials, spikes = self._potentials(neuron), self.names[neuron]["spike"]
        return [self._fired(neuron, seen[potentials[t]]) if name is None else seen[name] for t, name in enumerate(spikes)]

    def _fired(self, neuron: str, u: Tensor) -> Tensor:
        constants = self.constants()
        threshold, inverted = (constants.get(f"{neuron}.{name}") for name in ("threshold", "inverted"))
        told = next(told for told in self.artifact.metadata.document["neurons"] if told["name"] == neuron)
        return fire(u, NeuronConstants(threshold, inverted, strict=told["fires_on"] == ">"))

    def _engine(self, kind: str) -> Session:
        """An engine of the graph, `bare`, or `watched`: with every potential and spike among its outputs."""
        if kind not in self.engines:
            self.engines[kind] = self.start(self.model if kind == "bare" else self._watched())
        return self.engines[kind]

    @property
    def _watchable(self) -> list[str]:
        """Every potential and spike of the graph; two neurons may share a potential."""
        named = (name for kinds in self.names.values() for steps in kinds.values() for name in steps)
        return list(dict.fromkeys(name for name in named if name not in (None, "x")))

    def _watched(self) -> onnx.ModelProto:
        model = _copy(self.model)
        for name in self._watchable:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
        return model


def load(artifact: OnnxFile) -> OnnxRuntime:
    """The graph of an ONNX file; sessions are started when they are first needed."""
    return OnnxRuntime(artifact, ENGINE, artifact.model, artifact.names)


ENGINE = Engine("onnxruntime", "ONNX Runtime", onnxruntime.__version__, ("onnx",), load)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied
