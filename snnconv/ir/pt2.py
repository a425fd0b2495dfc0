"""Saving a `SpikingProgram` as `.pt2`: a plain zip that holds all it takes to verify and export it without the user's code.

    program.json          contract, origin, step graph, settings of every neuron, sites, proofs
    tensors.safetensors   constants of the graph, the neurons and the proofs
    source/...            the same two of the program before folding

The step graph is written node by node, not by torch.export: loading that format can unpickle, evaluate shape expressions and
paste names into code. Here a target is looked up among torch's own operators and nothing is ever evaluated.
"""

from __future__ import annotations

import io
import json
import math
import operator
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, fx, nn

from snnconv.claims import check_total
from snnconv.errors import InputError, Refused
from snnconv.files import Content, parse_json, read, reading
from snnconv.ir.neuron import NEURON_OP, pack, unpack_neuron, unpack_norm
from snnconv.ir.over_batch import OVER_BATCH
from snnconv.ir.paths import is_name, is_path
from snnconv.ir.per_step import AT_STEP
from snnconv.ir.program import Origin, SpikingProgram, ThresholdProof, TimeContract, put, tensors
from snnconv.ir.starting import STARTING_FROM
from snnconv.results import Site

FORMAT = 2
_READ = (1, FORMAT)
_MANIFEST, _TENSORS, _SOURCE = "program.json", "tensors.safetensors", "source/"
_OWN = (NEURON_OP, AT_STEP, STARTING_FROM, OVER_BATCH)
_KINDS = {"dtype": torch.dtype, "memory_format": torch.memory_format, "layout": torch.layout}


def save(program: SpikingProgram, path: Path) -> None:
    """Write what `encode` gives to `path`."""
    path.write_bytes(encode(program))


def encode(program: SpikingProgram) -> bytes:
    """The file of `program`, with its source if it is folded. The same program gives the same bytes.

    Raises `Refused` for a graph with operators that are not torch's own.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for prefix, part in _parts(program):
            for name, content in _members(part).items():
                archive.writestr(zipfile.ZipInfo(prefix + name, (1980, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def load(path: Path) -> SpikingProgram:
    """Read a program back, as `decode` does."""
    return decode(read(path))


def decode(content: Content) -> SpikingProgram:
    """The program of a file. Raises `InputError` for a file that is none and `Refused` for operators that are not torch's own."""
    path, again = content.path, "make it again with snnconv fold"
    with reading(path, "not an snnconv program, or truncated", again):
        archive = zipfile.ZipFile(io.BytesIO(content.data))
    with archive, reading(path, "is damaged", again):
        names = archive.namelist()
        if _MANIFEST not in names:
            raise InputError(f"{path}: not an snnconv program", "make one with: snnconv fold SOURCE -o F.pt2")
        check_total(sum(member.file_size for member in archive.infolist()), len(content.data))
        if archive.testzip() is not None or len(names) != len(set(names)):
            raise ValueError("a checksum does not match, or a member stands there twice")
        source = _read(path, archive, _SOURCE, None) if _SOURCE + _MANIFEST in names else None
        return _read(path, archive, "", source)


def _parts(program: SpikingProgram) -> list[tuple[str, SpikingProgram]]:
    return [("", program), *([(_SOURCE, program.source)] if program.source is not None else [])]


def _members(program: SpikingProgram) -> dict[str, bytes]:
    held = {f"graph.{path}": value for path, value in tensors(program.graph).items()}
    manifest = {
        "format": FORMAT,
        "contract": program.contract.plain(),
        "origin": asdict(program.origin),
        "graph": _pack_graph(program.graph.graph),
        "neurons": {name: pack(neuron, f"neuron.{name}", held) for name, neuron in program.neurons.items()},
        "memories": {name: list(shape) for name, shape in program.memories.items()},
        "sites": [asdict(site) for site in program.sites],
        "proofs": {name: _pack_proof(proof, f"proof.{name}", held) for name, proof in program.proofs.items()},
    }
    return {
        _MANIFEST: json.dumps(manifest, indent=1, allow_nan=False).encode(),
        _TENSORS: safetensors.torch.save({k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in held.items()}),
    }


