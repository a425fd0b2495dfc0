"""What the exam works on: small networks, folded and exported in every form, each made once and shared by all workers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import onnx
import torch
from torch import Tensor

from snnconv.data import Data
from snnconv.engines import Observation, open_candidate, open_content
from snnconv.export import export, format_of
from snnconv.files import Content
from snnconv.ir import pt2
from snnconv.ir.program import SpikingProgram
from snnconv.sources import Source
from snnconv.verify import Reference
from snnconv.verify.probes import near_thresholds
from snnconv.verify.reference import FreshExport
from tests.networks import NETWORKS, inputs, source_of, steps
from tests.references import reference_to
from tests.several import several

NETS = {**NETWORKS, "steps": steps}
HEADS = "heads"
"""A network with several outputs: the scores of two heads, which are alike in shape, and spikes."""
TIMESTEPS = 3
SOURCES: dict[str, Callable[[], Source]] = {name: lambda make=make: source_of(make(), TIMESTEPS) for name, make in NETS.items()}
SOURCES[HEADS] = lambda: several(HEADS, "logits,aux,spikes")
"""Every network by its name, under the contract that its cases have by default."""
SAMPLES = 6
EXPORTED = {".onnx": "onnx", ".ts": "torchscript", ".pt2": "pt2"}


@dataclass(frozen=True)
class Case:
    """An undamaged artifact: which network, in which format, form and time contract."""

    network: str
    suffix: str
    form: str = "sequence"
    event: bool = False
    readout: str = "mean"

    @property
    def contract(self) -> tuple[bool, str]:
        return self.event, self.readout

    def __str__(self) -> str:
        return f"{self.network}{self.suffix}, {self.form}, {'frames' if self.event else 'still'}, {self.readout}"


_folder: list[Path] = []


def share(folder: Path) -> None:
    """Keep artifacts in `folder`, which other workers read too."""
    folder.mkdir(exist_ok=True)
    _folder[:] = [folder]


@cache
def network(name: str) -> Reference:
    """A network and its folds, under the contract that a case has by default."""
    return Reference(SOURCES[name]())


@cache
def source(case: Case) -> Source:
    """The network of `case`, by its own code. A step does not depend on the contract, so it is captured once."""
    captured = network(case.network).source
    return replace(captured, program=_under_contract(captured.program, case))


@cache
def folded(case: Case, dtype: torch.dtype = torch.float32) -> SpikingProgram:
    """The fold of the very same source."""
    found = network(case.network)
    program = found.folded64 if dtype is torch.float64 else found.folded
    return replace(_under_contract(program, case), source=source(case).program)


def _under_contract(program: SpikingProgram, case: Case) -> SpikingProgram:
    return replace(program, contract=replace(program.contract.reading_out(case.readout), event=case.event))


@cache
def reference(case: Case, seed: int = 0) -> Reference:
    """What the candidates of `case` are held against, in every format and form; for a fresh export stands the sound artifact."""
    held = without_exports(case, seed)
    format, form = EXPORTED[case.suffix], "step" if case.suffix == ".pt2" else case.form
    held.exports[format, form, None] = FreshExport(open_content(Content(Path(f"sound{case.suffix}"), artifact(case))))
    return held


def without_exports(case: Case, seed: int = 0) -> Reference:
    """The same, but for the exports, which are made anew."""
    held = reference_to(source(case), folded(case), folded(case, torch.float64))
    some = data(case, seed).x[:2]
    held.put_probes(some, 0, between_decisions(case, seed))
    return held


@cache
def between_decisions(case: Case, seed: int) -> Tensor:
    """The verifier's own inputs next to thresholds, which depend on the source and on the first samples alone."""
    return near_thresholds(folded(case), data(case, seed).x[:2], 0)


@cache
def artifact(case: Case) -> bytes:
    """The sound artifact."""
    path = _folder[0] / f"{case.network}-{case.form}-{'frames' if case.event else 'still'}-{case.readout}{case.suffix}"
    if not path.exists():
        draft = path.with_name(f"{os.getpid()}-{path.name}")
        if case.suffix == ".onnx" and case.form == "step" and case.contract != Case(case.network, ".onnx", "step").contract:
            draft.write_bytes(_under_another_contract(case))
        else:
            encode(folded(case), case, draft)
        draft.replace(path)
    return path.read_bytes()


def _under_another_contract(case: Case) -> bytes:
    """One step is the same graph under every contract, and torch's exporter is slow: only the metadata is made anew."""
    model = onnx.load_from_string(artifact(Case(case.network, ".onnx", "step")))
    (held,) = model.metadata_props
    held.value = json.dumps({**json.loads(held.value), "contract": folded(case).contract.plain()}, sort_keys=True)
    return model.SerializeToString(deterministic=True)


def encode(program: SpikingProgram, case: Case, path: Path) -> None:
    """Write `program` in the format and form of `case`."""
    if case.suffix == ".pt2":
        pt2.save(program, path)
    else:
        export(program, path, format_of(path), case.form)


def via_file(name: str, write: Callable[[Path], None]) -> bytes:
    """The bytes that `write` puts into a file."""
    path = _folder[0] / f"{os.getpid()}-{name}"
    write(path)
    content = path.read_bytes()
    path.unlink()
    return content


@cache
def data(case: Case, seed: int = 0) -> Data:
    """A few samples, as the exam gives them to the verifier."""
    x = inputs(source(case), SAMPLES, seed)
    return Data((x < 0.2).float() if case.event and seed % 2 else x, None, f"noise {seed}")


@cache
def observed(case: Case) -> Observation:
    """The sound artifact on the data of the exam."""
    path = _folder[0] / f"{os.getpid()}-sound{case.suffix}"
    path.write_bytes(artifact(case))
    return open_candidate(path).load().observe(data(case).x)


@cache
def silent(case: Case, neuron: str) -> Tensor:
    """Which thresholds of a neuron are finite, and yet let nothing fire on the data of the exam: bool, shaped as they are."""
    threshold = folded(case).neurons[neuron].threshold
    quiet = ~torch.cat([spikes > 0 for spikes in observed(case).spikes[neuron]]).any(0)
    for dim, size in enumerate(threshold.shape):
        if size == 1:
            quiet = quiet.all(dim, keepdim=True)
    return quiet & threshold.isfinite()
