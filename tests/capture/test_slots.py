"""A network that reads the state of a neuron gets no stale value: it is refused with the neuron, the attribute and the line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snnconv.capture import Interface, capture
from snnconv.errors import Refused
from snnconv.ir.program import Origin, TimeContract
from snnconv.nn import LIF
from tests.capture.wired import captured


class Probed(LIF):
    """A neuron whose state is read through a property and a method of the user's own."""

    @property
    def potential(self) -> Tensor | None:
        return self.state

    def silent(self) -> bool:
        return self.state is None or not bool(self.state.any())


def kept(m: Any, y: Tensor) -> Tensor:
    m.kept = m.a.state
    return y


READS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "an attribute": lambda m, y: y + m.a.state,
    "getattr": lambda m, y: y * (getattr(m.a, "state", None) is None or m.a.state < 10),
    "a property": lambda m, y: y + m.a.potential,
    "a method": lambda m, y: y * (2 if m.a.silent() else 1),
    "a search of the modules": lambda m, y: y + sum(n.state for n in m.modules() if isinstance(n, LIF) and n is m.a),
    "what is stored": kept,
}


@pytest.mark.parametrize("name", READS)
def test_a_state_that_is_read_is_refused_with_its_line(name: str) -> None:
    with pytest.raises(Refused, match=r"state of neuron a: it reads its state in test_slots.py line \d+ \(.+\)"):
        captured(lambda m, x: m.head(READS[name](m, m.a(m.conv(x))).flatten(1)), a=Probed())


def test_a_hook_that_reads_a_state_is_refused() -> None:
    node = LIF()
    node.register_forward_hook(lambda m, inputs, spikes: spikes * (m.state < 10))
    with pytest.raises(Refused, match=r"state of neuron a: it reads its state in test_slots.py"):
        captured(lambda m, x: m.head(m.a(m.conv(x)).flatten(1)), a=node)


def test_whatever_else_a_network_asks_of_its_neuron_is_answered() -> None:
    def asking(m: Any, x: Tensor) -> Tensor:
        assert isinstance(m.a, LIF) and not m.a.soft
        return m.head((m.a(m.conv(x)) * m.a.threshold).flatten(1))

    captured(asking)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_a_neuron_is_called_with_one_step_wherever_its_time_axis_is(axis: int | None) -> None:
    interface, steps = Interface(axis), [torch.rand(2, 3, 4) for _ in range(1 if axis is None else 5)]
    assert all(torch.equal(a, b) for a, b in zip(interface.steps(interface.joined(steps)), steps, strict=True))

    def wiring(m: Any, x: Tensor) -> tuple[Tensor]:
        current = m.fc(x)
        spikes = m.a(current if axis is None else current.unsqueeze(axis))
        return (m.head(spikes if axis is None else spikes.squeeze(axis)),)

    net = nn.Module()
    net.fc, net.a, net.head = nn.Linear(6, 8), LIF(), nn.Linear(8, 3)
    contract = TimeContract(3, (6,))
    program = capture(net, {"a": net.a.neuron()}, contract, Origin("", ""), wiring, {"a": interface})
    assert program.neurons["a"].shape == (8,)
    x = torch.randn(4, 6)
    (expected,) = contract.run(lambda frame, t: (net.head(net.a(net.fc(frame))),), x)
    assert torch.allclose(program.run(x), expected, atol=1e-6)
