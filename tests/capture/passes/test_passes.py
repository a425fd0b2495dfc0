"""A pass that breaks is a bug of snnconv: it is named, with the passes that ran before it."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import fx

from snnconv.capture import step
from snnconv.capture.passes import PASSES
from snnconv.errors import Refused
from snnconv.ir.passes import PassFailed
from tests.capture.wired import captured
from tests.cli.run import ARCH, place, run


def break_graph(graph: fx.Graph) -> fx.Graph:
    raise LookupError("no such node")


def refuse_graph(graph: fx.Graph) -> fx.Graph:
    raise Refused("the network is refused")


def spiking(m, x):
    return m.head(m.a(m.conv(x)).flatten(1))


def test_a_pass_that_breaks_is_named_with_the_passes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "PASSES", (*PASSES[:2], break_graph, *PASSES[2:]))
    with pytest.raises(PassFailed, match=r"pass break_graph failed .*LookupError: no such node") as caught:
        captured(spiking)
    assert caught.value.name == "break_graph" and caught.value.before == ("drop_metadata_assertions", "bring_into_inference_form")


def test_a_refusal_of_a_pass_stays_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "PASSES", (refuse_graph,))
    with pytest.raises(Refused, match=r"^the network is refused$"):
        captured(spiking)


def test_the_command_line_names_the_pass_and_ends_in_an_internal_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(step, "PASSES", (PASSES[0], break_graph))
    result = run("inspect", place(tmp_path, "net.pth"), *ARCH)
    assert result.code == 70
    assert "pass break_graph failed (after drop_metadata_assertions): LookupError: no such node" in result.error
