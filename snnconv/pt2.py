"""Saving a `SpikingProgram` as `.pt2`: a plain zip that holds all it takes to verify and export it without the user's code.

    snnconv.json          contract, origin, settings of every neuron, sites, proofs
    neurons.safetensors   the tensors of neurons and proofs
    step.pt2              the step graph, as torch.export writes it
    source/...            the same three of the program before folding

torch.export can unpickle what it loads, so an archive with a pickled or compiled member is refused before torch sees it.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from snnconv.capture import flatten
from snnconv.errors import InputError, Refused
from snnconv.files import readable
from snnconv.neuron import pack, unpack_neuron, unpack_norm
from snnconv.program import Origin, SpikingProgram, ThresholdProof, TimeContract
from snnconv.results import Site

FORMAT = 1
_MANIFEST, _TENSORS, _STEP, _SOURCE = "snnconv.json", "neurons.safetensors", "step.pt2", "source/"


def save(program: SpikingProgram, path: Path) -> None:
    """Write `program`, with its source if it is folded. The same program gives the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for prefix, part in _parts(program):
            for name, content in _members(part).items():
                archive.writestr(zipfile.ZipInfo(prefix + name, (1980, 1, 1, 0, 0, 0)), content)


def load(path: Path) -> SpikingProgram:
    """Read a program back. Raises `InputError` for a file that is none and `Refused` for one that wants code run."""
    try:
        with zipfile.ZipFile(readable(path)) as archive:
            names = set(archive.namelist())
            if _MANIFEST not in names:
                raise InputError(f"{path}: not an snnconv program", "make one with: snnconv fold SOURCE -o F.pt2")
            if archive.testzip() is not None:
                raise InputError(f"{path}: is damaged (a checksum does not match)", "make it again with snnconv fold")
            source = _read(path, archive, _SOURCE, None) if _SOURCE + _MANIFEST in names else None
            return _read(path, archive, "", source)
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: not an snnconv program, or truncated ({error})", "make it again with snnconv fold") from error


def _parts(program: SpikingProgram) -> list[tuple[str, SpikingProgram]]:
    return [("", program), *([(_SOURCE, program.source)] if program.source is not None else [])]


def _members(program: SpikingProgram) -> dict[str, bytes]:
    tensors: dict[str, Tensor] = {}
    manifest = {
        "format": FORMAT,
        "contract": asdict(program.contract),
        "origin": asdict(program.origin),
        "neurons": {name: pack(neuron, f"neuron.{name}", tensors) for name, neuron in program.neurons.items()},
        "sites": [asdict(site) for site in program.sites],
        "proofs": {name: _pack_proof(proof, f"proof.{name}", tensors) for name, proof in program.proofs.items()},
    }
    return {
        _MANIFEST: json.dumps(manifest, indent=1).encode(),
        _TENSORS: safetensors.torch.save({k: v.detach().contiguous().clone() for k, v in sorted(tensors.items())}),
        _STEP: _export(program),
    }


def _pack_proof(proof: ThresholdProof, prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    tensors[f"{prefix}.threshold"] = proof.threshold
    return {"norm": pack(proof.norm, prefix, tensors), "strict": proof.strict, "kernel": proof.kernel}


def _export(program: SpikingProgram) -> bytes:
    batch = torch.export.Dim("batch")
    shapes = [program.contract.input_shape, *(neuron.shape for neuron in program.neurons.values())]
    inputs = tuple(torch.zeros(2, *shape, dtype=program.dtype) for shape in shapes)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = torch.export.export(program.graph, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
    exported.example_inputs = None
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    return buffer.getvalue()


def _read(path: Path, archive: zipfile.ZipFile, prefix: str, source: SpikingProgram | None) -> SpikingProgram:
    manifest = json.loads(archive.read(prefix + _MANIFEST))
    if manifest["format"] != FORMAT:
        raise InputError(f"{path}: format {manifest['format']}, but this snnconv reads {FORMAT}", "use the snnconv that wrote it")
    tensors = safetensors.torch.load(archive.read(prefix + _TENSORS))
    step = archive.read(prefix + _STEP)
    _check_members(path, step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.load(io.BytesIO(step))
    contract, origin = manifest["contract"], manifest["origin"]
    contract["input_shape"] = tuple(contract["input_shape"])
    return SpikingProgram(
        graph=flatten(exported),
        neurons={name: unpack_neuron(s, f"neuron.{name}", tensors) for name, s in manifest["neurons"].items()},
        contract=TimeContract(**contract),
        origin=Origin(**origin),
        sites=tuple(Site(**site) for site in manifest["sites"]),
        proofs={name: _unpack_proof(s, f"proof.{name}", tensors) for name, s in manifest["proofs"].items()},
        source=source,
    )


def _unpack_proof(settings: dict[str, Any], prefix: str, tensors: dict[str, Tensor]) -> ThresholdProof:
    norm = unpack_norm(settings["norm"], prefix, tensors)
    return ThresholdProof(norm, tensors[f"{prefix}.threshold"], settings["strict"], settings["kernel"])


_PLAIN = (
    "data/weights/",
    "models/model.json",
    "data/constants/model_constants_config.json",
    "data/sample_inputs/model.pt",  # torch reads this one with weights_only=True
    "archive_format",
    "archive_version",
    "byteorder",
    "version",
    ".data/",
)


def _check_members(path: Path, step: bytes) -> None:
    """Raise `Refused` unless every member is plain data."""
    with zipfile.ZipFile(io.BytesIO(step)) as archive:
        for name in archive.namelist():
            if not name.partition("/")[2].startswith(_PLAIN):
                raise Refused(f"{path}: holds {name}, which loading could execute", "snnconv never runs code from a file")
            if name.endswith("_config.json") and _pickled(json.loads(archive.read(name))):
                raise Refused(f"{path}: {name} asks to unpickle", "snnconv never runs code from a file")


def _pickled(config: Any) -> bool:
    return any(entry.get("use_pickle", True) for entry in config["config"].values())
