"""A TorchScript file is a program: none of it is loaded or run before it is known to be snnconv's own."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor, nn

from snnconv.artifact.script_archive import METADATA_FILE
from snnconv.data import synthetic
from snnconv.engines import open_content
from snnconv.errors import InputError, Refused
from snnconv.export import encode, format_of
from snnconv.files import Content
from snnconv.fold import fold
from snnconv.ir.program import SpikingProgram
from snnconv.results import Verification
from snnconv.results.verdict import judge
from snnconv.sources import Source
from snnconv.verify import Plan, Reference, verify
from tests.networks import NETWORKS, source_of
from tests.verify.damage import KINDS, Kind
from tests.verify.damage.torchscript import Script
from tests.verify.damage.workbench import Case

CODE = [kind for kind in KINDS.values() if kind.family == "TorchScript code" and not kind.name.startswith("metadata")]


@cache
def source(event: bool = False, readout: str = "mean") -> Source:
    return source_of(NETWORKS["per_channel"](), 3, event=event, readout=readout)


@cache
def reference() -> Reference:
    return Reference(source())


@cache
def folded() -> SpikingProgram:
    return fold(source().program)


@cache
def sound(form: str = "sequence") -> bytes:
    return encode(folded(), format_of(Path("net.ts")), form)


def verified(data: bytes, **options: object) -> Verification:
    artifact = open_content(Content(Path("net.ts"), data))
    plan = Plan(("proof",), **options)
    return verify(
        reference(),
        artifact,
        synthetic(source().program.contract, samples=2),
        ("source", "net.ts"),
        plan,
    )


def resaved(data: bytes, change: Callable[[nn.Module], None] = lambda module: None) -> bytes:
    """The same, loaded and saved by torch."""
    extra = {METADATA_FILE: ""}
    module = torch.jit.load(io.BytesIO(data), _extra_files=extra)
    change(module)
    buffer = io.BytesIO()
    torch.jit.save(module, buffer, _extra_files=extra)
    return buffer.getvalue()


def edited(edit: Callable[[Script], None], form: str = "sequence") -> bytes:
    script = Script(Case("per_channel", ".ts", form), sound(form))
    edit(script)
    return script.encoded()


class Trap(nn.Module):
    """Writes a file while it is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path, self.body = path, nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path, self.training = state
        torch.from_file(self.path, True, 4, dtype=torch.float32).fill_(1.0)


@pytest.mark.parametrize("form", ["sequence", "step"])
def test_what_snnconv_exported_is_run(form: str) -> None:
    for data in (sound(form), resaved(sound(form))):
        assert judge(verified(data)).faults == ()


def test_another_constant_is_no_other_code() -> None:
    def change(module: nn.Module) -> None:
        module.state_dict()["body.conv2.weight"][4] *= 1.01

    assert [check.layer for check in judge(verified(resaved(sound(), change))).faults] == ["conv2"]


