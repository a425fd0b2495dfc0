"""A forward that takes one time step a call, and all steps in one call as well, must come to the same in both."""

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
from snnconv.nn import LIF, reset
from snnconv.sources import Source
from tests.adapters.conversions import loaded

STEPS = 4


class Net(nn.Module):
    """Two neurons of spikingjelly; `steps` is its forward."""

    timesteps, input_shape = STEPS, (6,)
    steps: Callable[[Any, Tensor], Tensor]

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.fc2 = nn.Linear(6, 8), nn.Linear(8, 4)
        self.lif1, self.lif2 = self.neuron(0.3), self.neuron(0.2)
        with torch.no_grad():
            self.fc1.weight.mul_(3)
            self.fc2.weight.mul_(3)

    def neuron(self, threshold: float) -> nn.Module:
        return neuron.LIFNode(v_threshold=threshold)

    def forget(self) -> None:
        functional.reset_net(self)

    def one(self, x: Tensor) -> Tensor:
        return self.lif2(self.fc2(self.lif1(self.fc1(x))))

    def all(self, frames: Any) -> Tensor:
        self.forget()
        return torch.stack([self.one(x) for x in frames])

    def forward(self, x: Tensor) -> Tensor:
        return type(self).steps(self, x)


class Hidden(Net):
    """Of snntorch, with hidden membranes."""

    def neuron(self, threshold: float) -> nn.Module:
        return snntorch.Leaky(beta=0.7, threshold=threshold, init_hidden=True)

    def forget(self) -> None:
        self.lif1.reset_mem()
        self.lif2.reset_mem()


class Own(Net):
    """Of snnconv."""

    def neuron(self, threshold: float) -> nn.Module:
        return LIF(leak=0.5, threshold=threshold)

    def forget(self) -> None:
        reset(self)


FRAMEWORKS: tuple[type[Net], ...] = (Net, Hidden, Own)


def source_of(base: type[Net], steps: Callable[[Any, Tensor], Tensor], monkeypatch: Any, folder: Path, **options: Any) -> Source:
    kind = type("Both", (base,), {"steps": steps})
    monkeypatch.setattr("snnconv.sources.factory.imported", lambda arch, called: kind)
    return loaded(kind(), "net:make", folder, **options)


def ensure_same(source: Source, frames: Callable[[Any], Tensor]) -> None:
    """Both ways give what `frames(net)` computes over all steps."""
    x = 2 * torch.rand(12, *((STEPS, 6) if source.program.contract.event else (6,)), generator=torch.Generator().manual_seed(1))
    x_of_steps = x.unbind(1) if source.program.contract.event else [x] * STEPS
    with torch.no_grad():
        expected = frames(source.module.all(x_of_steps))
    assert expected.std() > 0.05, "a network that is silent shows nothing"
    torch.testing.assert_close(source.program.run(x), expected)
    torch.testing.assert_close(source.run(x), expected)


ALIKE: dict[str, tuple[Callable[[Any, Tensor], Tensor], str, Callable[[Tensor], Tensor]]] = {
    "every step": (lambda m, x: m.all(x) if x.dim() == 3 else m.one(x), "mean (default)", lambda y: y.mean(0)),
    "mean": (lambda m, x: m.all(x).mean(0) if x.dim() == 3 else m.one(x), "mean (default)", lambda y: y.mean(0)),
    "sum, batch first": (
        lambda m, x: m.all(x.unbind(1)).sum(0) if x.dim() == 3 else m.one(x),
        "sum (network)",
        lambda y: y.sum(0),
    ),
    "last, time last": (lambda m, x: m.all(x.unbind(-1))[-1] if x.dim() == 3 else m.one(x), "last (network)", lambda y: y[-1]),
}


