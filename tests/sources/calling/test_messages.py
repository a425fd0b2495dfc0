"""What is wrong with a forward is said by the fact, and what to change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

from snnconv.errors import Refused
from tests.adapters.conversions import loaded


class Net(nn.Module):
    """Two neurons; its class sets `steps` to its forward."""

    input_shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.lif1 = nn.Linear(6, 8), neuron.LIFNode(v_threshold=0.3)
        self.fc2, self.lif2 = nn.Linear(8, 4), neuron.LIFNode(v_threshold=0.2)
        with torch.no_grad():
            self.fc1.weight.mul_(3)
            self.fc2.weight.mul_(3)

    def one(self, x: Tensor) -> Tensor:
        return self.lif2(self.fc2(self.lif1(self.fc1(x))))

    def over(self, frames: Any) -> Tensor:
        functional.reset_net(self)
        return torch.stack([self.one(x) for x in frames])


class Handed(nn.Module):
    """A neuron of snntorch that is handed its membrane."""

    input_shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(6, 8), snntorch.Leaky(beta=0.5)


def unreturned(m: Any, x: Tensor, mem: Any) -> Tensor:
    spikes, _ = m.lif(m.fc(x), mem)
    return 2 * spikes


def renamed(m: Any, x: Tensor, mem: Any) -> Any:
    spikes, following = m.lif(m.fc(x), mem)
    following = following + 0
    return spikes, following


def masked(m: Any, x: Tensor, mask: Any) -> Tensor:
    return m.one(x * mask)


def silent(m: Any, x: Tensor) -> None:
    m.one(x)


def uneven(m: Any, x: Tensor) -> Tensor:
    functional.reset_net(m)
    for _ in range(6):
        m.lif1(m.fc1(x))
    return torch.stack([m.one(x) for _ in range(6)])


WRONG: dict[str, tuple[type[nn.Module], Callable[..., Any], str, str]] = {
    "a decision": (
        Net,
        lambda m, x: m.one(x).argmax(1),
        "the network returns output [3] of torch.int64",
        "its forward must return a float tensor, or several: no decision",
    ),
    "an array": (Net, lambda m, x: m.one(x).numpy(), "the network returns a ndarray", "its forward must return a float tensor"),
    "nothing": (
        Net,
        lambda m, x: m.one(x) and None if len(x) == 1 else [m.one(x)][1:] or None,
        "the network returns nothing",
        "",
    ),
    "another input": (
        Net,
        masked,
        "the network's forward must be given mask besides its input, and does not run while that is nothing yet: TypeError",
        "let a state begin as None or as an empty tensor, and give any other argument a default",
    ),
    "a state that is not returned": (
        Handed,
        unreturned,
        "the network's forward is handed mem at every step, and the next was not found in what it returns",
        "let it return each state under its own name, and one output: `return spikes, mem1, mem2`",
    ),
    "a state by another name": (
        Handed,
        renamed,
        "handed mem at every step, and the next was not found in what it returns (spikes, following)",
        "let it return each state under its own name",
    ),
    "an unknown number": (
        Net,
        lambda m, x: m.over([x] * (m.fc1.out_features - 1)).mean(0),
        "the network runs for 7 time steps, and where that number stands in it was not found",
        "hold it in an attribute that its forward reads, such as self.timesteps; if it is one step in which",
    ),
    "uneven loops": (
        Net,
        uneven,
        "the network mixes time steps: neuron lif1 runs for 12 steps, and lif2 for 6",
        "every neuron must be called once in every time step",
    ),
    "samples last": (
        Net,
        lambda m, x: m.one(x).t(),
        "the network returns torch.float32 of shape [4, 3] for a batch of 3",
        "its forward must return one float tensor [B, ...] a time step",
    ),
    "a difference of steps": (
        Net,
        lambda m, x: m.over([x] * 6)[1:].mean(0),
        "the network reads out over time by itself, and neither by mean, sum, last nor by max",
        "let it return every step; --readout takes mean, sum, last",
    ),
    "another device": (
        Net,
        lambda m, x: m.one(x.to("meta")),
        "one step of the network does not run on an input of shape [6]",
        "",
    ),
    "the end of the process": (
        Net,
        lambda m, x: exit(3),
        "does not run on an input of shape [6]: SystemExit: 3, in test_mess",
        "",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_forward_is_refused_with_the_fact_and_what_to_change(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base, forward, what, todo = WRONG[name]
    kind = type("Wrong", (base,), {"forward": forward})
    monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: kind)
    with pytest.raises(Refused) as caught:
        loaded(kind(), "net:make", tmp_path)
    assert what in caught.value.what
    assert todo in caught.value.todo


def test_a_number_that_stands_in_two_modules_is_said_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tests.first_look.settings_of_a_network import looped

    kind = type("Wrong", (Net,), {"forward": lambda m, x: m.over(looped(x)).mean(0), "timesteps": 4})
    monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: kind)
    with pytest.raises(Refused, match=r"runs for 6 time steps \(range\(\) in its forward\), and timesteps is 4 \(factory\)"):
        loaded(kind(), "net:make", tmp_path)