def test_a_file_that_acts_while_it_is_loaded_is_not_loaded(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    buffer = io.BytesIO()
    metadata = Script(Case("per_channel", ".ts"), sound()).records[f"extra/{METADATA_FILE}"].decode()
    torch.jit.save(torch.jit.script(Trap(os.fspath(victim))), buffer, _extra_files={METADATA_FILE: metadata})
    with pytest.raises(Refused, match=r"net\.ts: its code is not what snnconv .* --run-foreign-code"):
        verified(buffer.getvalue())
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", CODE, ids=lambda kind: kind.name)
def test_damaged_code_is_not_ours(kind: Kind) -> None:
    data = exported(kind.cases[0])
    damaged = kind.damage(kind.cases[0], data, Random(0))
    found, ours = (open_content(Content(Path("net.ts"), archive)) for archive in (damaged, data))
    assert found.artifact.foreign(ours.artifact)  # type: ignore[attr-defined]


@cache
def exported(case: Case) -> bytes:
    program = source_of(NETWORKS[case.network](), 3, event=case.event, readout=case.readout).program
    return encode(fold(program), format_of(Path("net.ts")), case.form)


EDITS: dict[str, Callable[[Script], None]] = {
    "another record of code": lambda s: s.records.update(
        {"code/__torch__/more.py": b"def f(x: Tensor) -> Tensor:\n  return x\n"}
    ),
    "a helper that nobody looks at": lambda s: s.edit("dynamics.py", r"return ", "print(1)\n  return "),
    "an attribute": lambda s: s.records.update({"data.pkl": s.records["data.pkl"].replace(b"timesteps", b"timestepz", 1)}),
    "a longer loop": lambda s: s.records.update({"data.pkl": changed_timesteps(s.records["data.pkl"])}),
    "a class of torch's own": lambda s: s.records.update(
        {"data.pkl": s.records["data.pkl"].replace(b"c__torch__.torch.fx", b"c__torch__.torch.classes.fx", 1)}
    ),
}


def changed_timesteps(pickle: bytes) -> bytes:
    """T, written as one byte behind its name, becomes 200."""
    at = pickle.index(b"timesteps") + len(b"timesteps")
    at = pickle.index(b"K\x03", at)
    return pickle[: at + 1] + b"\xc8" + pickle[at + 2 :]


@pytest.mark.parametrize("name", EDITS)
def test_every_record_is_compared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = edited(EDITS[name])
    assert data != sound()
    ours = open_content(Content(Path("net.ts"), sound()))
    monkeypatch.setattr("torch.jit.load", None)
    artifact = open_content(Content(Path("net.ts"), data))
    assert artifact.artifact.foreign(ours.artifact)  # type: ignore[attr-defined]


def test_taking_the_risk_is_said_in_the_result_and_is_no_excuse() -> None:
    found = verified(edited(EDITS["a helper that nobody looks at"]), run_foreign_code=True)
    assert any("--run-foreign-code" in note for note in found.notes)
    verdict = judge(found)
    assert not verdict.equivalent and [check.layer for check in verdict.unproven] == ["graph"]


def test_another_contract_is_a_verdict_without_loading() -> None:
    def contract(s: Script) -> None:
        s.metadata(lambda told: told["contract"].update(timesteps=9))

    assert [check.level for check in judge(verified(edited(contract))).faults] == ["contract"]


# Tensors that are not there.


def truncated(s: Script) -> None:
    name = max((name for name in s.records if name.startswith("data/")), key=lambda name: len(s.records[name]))
    s.records[name] = s.records[name][:8]


def stretched(s: Script) -> None:
    """A size of the first tensor."""
    at = s.records["data.pkl"].index(b"K\x06K\x02K\x03K\x03")
    s.records["data.pkl"] = s.records["data.pkl"][:at] + b"K\xff" + s.records["data.pkl"][at + 2 :]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (truncated, "should hold .* bytes, but holds 8"),
        (stretched, "needs .* values, but its storage holds 108"),
        (lambda s: s.records.pop("data/0"), "data/0"),
        (lambda s: s.records.update({"data.pkl": s.records["data.pkl"][:-40]}), "not a TorchScript file, or truncated"),
        (lambda s: s.records.update({"data.pkl": b"cos\nsystem\n(S'true'\ntR."}), "torch does not write"),
        (lambda s: s.metadata(lambda told: told.update(format=2)), "format 2, but this snnconv reads 1"),
        (lambda s: s.metadata(lambda told: told.update(batch=4)), "batch 4"),
    ],
)
def test_damage_is_found_before_torch_sees_it(edit: Callable[[Script], None], said: str) -> None:
    with pytest.raises(InputError, match=said):
        verified(edited(edit), run_foreign_code=True)


def zipped(change: Callable[[dict[str, bytes], zipfile.ZipFile], None]) -> bytes:
    """The sound archive with members added."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(sound())) as old, zipfile.ZipFile(buffer, "w") as new, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that come twice
        members = {name: old.read(name) for name in old.namelist()}
        for name, content in members.items():
            new.writestr(name, content)
        change(members, new)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda members, new: new.writestr(next(n for n in members if n.endswith("ops.py")), b"def f():\n  pass\n"), "twice"),
        (lambda members, new: new.writestr("elsewhere/code/__torch__/f.py", b"pass"), "not a TorchScript file"),
        (
            lambda members, new: new.writestr(f"{next(iter(members)).split('/')[0]}/more", bytes(2**27), zipfile.ZIP_DEFLATED),
            "its contents claim",
        ),
    ],
)
def test_an_archive_that_misleads_its_readers_is_damaged(
    change: Callable[[dict[str, bytes], zipfile.ZipFile], None], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        verified(zipped(change), run_foreign_code=True)
