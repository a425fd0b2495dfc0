"""An ONNX file: read from its bytes alone, every tensor being what its type and dimensions say, and what it computes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import Message
from onnx import AttributeProto, TensorProto, numpy_helper
from torch import Tensor

from snnconv.artifact.metadata import Metadata, read_metadata
from snnconv.errors import InputError, first_line
from snnconv.files import Content, reading
from snnconv.ir.program import TimeContract

METADATA_KEY = "snnconv"
_VALUES = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that was read.

    `names` are those of the potential and the spikes of every neuron, `{neuron: {"potential": [...], "spike": [...]}}`, one name
    per step, or a single one in a step form; None for spikes that nothing reads, which no node makes. `outputs` are those of the
    outputs, in the order of the contract. `input` is that of the input of a graph that snnconv did not write.
    """

    model: onnx.ModelProto
    sha256: str
    metadata: Metadata
    names: dict[str, dict[str, list[str | None]]]
    format: str = "onnx"
    input: str = "x"
    outputs: tuple[str, ...] = ("y",)

    def constants(self) -> dict[str, Tensor]:
        """The weights and neuron constants that it holds, by their names."""
        return constants_of(self.model)

    @property
    def lost(self) -> list[str]:
        """The names of potentials and spikes that no node of the graph makes: another tool took them away."""
        made = {name for node in self.model.graph.node for name in node.output}
        named = (name for kinds in self.names.values() for names in kinds.values() for name in names)
        return [name for name in named if name is not None and name not in made | {self.input}]

    def structure(self) -> list[str]:
        """Opsets, inputs and outputs, types of constants and values, nodes, and which values the potentials, spikes and states
        are."""
        graph = self.model.graph
        made = {name for node in graph.node for name in node.output}
        numbers = {name: f"%{i}" for i, name in enumerate(name for node in graph.node for name in node.output)}
        opsets = [f"opset {o.domain or 'onnx'} {o.version}" for o in self.model.opset_import]
        ends = [f"input {v.name} {v.type}" for v in graph.input]
        ends += [f"output {v.name} {v.type}" for v in graph.output]
        held = [f"constant {t.name} {t.data_type} {list(t.dims)}" for t in graph.initializer]
        nodes = [
            f"{', '.join(numbers[n] for n in node.output)} = {node.domain}{node.op_type}"
            f"({', '.join(numbers.get(n, n) for n in node.input)}) {sorted(map(str, node.attribute))}"
            for node in graph.node
        ]
        ways = [f"{name} is {numbers.get(name)}" for name in self.outputs] + [
            f"{neuron} {kind} is {[numbers.get(n) for n in names]}"
            for neuron, kinds in self.names.items()
            for kind, names in sorted(kinds.items())
        ]
        states = [f"{v.name} is {numbers.get(v.name)}" for v in graph.output if v.name in made]
        said = [f"value {numbers.get(v.name, v.name)} {v.type}" for v in graph.value_info]
        return [*sorted(opsets), *ends, *sorted(held), *nodes, *ways, *states, *sorted(said)]


def names_of_outputs(contract: TimeContract, taken: Collection[str] = ()) -> list[str]:
    """What outputs are called in a graph: `y`, or the network's own names of several, none of them `taken`.

    An index is put behind `y`, and what is no letter, digit or dot becomes a `_`: `logits`, `heads.1`, `y.0`.
    """
    names: list[str] = []
    for name in contract.readouts:
        legal = re.sub(r"[^0-9A-Za-z_.]", "_", name if re.match(r"[A-Za-z_]", name) else f"y.{name}".rstrip("."))
        while legal in (*taken, *names):
            legal += "_"
        names.append(legal)
    return names


def constants_of(model: onnx.ModelProto) -> dict[str, Tensor]:
    """The initializers of a graph by their names."""
    return {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}


def numbers_of(model: onnx.ModelProto) -> list[float]:
    """The attributes of operators that are real numbers, those left out at their default and those within HardSwish too."""
    numbers: list[float] = []
    for node in model.graph.node:
        given = {a.name: [a.f, *a.floats] for a in node.attribute if a.type in (AttributeProto.FLOAT, AttributeProto.FLOATS)}
        known = (
            onnx.defs.get_schema(node.op_type, domain=node.domain).attributes if onnx.defs.has(node.op_type, node.domain) else {}
        )
        defaults = [
            a.default_value.f for a in known.values() if a.default_value.type == AttributeProto.FLOAT and a.name not in given
        ]
        numbers += [number for listed in given.values() for number in listed] + defaults
        numbers += [1 / 6] if node.op_type == "HardSwish" else []
    return numbers


