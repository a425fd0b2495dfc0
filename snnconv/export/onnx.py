"""ONNX: the lowered graph in standard operators only, neurons unrolled over a fixed number of steps.

torch's exporter translates the aten part; the time operators are written here, so that every potential, spike and state has the
name that the metadata lists, spikes as booleans:

    <neuron>.potential.<t>, <neuron>.spike.<t>     sequence
    <neuron>.potential, <neuron>.spike             step
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import onnx_ir as ir
import torch
from onnxscript import opset18 as op

from snnconv.artifact.foreign_onnx import read_onnx
from snnconv.artifact.formats import Export, Format
from snnconv.artifact.onnx_file import METADATA_KEY, names_of_outputs
from snnconv.errors import Refused, first_line
from snnconv.export.simplified_onnx import simplified
from snnconv.ir.over_batch import OVER_BATCH
from snnconv.lower import Lowered, ops

OPSET = 18

Values = Sequence[ir.Value | None]


def to_onnx(export: Export) -> bytes:
    """The ONNX model of a lowered graph, checked by `onnx.checker`.

    The metadata of the export become JSON in the model's `metadata_props`, with the names of every potential and spike added.

    Raises `Refused` if an operator has no ONNX translation, or means something else there, and if a constant of the network is
    called as an end of the graph is.
    """
    lowered = export.lowered
    _ensure_free(lowered)
    names = _Names(lowered.form)
    program = _exported(lowered, export.batch)
    with _quiet():
        try:
            converted = torch.onnx.export(
                program,
                (),
                None,
                dynamo=True,
                opset_version=OPSET,
                input_names=input_names(lowered),
                output_names=output_names(lowered),
                custom_translation_table={**_TIME_TRANSLATIONS, **_neuron_translations(names)},
                optimize=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise _untranslated(_cause(error)) from error
    if converted is None:
        raise RuntimeError("torch.onnx.export returned no program")
    outputs = _name_outputs(converted.model.graph, lowered)
    names.restore()
    _keep_what_is_carried(converted.model, lowered)
    model = simplified(converted.model, lowered.constants())
    told = {**export.metadata, "tensors": names.table(model)} | ({"outputs": outputs} if len(outputs) > 1 else {})
    model.metadata_props[METADATA_KEY] = json.dumps(told, sort_keys=True)
    proto = ir.to_proto(model)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise Refused(f"ONNX cannot hold the network: {first_line(error)}", "TorchScript may: name the output *.ts") from error
    return proto.SerializeToString(deterministic=True)


def _ensure_free(lowered: Lowered) -> None:
    """Raise `Refused` for a constant that is called as an input is, or as the output: of several, the outputs make way."""
    inputs, outputs = input_names(lowered), () if lowered.contract.outputs else output_names(lowered)
    taken = next((name for name in lowered.constants() if name in (*inputs, *outputs)), None)
    if taken is not None:
        end = "an input" if taken in inputs else "an output"
        raise Refused(
            f"the network holds a constant called {taken}, as {end} of its ONNX graph is",
            "rename it in the network, or export TorchScript: name the output *.ts",
        )


def input_names(lowered: Lowered) -> list[str]:
    """`x`, then `state.<name>` for every state of a step."""
    return ["x", *(f"state.{name}" for name in lowered.state_names if lowered.form == "step")]


def output_names(lowered: Lowered, taken: Collection[str] = ()) -> list[str]:
    """The names of the network's outputs (`names_of_outputs`), none of them `taken`; then `next_state.<name>` of a step."""
    following = [f"next_state.{name}" for name in lowered.state_names if lowered.form == "step"]
    return [*names_of_outputs(lowered.contract, [*taken, *following]), *following]


