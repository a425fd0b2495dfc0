"""An ONNX artifact, run by ONNX Runtime on the CPU."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError
from torch import Tensor

from snnconv.errors import InputError
from snnconv.runtimes.candidate import Carded, Observation, RunFailure, read_card
from snnconv.runtimes.over_time import State, run_steps

METADATA_KEY = "snnconv"


@dataclass(frozen=True)
class OnnxRuntime(Carded):
    """`tensors` names, per neuron, its potential and its spikes at every step of the graph."""

    path: Path
    tensors: dict[str, dict[str, list[str]]]
    runtime: str = f"ONNX Runtime {onnxruntime.__version__}"

    def constants(self) -> dict[str, Tensor]:
        model = onnx.load(self.path)
        return {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in model.graph.initializer}

    def run(self, x: Tensor) -> Tensor:
        if self.form == "step":
            return run_steps(lambda frame, state: self._step(self._bare, frame, state, ()), x, self.contract, self.card.neurons).y
        return _run(self._bare, ["y"], {"x": x.numpy()})[0]

    def observe(self, x: Tensor) -> Observation:
        if self.form == "step":
            names = tuple(self.tensors)
            return run_steps(lambda f, s: self._step(self._watched, f, s, names), x, self.contract, self.card.neurons)
        wanted = [name for kinds in self.tensors.values() for kind in ("potential", "spike") for name in kinds[kind]]
        y, *values = _run(self._watched, ["y", *wanted], {"x": x.numpy()})
        seen = dict(zip(wanted, values, strict=True))
        joined = [
            {neuron: torch.cat([seen[name] for name in kinds[kind]]).float() for neuron, kinds in self.tensors.items()}
            for kind in ("potential", "spike")
        ]
        return Observation(y, *joined)

    def _step(
        self, session: onnxruntime.InferenceSession, frame: Tensor, state: State, watch: tuple[str, ...]
    ) -> tuple[Tensor, State, dict[str, Tensor], dict[str, Tensor]]:
        neurons = list(self.card.neurons)
        seen = [self.tensors[name][kind][0] for kind in ("potential", "spike") for name in watch]
        feeds = {"x": frame.numpy(), **{f"state.{name}": state[name].numpy() for name in neurons}}
        y, *rest = (value.float() for value in _run(session, ["y", *(f"next_state.{name}" for name in neurons), *seen], feeds))
        following = dict(zip(neurons, rest, strict=False))
        values = rest[len(neurons) :]
        half = len(watch)
        return y, following, dict(zip(watch, values[:half], strict=True)), dict(zip(watch, values[half:], strict=True))

    @cached_property
    def _bare(self) -> onnxruntime.InferenceSession:
        return _session(self.path.read_bytes())

    @cached_property
    def _watched(self) -> onnxruntime.InferenceSession:
        """The same graph with every potential and spike among its outputs."""
        model = onnx.load(self.path)
        for kind, of_type in (("potential", onnx.TensorProto.FLOAT), ("spike", onnx.TensorProto.BOOL)):
            for name in dict.fromkeys(name for kinds in self.tensors.values() for name in kinds[kind]):
                model.graph.output.append(onnx.helper.make_tensor_value_info(name, of_type, None))
        return _session(model.SerializeToString())


def open(path: Path) -> OnnxRuntime:
    """Open an ONNX file. Raises `InputError`."""
    try:
        model = onnx.load(path)
    except (DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise InputError(f"{path}: not an ONNX file, or truncated", "export it again") from error
    props = {p.key: p.value for p in model.metadata_props}
    text = props.get(METADATA_KEY, "")
    card = read_card(path, text)
    names = json.loads(text).get("tensors")
    made = {name for node in model.graph.node for name in node.output}
    try:
        whole = all(made.issuperset(names[n][kind]) for n in card.neurons for kind in ("potential", "spike"))
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise InputError(
            f"{path}: its snnconv metadata is damaged (it does not name every potential and spike)", "export it again"
        )
    return OnnxRuntime(card, path, names)


def _run(session: onnxruntime.InferenceSession, names: list[str], feeds: dict[str, Any]) -> list[Tensor]:
    try:
        return [torch.from_numpy(value) for value in session.run(names, feeds)]
    except Exception as error:
        raise RunFailure(str(error).strip().splitlines()[0]) from error


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise RunFailure(str(error).strip().splitlines()[0]) from error
