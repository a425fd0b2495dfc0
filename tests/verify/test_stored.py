"""What a `.pt2` holds beside its network is held against a fresh fold: every kind of alteration is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from snnconv.data import synthetic
from snnconv.engines import Deployment, open_content
from snnconv.files import Content
from snnconv.fold import fold
from snnconv.ir import pt2
from snnconv.ir.program import SpikingProgram, put, share, tensors
from snnconv.results.verdict import judge
from snnconv.sources import Source
from snnconv.verify import Plan, Reference, verify
from snnconv.verify.stored import check_stored, stored_notes
from tests.networks import NETWORKS, source_of

Alter = Callable[[SpikingProgram], SpikingProgram]


@cache
def source() -> Source:
    return source_of(NETWORKS["per_channel"]())


@cache
def folded() -> SpikingProgram:
    return fold(source().program)


def stored(program: SpikingProgram) -> Deployment:
    return open_content(Content(Path("net.pt2"), pt2.encode(program)))


def problems(program: SpikingProgram) -> dict[str, str]:
    return {check.layer: check.detail for check in check_stored(folded(), stored(program)) if not check.passed}


def proof(**changes: object) -> Alter:
    def alter(p: SpikingProgram) -> SpikingProgram:
        return replace(p, proofs={**p.proofs, "act1": replace(p.proofs["act1"], **changes)})

    return alter


def norm(name: str) -> Alter:
    def alter(p: SpikingProgram) -> SpikingProgram:
        held = p.proofs["act1"].norm
        value = getattr(held, name)
        other = (
            not value
            if isinstance(value, bool)
            else torch.nextafter(value, torch.tensor(9.0))
            if torch.is_tensor(value)
            else value * 2
        )
        return proof(norm=replace(held, **{name: other}))(p)

    return alter


def site(**changes: object) -> Alter:
    return lambda p: replace(p, sites=(replace(p.sites[0], **changes), *p.sites[1:]))


def embedded(alter: Alter) -> Alter:
    def altered(p: SpikingProgram) -> SpikingProgram:
        assert p.source is not None
        return replace(p, source=alter(p.source))

    return altered


def nudged(path: str) -> Alter:
    def alter(p: SpikingProgram) -> SpikingProgram:
        graph = share(p.graph)
        value = tensors(graph)[path].clone()
        value.view(-1)[0] += 1
        put(graph, path, value)
        return replace(p, graph=graph)

    return alter


def neuron(**changes: object) -> Alter:
    return lambda p: replace(p, neurons={**p.neurons, "act2": replace(p.neurons["act2"], **changes)})


ALTERATIONS: dict[str, tuple[Alter, str, str]] = {
    "outcome": (site(outcome="refused"), "sites", "outcome"),
    "detail": (site(detail="12 thresholds"), "sites", "detail"),
    "a site less": (lambda p: replace(p, sites=p.sites[:-1]), "sites", "missing"),
    "threshold": (proof(threshold=torch.zeros(6, 1, 1)), "stored proofs", "act1 is of another threshold"),
    "strictness": (proof(strict=False), "stored proofs", "act1 is of another strict"),
    "mean": (norm("mean"), "stored proofs", "mean"),
    "variance": (norm("var"), "stored proofs", "var"),
    "gamma": (norm("gamma"), "stored proofs", "gamma"),
    "beta": (norm("beta"), "stored proofs", "beta"),
    "eps": (norm("eps"), "stored proofs", "eps"),
    "a proof less": (lambda p: replace(p, proofs={k: v for k, v in p.proofs.items() if k != "act2"}), "stored proofs", "act2"),
    "no source": (lambda p: replace(p, source=replace(folded(), source=None)), "embedded source", "its graph"),
    "source weight": (embedded(nudged("conv2.weight")), "embedded source", "conv2.weight"),
    "source statistics": (embedded(nudged("bn1.running_var")), "embedded source", "bn1.running_var"),
    "source leak": (embedded(neuron(leak=torch.tensor(0.75))), "embedded source", "act2.leak"),
    "source strictness": (embedded(neuron(strict=False)), "embedded source", "act2"),
    "source contract": (
        embedded(lambda p: replace(p, contract=replace(p.contract, readout="last"))),
        "embedded source",
        "another readout",
    ),
    "source file": (
        embedded(lambda p: replace(p, origin=replace(p.origin, sha256="f" * 64))),
        "embedded source",
        "another sha256",
    ),
    "settings": (
        embedded(lambda p: replace(p, origin=replace(p.origin, settings={"leak": "0.5 (option)"}))),
        "embedded source",
        "another settings",
    ),
}


def test_a_sound_program_is_as_in_a_fresh_fold() -> None:
    assert problems(folded()) == {}
    assert stored_notes(folded(), stored(folded())) == ()


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_alteration_is_named(alteration: str) -> None:
    alter, part, said = ALTERATIONS[alteration]
    found = problems(alter(folded()))
    assert list(found) == [part]
    assert said in found[part]


def test_both_origins_altered_alike_are_found_too() -> None:
    def claim(p: SpikingProgram) -> SpikingProgram:
        return replace(p, origin=replace(p.origin, reference="the authors' own code"))

    assert "reference" in problems(embedded(claim)(claim(folded())))["embedded source"]


def test_where_a_setting_was_found_is_no_difference() -> None:
    def found_in(place: str) -> Alter:
        return lambda p: replace(p, origin=replace(p.origin, settings={"timesteps": f"4 ({place})"}))

    program = found_in("option")(folded())
    assert program.source is not None
    fresh = replace(program, source=found_in("snnconv.toml")(program.source))
    held = stored(embedded(found_in("option"))(program))
    assert [check.detail for check in check_stored(fresh, held) if not check.passed] == []


def test_a_proof_from_another_kind_of_cpu_is_a_note() -> None:
    other = stored(proof(kernel="torch 2.13.0 on an abacus")(folded()))
    assert all(check.passed for check in check_stored(folded(), other))
    assert "proven on torch 2.13.0 on an abacus, here on" in stored_notes(folded(), other)[0]


def test_verify_asks_for_it() -> None:
    data, names = synthetic(source().program.contract, samples=2), ("source", "net.pt2")
    altered = stored(proof(strict=False)(folded()))
    verdict = judge(verify(Reference(source()), altered, data, names, Plan(("proof",))))
    assert not verdict.equivalent
    assert [check.layer for check in verdict.faults] == ["stored proofs"]
