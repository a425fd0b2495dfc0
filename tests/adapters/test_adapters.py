"""A neuron that snnconv has never seen converts once it is taught, and is named if it is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snnconv import registry
from snnconv.adapters import adapter, lif, neurons_of, registration
from snnconv.adapters.loading import load
from snnconv.data import Data, synthetic
from snnconv.engines import open_candidate
from snnconv.errors import Refused
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir.neuron import Neuron
from snnconv.nn import BNTT, LIF, MPBN
from snnconv.results.verdict import judge
from snnconv.sources import Source, SourceOptions, load_source
from snnconv.verify import Reference, verify
from tests.norms import settled


class Delayed(nn.Module):
    """A user's own neuron: it subtracts its threshold one step after the spike, as some frameworks do."""

    def __init__(self, beta: float = 0.8, threshold: float = 0.5) -> None:
        super().__init__()
        self.beta, self.threshold = nn.Parameter(torch.tensor(beta)), threshold
        self.membrane: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        before = torch.zeros_like(x) if self.membrane is None else self.membrane
        self.membrane = self.beta * before + x - (before > self.threshold).to(x.dtype) * self.threshold
        return (self.membrane > self.threshold).to(x.dtype)

    def forget(self) -> None:
        self.membrane = None


def delayed(layer: Delayed) -> Neuron:
    """What it carries is beta * u, less its threshold where it fired: a soft reset whose amount the leak does not touch."""
    told = lif(layer.beta, layer.threshold, v_reset=None)
    return Neuron(threshold=told.threshold, leak=told.leak, reset=told.threshold, soft=True)


class Packed(nn.Module):
    """Keeps its state in a dictionary, out of sight of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.memory["v"] = self.memory.get("v", torch.zeros_like(x)) * 0.5 + x
        return (self.memory["v"] > 0.5).to(x.dtype)


class Adaptive(Delayed):
    """Its threshold rises with every spike."""

    rise: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        spikes = super().forward(x - self.rise)
        self.rise = 0.9 * self.rise + 0.1 * spikes
        return spikes

    def forget(self) -> None:
        self.membrane, self.rise = None, 0.0


class Net(nn.Module):
    timesteps, input_shape = 4, (2, 6, 6)

    def __init__(self, neuron: nn.Module, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1, self.bn, self.act1 = nn.Conv2d(2, 4, 3), norm or nn.BatchNorm2d(4), neuron
        self.conv2, self.act2, self.head = nn.Conv2d(4, 4, 3), LIF(norm=MPBN(4)), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act2(self.conv2(self.act1(self.bn(self.conv1(x))))).flatten(1))


def factory() -> nn.Module:
    return Net(Delayed())


def packed() -> nn.Module:
    return Net(Packed())


def adaptive() -> nn.Module:
    return Net(Adaptive())


def one_step() -> nn.Module:
    net = Net(Delayed(), BNTT(4, 1))
    net.timesteps = 1
    return net


@pytest.fixture(autouse=True)
def _forget_adapters(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    neurons_of(nn.Identity())  # those of frameworks are registered once and for all
    load()  # what registers later than this would be lost with the copy
    monkeypatch.setattr(registration, "ADAPTERS", dict(registration.ADAPTERS))
    yield


def loaded(tmp_path: Path, name: str = "factory") -> Source:
    torch.manual_seed(0)
    torch.save(settled(globals()[name](), 1).state_dict(), tmp_path / "net.pth")
    return load_source(tmp_path / "net.pth", SourceOptions(arch=f"{__name__}:{name}"))


@pytest.mark.sample(1)
@pytest.mark.parametrize("form", ["sequence", "step"])
@pytest.mark.parametrize("name", ["n.onnx", "n.ts"])
def test_a_neuron_that_was_taught_is_equivalent(name: str, form: str, tmp_path: Path) -> None:
    adapter(Delayed, reset=Delayed.forget)(delayed)
    source = loaded(tmp_path)
    export(fold(source.program), tmp_path / name, format_of(tmp_path / name), form)
    found = verify(Reference(source), open_candidate(tmp_path / name), synthetic(source.program.contract, samples=6), ("s", name))
    assert judge(found).equivalent, judge(found).faults
    assert 0 < found.layers[0].spikes_reference < found.layers[0].values


def test_the_reference_is_the_neuron_itself(tmp_path: Path) -> None:
    """A wrong adapter does not make a wrong artifact pass: the user's own code judges, and before anything is exported."""
    wrong = lambda layer: lif(layer.beta, layer.threshold, v_reset=0.0)  # noqa: E731
    adapter(Delayed, reset=Delayed.forget)(wrong)
    with pytest.raises(Refused, match=r"neuron act1 \(Delayed\) spikes otherwise than its adapter says, first at step 2"):
        loaded(tmp_path)