def ours(content: Content, model: onnx.ModelProto) -> OnnxFile | None:
    """A model that was read, if snnconv exported it. Raises `InputError` if what it says about itself is damaged."""
    path = content.path
    props = {p.key: p.value for p in model.metadata_props}
    if METADATA_KEY not in props:
        return None
    if len(props) != len(model.metadata_props) or model.functions:
        raise InputError(f"{path}: holds metadata twice, or functions of its own", "export it again")
    metadata = read_metadata(path, props[METADATA_KEY])
    names: Any = metadata.document.get("tensors")
    try:
        potentials, spikes = ([n for neuron in metadata.neurons for n in names[neuron][k]] for k in ("potential", "spike"))
        named = [*potentials, *(name for name in spikes if name is not None)]
        whole = all(isinstance(name, str) and name for name in named)
        kinds = [names[neuron] for neuron in metadata.neurons]
        whole &= None not in spikes or all(len(kind["potential"]) == len(kind["spike"]) for kind in kinds)
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise InputError(
            f"{path}: its snnconv metadata is damaged (it does not name every potential and spike)", "export it again"
        )
    return OnnxFile(model, content.sha256, metadata, names, outputs=_outputs(path, metadata))


def _outputs(path: Path, metadata: Metadata) -> tuple[str, ...]:
    """What the outputs are called in the graph. Raises `InputError` if the metadata do not say so."""
    names = metadata.document.get("outputs", ["y"])
    count = len(metadata.contract.readouts)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) != count:
        raise InputError(f"{path}: its snnconv metadata is damaged (it does not name every output)", "export it again")
    return tuple(names)


def read_model(content: Content) -> onnx.ModelProto:
    """The model of a file. Raises `InputError` for damage, and for weights that are kept in other files."""
    path = content.path
    with reading(path, "not an ONNX file, or truncated", "export it again"):
        model = onnx.load_model_from_string(content.data)
        _ensure_text(model)
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise InputError(
                f"{path}: keeps '{tensor.name}' in another file, which is not the one that is named and hashed",
                "save it as one file: onnx.save_model(onnx.load(FILE), FILE, save_as_external_data=False)",
            )
        with reading(path, f"its tensor '{tensor.name}' is damaged", "export it again"):
            _check(tensor)
    return model


def _check(tensor: TensorProto) -> None:
    """Raise `ValueError` unless the values of a tensor are as many, and of such a kind, as it says."""
    if sum(bool(getattr(tensor, name)) for name in _VALUES) > 1:
        raise ValueError("it holds its values twice")
    try:
        array = numpy_helper.to_array(tensor)
        torch.from_numpy(array.copy())
    except Exception as error:
        kind = TensorProto.DataType.Name(tensor.data_type) if tensor.data_type in TensorProto.DataType.values() else "unknown"
        raise ValueError(f"of type {kind} and dimensions {list(tensor.dims)}: {first_line(error)}") from error
    if array.shape != tuple(tensor.dims):
        raise ValueError(f"its dimensions are {list(tensor.dims)}")


def _ensure_text(model: onnx.ModelProto) -> None:
    """Raise `ValueError` if a name or another text is none: protobuf gives the bytes then."""
    for message in _messages(model):
        texts = [message.name] if isinstance(message, TensorProto) else _texts(message)
        wrong = next((text for text in texts if isinstance(text, bytes)), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} is no text")


def _texts(message: Message) -> Iterator[str | bytes]:
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            yield from [value] if isinstance(value, str | bytes) else value


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor in a model, wherever it stands."""
    return (message for message in _messages(model) if isinstance(message, TensorProto))


def _messages(message: Message) -> Iterator[Message]:
    """A message and all within, tensors unopened; protobuf has seen to it that nothing lies too deep."""
    yield message
    if isinstance(message, TensorProto):
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from _messages(part)