def _exported(lowered: Lowered, batch: int | None) -> torch.export.ExportedProgram:
    contract, size = lowered.contract, batch or 2
    shapes = [contract.batch_shape(size)]
    if lowered.form == "step":
        shapes = [(size, *shape) for shape in (contract.input_shape, *lowered.states.values())]
    inputs = tuple(torch.zeros(shape) for shape in shapes)
    if lowered.form == "step" and lowered.counts_steps:
        inputs += (torch.zeros(size, dtype=torch.int64),)
    batch_dim = None if batch else {0: torch.export.Dim("batch")}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(lowered.graph, inputs, dynamic_shapes=tuple(batch_dim for _ in inputs))


def _name_outputs(graph: ir.Graph, lowered: Lowered) -> list[str]:
    """Give every output a value of its own, as a step may return the next state of a neuron too, and its name.

    Returns the names of the network's own outputs. Values within the graph that are called so make way.
    """
    several = bool(lowered.contract.outputs)
    names = output_names(lowered, [*input_names(lowered), *graph.initializers] if several else [])
    for value in (value for node in graph.all_nodes() for value in node.outputs):
        if several and value.name in names:
            value.name = f"{value.name}.inner"
    for i, name in enumerate(names):
        value = graph.outputs[i]
        if value in graph.outputs[:i]:
            copied = ir.node("Identity", [value])
            copied.outputs[0].shape, copied.outputs[0].type = value.shape, value.type
            graph.append(copied)
            graph.outputs[i] = copied.outputs[0]
        graph.outputs[i].name = name
    return names[: len(lowered.contract.readouts)]


