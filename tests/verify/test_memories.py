"""Verifying a network that keeps more than potentials: damage to what it keeps is found on data alone, and in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import fx

from snnconv.data import Data
from snnconv.engines import open_candidate
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir.nodes import outputs
from snnconv.ir.program import put, share
from snnconv.results import Verification
from snnconv.results.verdict import judge
from snnconv.verify import Plan, verify
from tests.references import reference_to
from tests.remembering import inputs, made, source_of

Damage = Callable[[fx.Graph], None]
ZEROS = torch.ops.aten.zeros_like.default


def memories(graph: fx.Graph, count: int) -> list[fx.Node]:
    return list(graph.find_nodes(op="placeholder"))[-count:]


def forgotten(graph: fx.Graph) -> None:
    """Every step finds zeros."""
    (memory,) = memories(graph, 1)
    with graph.inserting_after(memory):
        zeros = graph.call_function(ZEROS, (memory,))
        zeros.meta = dict(memory.meta)
    memory.replace_all_uses_with(zeros, lambda user: user is not zeros)


def halved(graph: fx.Graph) -> None:
    """Every step leaves a little less."""
    (output,) = graph.find_nodes(op="output")
    *rest, left = output.args[0]
    with graph.inserting_before(output):
        less = graph.call_function(torch.ops.aten.mul.Tensor, (left, 0.999))
        less.meta = dict(left.meta)
    output.args = ((*rest, less),)


def exchanged(graph: fx.Graph) -> None:
    """Two memories of one shape, each left in the other's place."""
    (output,) = graph.find_nodes(op="output")
    *rest, a, b = output.args[0]
    output.args = ((*rest, b, a),)


def early(graph: fx.Graph) -> None:
    """The step reads what it leaves itself, not what the step before left."""
    (memory,) = memories(graph, 1)
    *_, left = outputs(graph)
    (user,) = memory.users
    assert left is not memory
    user.replace_input_with(memory, left)


DAMAGE: list[tuple[str, Damage]] = [
    ("feedback", forgotten),
    ("gated", forgotten),
    ("filtered", halved),
    ("gated", halved),
    ("adaptive", halved),
    ("long", exchanged),
    ("older", exchanged),
    ("delayed", early),
]


def judged(name: str, damage: Damage | None, folder: Path, form: str, *levels: str) -> Verification:
    source = source_of(made(name))
    folded = fold(source.program)
    if damage is not None:
        graph = share(folded.graph)
        damage(graph.graph)
        graph.graph.lint()
        graph.recompile()
        folded = replace(folded, graph=graph)
    file = folder / "n.onnx"
    export(folded, file, format_of(file), form)
    data = Data(inputs(source), None, "noise")
    return verify(reference_to(source), open_candidate(file).load(), data, ("s", "c"), Plan(levels=levels), fresh=True)


@pytest.mark.sample(2)
@pytest.mark.parametrize("form", ["sequence", "step"])
@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_damage_to_what_is_kept_is_found_on_data_alone(name: str, damage: Damage, form: str, tmp_path: Path) -> None:
    assert not judge(judged(name, damage, tmp_path, form, "deployment", "task")).equivalent


@pytest.mark.sample(2)
@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_damage_to_what_is_kept_is_found_in_float64(name: str, damage: Damage, tmp_path: Path) -> None:
    assert any(not check.passed and not check.open for check in judged(name, damage, tmp_path, "sequence", "algebra").checks)


@pytest.mark.sample(2)
@pytest.mark.parametrize("form", ["sequence", "step"])
@pytest.mark.parametrize("name", sorted({name for name, _ in DAMAGE}))
def test_what_is_sound_is_found_sound_on_data_alone(name: str, form: str, tmp_path: Path) -> None:
    assert judge(judged(name, None, tmp_path, form, "deployment", "task")).equivalent


def test_a_feedback_weight_that_was_damaged_is_found(tmp_path: Path) -> None:
    source = source_of(made("feedback"))
    folded = fold(source.program)
    graph = share(folded.graph)
    put(graph, "back.weight", graph.get_buffer("back.weight") * 1.001)
    export(replace(folded, graph=graph), tmp_path / "n.onnx", format_of(tmp_path / "n.onnx"))
    data, plan = Data(inputs(source), None, "noise"), Plan(levels=("deployment",))
    found = verify(reference_to(source), open_candidate(tmp_path / "n.onnx").load(), data, ("s", "c"), plan, fresh=True)
    assert not judge(found).equivalent