def outline(program: SpikingProgram) -> list[str]:
    """What a program computes, line by line: operators, wiring and settings, without names of nodes and values of constants."""
    held: dict[str, Tensor] = {}
    settings = {name: pack(neuron, name, held) for name, neuron in program.neurons.items()}
    nodes = [
        f"%{i} = {node['op']} {'' if node['op'] == 'placeholder' else node['target']} {node['args']} {node['kwargs']}"
        for i, node in enumerate(_pack_graph(program.graph.graph))
    ]
    return [
        *nodes,
        *(f"{name} {chosen}" for name, chosen in settings.items()),
        *(f"{k} {list(v.shape)}" for k, v in held.items()),
        *(f"memory {k} {list(shape)}" for k, shape in program.memories.items()),
    ]


def constants(program: SpikingProgram) -> dict[str, Tensor]:
    """The tensors of a program's graph and of its neurons, by their paths."""
    held = dict(tensors(program.graph))
    for name, neuron in program.neurons.items():
        pack(neuron, name, held)
    return held


def _pack_proof(proof: ThresholdProof, prefix: str, held: dict[str, Tensor]) -> dict[str, Any]:
    held[f"{prefix}.threshold"] = proof.threshold
    return {"norm": pack(proof.norm, prefix, held), "strict": proof.strict, "kernel": proof.kernel}


def _pack_graph(graph: fx.Graph) -> list[dict[str, Any]]:
    number = {node: i for i, node in enumerate(graph.nodes)}
    return [
        {
            "op": node.op,
            "name": node.name,
            "target": _target_name(node.target) if node.op == "call_function" else str(node.target),
            "args": [_pack_argument(a, number) for a in node.args],
            "kwargs": {key: _pack_argument(a, number) for key, a in node.kwargs.items()},
            **_pack_value(node.meta.get("val")),
        }
        for node in graph.nodes
    ]


def _pack_value(value: Any) -> dict[str, Any]:
    """The shape of a value without its first dimension, 2 for a batch, and its type if it is not float32."""
    if not isinstance(value, Tensor):
        return {"shape": None}
    shape = [n if isinstance(n, int) else 2 for n in value.shape[1:]]
    return {"shape": shape} if value.dtype is torch.float32 else {"shape": shape, **_pack_argument(value.dtype, {})}