class _Names:
    """The values that a verifier wants to see, per neuron and step; read once the graph has its final names."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.memories: dict[str, list[ir.Value]] = {}
        self._given: list[tuple[ir.Value, str]] = []
        self.potentials: dict[str, list[ir.Value]] = {}
        self.spikes: dict[str, list[ir.Value | None]] = {}

    def record(self, neuron: str, suffix: str, potential: ir.Value, spike: ir.Value | None) -> None:
        """Name the potentials and spikes of a neuron, `suffix` telling the step if there are several.

        A silent neuron has no spikes.
        """
        # Two neurons may read one current: then its first potential keeps the first name.
        if potential not in [v for values in self.potentials.values() for v in values]:
            self._given.append((potential, f"{neuron}.potential{suffix}"))
            potential.name = f"{neuron}.potential{suffix}"
        if spike is not None:
            spike.name = f"{neuron}.spike{suffix}"
        self.potentials.setdefault(neuron, []).append(potential)
        self.spikes.setdefault(neuron, []).append(spike)

    def restore(self) -> None:
        """Name the potentials again: the exporter calls what an operator returns by a name of its own.

        What the network is given or returns keeps its name.
        """
        for potential, name in self._given:
            if not (potential.is_graph_input() or potential.is_graph_output()):
                potential.name = name

    def step(self, neuron: str) -> str:
        """The suffix of the next step of a neuron that a sequence runs step by step."""
        return f".{len(self.potentials.get(neuron, []))}" if self.form != "step" else ""

    def recall(self, memory: str, value: ir.Value) -> None:
        """Note what the next step finds in a memory."""
        self.memories.setdefault(memory, []).append(value)

    def table(self, model: ir.Model) -> dict[str, dict[str, list[str | None]]]:
        """Per neuron, the names of its potentials and spikes in `model` in the order of the steps; None for spikes that nothing
        reads, which a graph does not compute."""
        made = {value.name for node in model.graph.all_nodes() for value in node.outputs}
        return {
            name: {
                "potential": [value.name for value in self.potentials[name]],
                "spike": [value.name if value is not None and value.name in made else None for value in spikes],
            }
            for name, spikes in self.spikes.items()
        } | {
            name: {"memory": [value.name if value.name in made | {"x"} else None for value in values]}
            for name, values in self.memories.items()
        }


def _neuron_translations(names: _Names) -> dict[Callable[..., Any], Callable[..., Any]]:
    """The operators of a neuron in ONNX, phase by phase as in `snnconv.ir.dynamics`; `names` notes what they compute."""

    def neuron_step(x, state, constants: Values, strict: bool, soft: bool, name: str):
        k = ops.neuron_constants(constants, strict, soft)
        m, i = state, _input_current(x, k)
        if k.synaptic_decay is not None:
            m, before = (op.Gather(state, _int(part), axis=1) for part in (0, 1))
            i = op.Add(op.Mul(k.synaptic_decay, before), i)
        u = op.Add(m, i)
        fired = _fire(u, k)
        names.record(name, names.step(name), u, fired)
        following = _reset(u, fired, k)
        if k.synaptic_decay is not None:
            beside = _ints([1])
            following = op.Concat(op.Unsqueeze(following, beside), op.Unsqueeze(i, beside), axis=1)
        # Nothing reads the spikes of a silent neuron.
        return u if fired is None else op.Cast(fired, to=onnx.TensorProto.FLOAT), following, u

    def neuron_read_over_time(x, constants: Values, strict: bool, soft: bool, name: str, timesteps: int, still: bool):
        k = ops.neuron_constants(constants, strict, soft)
        currents = _input_currents(x, k, timesteps, still)
        potentials, decisions, m, i = [], [], None, None
        for t in range(timesteps):
            i = currents[t] if k.synaptic_decay is None or i is None else op.Add(op.Mul(k.synaptic_decay, i), currents[t])
            u = i if m is None else op.Add(m, i)
            potentials.append(u)
            decisions.append(_fire(u, k))
            names.record(name, f".{t}", u, decisions[t])
            if t < timesteps - 1:
                m = _reset(u, decisions[t], k)
        over_time = op.Concat(*potentials, axis=0)
        if k.threshold is None:  # nothing reads the spikes of a silent neuron
            return over_time, over_time
        # Booleans are joined and made floats once: a quarter of the memory traffic.
        return op.Cast(op.Concat(*decisions, axis=0), to=onnx.TensorProto.FLOAT), over_time

    def neuron_over_time(x, constants: Values, strict: bool, soft: bool, name: str, timesteps: int, still: bool):
        return neuron_read_over_time(x, constants, strict, soft, name, timesteps, still)[0]

    def recalled(value, name: str):
        names.recall(name, value)
        return value

    return {
        ops.RECALLED: recalled,
        ops.NEURON_STEP: neuron_step,
        ops.NEURON_OVER_TIME: neuron_over_time,
        ops.NEURON_READ_OVER_TIME: neuron_read_over_time,
    }


def _input_currents(x, k, timesteps: int, still: bool):
    """The input current of every step; to meet constants per step, time becomes a dimension of its own."""
    frame = list(x.shape[1:])
    if any(constant is not None and len(constant.shape) > len(frame) + 1 for constant in (k.gain, k.offset)):
        x = op.Reshape(x, _ints([1 if still else timesteps, -1, *frame]))
        currents = op.Reshape(_input_current(x, k), _ints([-1, *frame]))
    else:
        currents = _input_current(x, k)
        if still:
            return [currents] * timesteps
    return [currents] if timesteps == 1 else op.Split(currents, axis=0, num_outputs=timesteps)


def _input_current(x, k):
    """`g * x + c`, what a step adds to the synaptic current."""
    if k.gain is not None:
        x = op.Mul(x, k.gain)
    return x if k.offset is None else op.Add(x, k.offset)


def _fire(u, k):
    if k.threshold is None:
        return None
    fired = op.Greater(u, k.threshold) if k.strict else op.GreaterOrEqual(u, k.threshold)
    return fired if k.inverted is None else op.Xor(fired, k.inverted)


def _reset(u, fired, k):
    kept = u if k.leak is None else op.Mul(u, k.leak)
    kept = kept if k.shift is None else op.Add(kept, k.shift)
    if k.reset is None:
        return kept
    return op.Where(fired, op.Sub(kept, k.reset) if k.soft else k.reset, kept)


def _ints(values: list[int]) -> Any:
    return op.Constant(value_ints=values)


def _int(value: int) -> Any:
    return op.Constant(value_int=value)


def _merge_time(x):
    frame = list(x.shape[2:])
    return op.Reshape(op.Transpose(x, perm=[1, 0, *range(2, len(x.shape))]), _ints([-1, *frame]))


def _repeat_time(x, timesteps: int):
    return op.Concat(*[x] * timesteps, axis=0)


def _each_step(constant, x, timesteps: int):
    layout = list(constant.shape[2:])
    batch = op.Shape(x, start=0, end=1)
    shape = op.Concat(_ints([timesteps]), batch, _ints(layout), axis=0)
    return op.Reshape(op.Expand(constant, shape), _ints([-1, *layout]))


def _over_batch(constant, x, dim: int):
    before, after = list(constant.shape[:dim]), list(constant.shape[dim + 1 :])
    sizes = [_ints(before)] if before else []
    sizes += [op.Shape(x, start=0, end=1), *([_ints(after)] if after else [])]
    return op.Expand(constant, sizes[0] if len(sizes) == 1 else op.Concat(*sizes, axis=0))


def _reduce_time(x, readout: str, timesteps: int):
    rest = list(x.shape[1:])
    steps = op.Reshape(x, _ints([timesteps, -1, *rest]))
    reductions: dict[str, Any] = {"mean": op.ReduceMean, "sum": op.ReduceSum, "max": op.ReduceMax}
    if readout in reductions:
        return reductions[readout](steps, _ints([0]), keepdims=0)
    if readout == "last":
        return op.Gather(steps, _int(timesteps - 1), axis=0)
    return op.Transpose(steps, perm=[1, 0, *range(2, 2 + len(rest))])


def _step_of(x, dim: int, step: int, timesteps: int):
    if timesteps == 1:
        return x
    size = op.Div(op.Shape(x, start=dim, end=dim + 1), _ints([timesteps]))
    return op.Slice(x, op.Mul(size, _ints([step])), op.Mul(size, _ints([step + 1])), _ints([dim]))


def _zeros_for(x, shape: list[int]):
    return op.ConstantOfShape(op.Concat(op.Shape(x, start=0, end=1), _ints(list(shape)), axis=0))


_TIME_TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    ops.MERGE_TIME: _merge_time,
    ops.REPEAT_TIME: _repeat_time,
    ops.EACH_STEP: _each_step,
    ops.REDUCE_TIME: _reduce_time,
    ops.STEP_OF: _step_of,
    ops.ZEROS_FOR: _zeros_for,
    OVER_BATCH: _over_batch,
}


def _keep_what_is_carried(model: ir.Model, lowered: Lowered) -> None:
    """Nothing is carried behind a single step, and the exporter drops what is not read; the proof asks for every constant."""
    if lowered.form == "step" or lowered.contract.timesteps > 1:
        return
    constants = ("threshold", "inverted", "leak", "shift", "reset", "synaptic_decay")
    carried = {f"{neuron}.{constant}" for neuron in lowered.states for constant in constants}
    for name, value in lowered.constants().items():
        if name in carried and name not in model.graph.initializers:
            model.graph.register_initializer(ir.Value(name=name, const_value=ir.tensor(value.numpy(), name=name)))


def _untranslated(cause: str) -> Refused:
    """A refusal for what the exporter says of an operator, by its name if it has no translation."""
    named = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)', overload='(\w+)'\)>", cause)
    said = f"torch has no ONNX translation of {named[1]}" if named else f"ONNX export failed: {cause}"
    return Refused(said, "TorchScript may hold the network: name the output *.ts")


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


@contextmanager
def _quiet():
    """torch's exporter logs about packages it does not need; its errors still come through."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


FORMAT = Format("onnx", (".onnx",), to_onnx, read_onnx, ("torch", "onnx", "onnx-ir", "onnxscript"))