def test_every_sample_begins_without_a_state(tmp_path: Path) -> None:
    adapter(Delayed, reset=Delayed.forget)(delayed)
    source, x = loaded(tmp_path), torch.rand(2, 2, 6, 6)
    assert torch.equal(source.run(x), source.run(x))


@pytest.mark.parametrize(
    ("name", "neuron"),
    [
        ("factory", delayed(Delayed())),
        ("packed", replace(lif(0.5, 0.5, v_reset=None), reset=torch.zeros(()))),
        ("one_step", delayed(Delayed())),
    ],
)
def test_a_neuron_that_nobody_taught_is_identified(name: str, neuron: Neuron, tmp_path: Path) -> None:
    source, x = loaded(tmp_path, name), torch.rand(2, 2, 6, 6)
    found, told = source.program.neurons["act1"], neuron.to(torch.float32)
    assert all(torch.equal(getattr(found, field), getattr(told, field)) for field in ("threshold", "leak", "reset"))
    assert (found.soft, found.strict) == (told.soft, told.strict)
    assert torch.equal(source.run(x), source.run(x))
    assert torch.allclose(source.run(x), source.program.run(x), atol=1e-5)


@pytest.mark.parametrize(("name", "form"), [("n.onnx", "sequence"), ("n.ts", "step")])
def test_a_neuron_that_is_none_is_taken_as_it_is_with_what_it_keeps(name: str, form: str, tmp_path: Path) -> None:
    source = loaded(tmp_path, "adaptive")
    assert source.program.memories == {"act1.membrane": (4, 4, 4), "act1.rise": (4, 4, 4)}
    said = "act1 (Adaptive): taken as it is, what is kept from step to step being a state (act1.membrane, act1.rise)"
    assert said in source.notes
    export(fold(source.program), tmp_path / name, format_of(tmp_path / name), form)
    x = torch.rand(20, 2, 6, 6, generator=torch.Generator().manual_seed(2))
    found = verify(Reference(source), open_candidate(tmp_path / name), Data(x, None, "noise"), ("s", "c"))
    assert judge(found).equivalent


def test_a_neuron_without_a_way_to_forget_is_named(tmp_path: Path) -> None:
    adapter(Delayed)(delayed)
    with pytest.raises(Refused, match=r"Delayed has no method reset\(\)"):
        loaded(tmp_path)


def test_an_adapter_serves_derived_classes_until_they_have_their_own() -> None:
    class Derived(Delayed):
        pass

    adapter(Delayed, reset=Delayed.forget)(delayed)
    assert list(neurons_of(nn.Sequential(Derived()))) == ["0"]
    adapter(Derived, reset=Derived.forget)(lambda layer: lif(0.1, 0.2))
    assert neurons_of(nn.Sequential(Derived()))["0"].soft is False


@dataclass
class Point:
    """An entry point of another package."""

    name: str = "mine"
    value: str = "my_package.neurons"
    loads: list[str] = field(default_factory=list)

    def load(self) -> None:
        self.loads.append("loaded")
        adapter(Delayed, reset=Delayed.forget)(delayed)


def test_a_package_teaches_through_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = Point()
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "snnconv.adapters" else [])
    assert list(neurons_of(nn.Sequential(Delayed()))) == ["0"] and point.loads


def test_lif_computes_what_it_says() -> None:
    x = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0))
    for v_reset, strict in ((0.2, True), (None, False)):
        neuron, state, v = lif(0.7, 0.4, v_reset, strict), None, torch.zeros(4, 3)
        for t, current in enumerate(x):
            u, spikes, state = neuron.step(current, state, t)
            expected = 0.7 * v + current
            fired = expected > 0.4 if strict else expected >= 0.4
            v = expected - 0.4 * fired if v_reset is None else torch.where(fired, torch.tensor(v_reset), expected)
            torch.testing.assert_close(u, expected)
            assert torch.equal(spikes > 0, fired)