def _pack_argument(value: Any, number: dict[fx.Node, int]) -> Any:
    if isinstance(value, fx.Node):
        return {"node": number[value]}
    if isinstance(value, list | tuple):
        return [_pack_argument(v, number) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    for kind, cls in _KINDS.items():
        if isinstance(value, cls):
            return {kind: str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    raise Refused(f"the graph holds {value!r}, which cannot be stored")


def _target_name(target: Any) -> str:
    if target is operator.getitem:
        return "getitem"
    name = str(target)
    if not isinstance(target, torch._ops.OpOverload) or (target.namespace != "aten" and target not in _OWN):
        raise Refused(f"the network uses {name}, which is not one of torch's own operators", "build it from torch's operators")
    return name


def _read(path: Path, archive: zipfile.ZipFile, prefix: str, source: SpikingProgram | None) -> SpikingProgram:
    manifest = parse_json(archive.read(prefix + _MANIFEST))
    if manifest["format"] not in _READ:
        known = " and ".join(map(str, _READ))
        raise InputError(f"{path}: format {manifest['format']}, but this snnconv reads {known}", "use the snnconv that wrote it")
    held = safetensors.torch.load(archive.read(prefix + _TENSORS))
    settings = manifest["origin"]["settings"]
    if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
        raise ValueError("the settings are no table of words")
    program = SpikingProgram(
        graph=_unpack_graph(path, manifest["graph"], held, manifest["neurons"]),
        neurons={name: unpack_neuron(s, f"neuron.{name}", held) for name, s in manifest["neurons"].items()},
        contract=TimeContract.from_plain(manifest["contract"]),
        origin=Origin(**{**manifest["origin"], "keep_norms": tuple(map(str, manifest["origin"].get("keep_norms", ())))}),
        sites=tuple(Site.from_plain(site) for site in manifest["sites"]),
        proofs={name: _unpack_proof(s, f"proof.{name}", held) for name, s in manifest["proofs"].items()},
        source=source,
        memories={str(name): tuple(map(int, shape)) for name, shape in manifest.get("memories", {}).items()},
    )
    # A graph, its neurons and its contract that do not go together show it at the first step.
    replace(program, contract=replace(program.contract, timesteps=1)).run(
        torch.zeros(replace(program.contract, timesteps=1).batch_shape(1), dtype=program.dtype)
    )
    return program


def _unpack_proof(settings: dict[str, Any], prefix: str, held: dict[str, Tensor]) -> ThresholdProof:
    norm = unpack_norm(settings["norm"], prefix, held)
    return ThresholdProof(norm, held[f"{prefix}.threshold"], settings["strict"], settings["kernel"])


def _unpack_graph(path: Path, listed: list[dict[str, Any]], held: dict[str, Tensor], neurons: Iterable[str]) -> fx.GraphModule:
    """Rebuild a graph. Its names end up in generated code, so they must be names and nothing else."""
    graph, root = fx.Graph(), nn.Module()
    nodes: list[fx.Node] = []
    for entry in listed:
        args = tuple(_unpack_argument(a, nodes) for a in entry["args"])
        kwargs = {str(key): _unpack_argument(a, nodes) for key, a in entry["kwargs"].items()}
        node = _unpack_node(path, graph, entry, args, kwargs)
        if node.name != entry["name"] or not all(map(is_name, (node.name, *kwargs))):
            raise ValueError(f"{entry['name']!r} is no name of its own")
        if node.op == "get_attr":
            put(root, entry["target"], held[f"graph.{entry['target']}"])
        if entry["shape"] is not None:
            dtype = _unpack_argument({"dtype": entry.get("dtype", "float32")}, nodes)
            node.meta["val"] = torch.empty([2, *entry["shape"]], device="meta", dtype=dtype)
        nodes.append(node)
    graph.lint()
    if not nodes or nodes[-1].op != "output":
        raise ValueError("the graph has no output")
    called = [node.args[2:] for node in nodes if node.target is NEURON_OP]
    if called != [(name,) for name in neurons]:
        raise ValueError("the graph does not call each neuron of the table once, in its order")
    return fx.GraphModule(root, graph)


def _unpack_node(path: Path, graph: fx.Graph, entry: dict[str, Any], args: tuple, kwargs: dict[str, Any]) -> fx.Node:
    name, target = entry["name"], entry["target"]
    if not is_name(name) or not isinstance(target, str):
        raise ValueError(f"{name!r} is no name")
    if entry["op"] == "call_function":
        return graph.create_node("call_function", _operator(path, target), args, kwargs, name)
    if entry["op"] == "placeholder":
        return graph.placeholder(name)
    if entry["op"] == "get_attr":
        if not is_path(target):
            raise ValueError(f"{target!r} is no path")
        return graph.create_node("get_attr", target, name=name)
    if entry["op"] == "output":
        return graph.output(args[0])
    raise ValueError(f"{entry['op']!r} is no kind of node")


def _operator(path: Path, name: str) -> Any:
    if name == "getitem":
        return operator.getitem
    own = {str(target): target for target in _OWN}
    if name in own:
        return own[name]
    namespace, _, rest = name.partition(".")
    packet, _, overload = rest.partition(".")
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None) if namespace == "aten" else None
    if not isinstance(found, torch._ops.OpOverload) or found._schema.is_mutable or packet == "from_file":
        raise Refused(
            f"{path}: uses {name}, which is not one of torch's own pure operators", "snnconv never runs code from a file"
        )
    return found


def _unpack_argument(value: Any, nodes: list[fx.Node]) -> Any:
    if isinstance(value, list):
        return [_unpack_argument(v, nodes) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "node":
        return nodes[content]
    if kind == "float":
        return float(content)
    if kind == "device":
        return torch.device(content)
    found = getattr(torch, content)
    if not isinstance(found, _KINDS[kind]):
        raise ValueError(f"{content!r} is no {kind}")
    return found