@pytest.mark.parametrize("shown", ["static", "event"])
@pytest.mark.parametrize(("base", "name"), [(base, name) for base in FRAMEWORKS for name in ALIKE][::2])
def test_two_ways_that_are_alike_convert_with_the_readout_of_the_run(
    base: type[Net], name: str, shown: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps, readout, read = ALIKE[name]
    source = source_of(base, steps, monkeypatch, tmp_path, input=shown)
    assert source.settings["readout"] == readout
    assert not source.notes
    ensure_same(source, read)


def test_a_readout_that_is_asked_for_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = source_of(Net, ALIKE["sum, batch first"][0], monkeypatch, tmp_path, readout="last")
    assert source.settings["readout"] == "last (option)"
    ensure_same(source, lambda y: y[-1])


def test_the_number_of_steps_of_the_run_is_that_of_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def written(m: Any, x: Tensor) -> Tensor:
        return m.all(x[t] for t in range(7)) if x.dim() == 3 else m.one(x)

    monkeypatch.setattr(Net, "timesteps", None)
    assert source_of(Net, written, monkeypatch, tmp_path).settings["timesteps"] == "7 (network)"


DIFFERENT: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "another current": (lambda m, x: m.all(2 * x) if x.dim() == 3 else m.one(x), "what neuron lif1 is given at step 1"),
    "another output": (lambda m, x: m.all(x) + 1 if x.dim() == 3 else m.one(x), "the output of the network"),
    "another readout": (lambda m, x: m.all(x).median(0)[0] if x.dim() == 3 else m.one(x), "reads out over time by itself"),
    "other states": (
        lambda m, x: torch.stack([m.all([frame])[0] for frame in x]) if x.dim() == 3 else m.one(x),
        "spikes otherwise",
    ),
}


@pytest.mark.parametrize("base", FRAMEWORKS)
@pytest.mark.parametrize("name", DIFFERENT)
def test_two_ways_that_differ_are_refused_with_the_first_difference(
    base: type[Net], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps, words = DIFFERENT[name]
    with pytest.raises(
        Refused, match=r"takes one time step a call, and all steps in one call \(time first\), and the two"
    ) as seen:
        source_of(base, steps, monkeypatch, tmp_path)
    assert words in str(seen.value)


def several(m: Any, x: Tensor) -> Any:
    if x.dim() == 2:
        return m.one(x)
    spikes = m.all(2 * x)
    return spikes.mean(0), 2 * spikes.mean(0) + 0.3


@pytest.mark.parametrize("options", [{}, {"output": "1"}])
def test_a_run_that_gives_other_outputs_than_a_step_is_refused(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def step_of_two(m: Any, x: Tensor) -> Any:
        return (m.one(x), 3 * m.fc1(x)) if x.dim() == 2 else m.all(x)

    with pytest.raises(Refused, match=r"and all steps in one call \(time first\), where the network has"):
        source_of(Net, step_of_two if options else several, monkeypatch, tmp_path, **options)


@pytest.mark.sample(4)
@pytest.mark.parametrize("base", FRAMEWORKS)
@pytest.mark.parametrize("first", [True, False])
def test_a_forward_that_forgets_in_each_call_is_given_all_steps_in_one(
    base: type[Net], first: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def forgetting(m: Any, x: Tensor) -> Tensor:
        frames = [x] if x.dim() == 2 else x.unbind(0 if first else 1)
        return m.all(frames).mean(0)

    source = source_of(base, forgetting, monkeypatch, tmp_path, input="event")
    layout = "time first" if first else "batch first"
    assert source.notes == (f"its forward makes its neurons forget, so it is given all steps in one call, {layout}",)
    ensure_same(source, lambda y: y.mean(0))


@pytest.mark.parametrize("dim", [0, 1])
def test_frames_that_are_averaged_into_one_step_are_refused(dim: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def averaging(m: Any, x: Tensor) -> Tensor:
        return m.one(x.mean(dim) if x.dim() == 3 else x)

    layout = ("time first", "batch first")[dim]
    with pytest.raises(Refused, match=f"makes one time step of all frames that it is given at once, {layout}"):
        source_of(Net, averaging, monkeypatch, tmp_path, input="event")
    assert source_of(Net, averaging, monkeypatch, tmp_path).settings["timesteps"] == "4 (factory)"


def test_an_image_that_is_shown_a_number_of_steps_nobody_finds_is_not_taken_for_frames(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Net, "timesteps", None)

    def showing(m: Any, x: Tensor) -> Tensor:
        return m.all([x] * (2 * m.fc1.out_features) if x.dim() == 2 else x)

    with pytest.raises(Refused, match="the network runs for 16 time steps, and where that number stands in it was not found"):
        source_of(Net, showing, monkeypatch, tmp_path)
    assert source_of(Net, showing, monkeypatch, tmp_path, input="event", timesteps=5).settings["timesteps"] == "5 (option)"
