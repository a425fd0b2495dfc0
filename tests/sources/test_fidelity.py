"""What one captured step leaves out of a user's forward is refused where the network is loaded, and named; the rest converts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import base, functional, layer, neuron
from torch import Tensor, nn

from snnconv.adapters import adapter, lif, registration
from snnconv.adapters.loading import load
from snnconv.errors import Refused
from snnconv.sources import Source, SourceOptions, factory, load_source
from snnconv.user_code import UserCodeError


class Net(nn.Module):
    """A linear layer, a neuron and a head, with a forward of its own."""

    timesteps, input_shape = 4, (6,)

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], node: nn.Module | None = None, **held: Any) -> None:
        super().__init__()
        self.fc1, self.lif, self.fc2 = nn.Linear(6, 8), node or neuron.LIFNode(v_threshold=0.2), nn.Linear(8, 3)
        self.steps = forward
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self, x)


def plain(m: Any, x: Tensor) -> Tensor:
    return m.fc2(m.lif(m.fc1(x)))


def loaded(net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Source:
    monkeypatch.setattr(factory, "imported", lambda arch, called: lambda: net)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    return load_source(tmp_path / "net.pth", SourceOptions(arch="net:make", **options))


def counting(m: Any, x: Tensor) -> Tensor:
    m.t += 1
    return plain(m, x / m.t)


def listing(m: Any, x: Tensor) -> Tensor:
    m.seen.append(x)
    return plain(m, x * len(m.seen))


KEPT = {
    "a count": (counting, {"t": 0}, "the network (Net) changes its attribute t"),
    "a list": (listing, {"seen": []}, "the network (Net) changes its attribute seen"),
    "a list that scales the output": (
        lambda m, x: plain(m, x) * _grown(m),
        {"scale": []},
        "the network (Net) changes its attribute scale",
    ),
}


def _grown(m: Any) -> int:
    m.scale.append(1)
    return len(m.scale)


@pytest.mark.parametrize("name", KEPT)
def test_what_python_keeps_from_step_to_step_is_refused_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, held, words = KEPT[name]
    with pytest.raises(Refused) as caught:
        loaded(Net(forward, **held), tmp_path, monkeypatch)
    assert words in str(caught.value) and caught.value.exit_code == 3


def test_a_counter_that_changes_nothing_converts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(m: Any, x: Tensor) -> Tensor:
        m.calls += 1
        return plain(m, x)

    source = loaded(Net(counted, calls=0), tmp_path, monkeypatch)
    x = torch.rand(3, 6)
    assert torch.equal(source.run(x), source.program.run(x))


class Biased(neuron.LIFNode):
    """Its threshold is a property that grows with the calls."""

    calls = 0

    @property
    def v_threshold(self) -> float:
        return 0.2 + 0.5 * self.calls

    @v_threshold.setter
    def v_threshold(self, value: float) -> None:
        pass

    def single_step_functional_forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return super().single_step_functional_forward(*args, **kwargs)


class Called(neuron.LIFNode):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return 2 * super().__call__(*args, **kwargs)


def patched() -> nn.Module:
    node = neuron.LIFNode(v_threshold=0.2)
    own = node.single_step_functional_forward
    node.single_step_functional_forward = lambda *a, **k: own(*a, **k)
    return node


def test_a_known_neuron_with_a_method_replaced_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match=r"lif \(Biased\) keeps a state from step to step, and no adapter knows it"):
        loaded(Net(plain, Biased()), tmp_path, monkeypatch)


@pytest.mark.parametrize("make", [Called, patched])
def test_one_that_still_computes_what_a_neuron_does_is_identified(
    make: Callable[[], nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, x = loaded(Net(plain, make()), tmp_path, monkeypatch), torch.rand(3, 6)
    assert source.notes[0].startswith(f"lif ({type(source.module.lif).__name__}): identified by its behaviour: leak 0.5, ")
    assert torch.allclose(source.run(x), source.program.run(x), atol=1e-5)


@pytest.mark.parametrize("start", [0.5, -0.1])
def test_a_first_potential_of_the_user_s_own_is_refused_by_name(
    start: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(plain)
    net.lif.set_reset_value("v", start)
    with pytest.raises(Refused, match=rf"LIFNode starts every sample from a potential of {start}, not of 0"):
        loaded(net, tmp_path, monkeypatch)


class Half(nn.Module):
    """A neuron of the user's own that starts half way to its threshold, which its adapter does not say."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Any = 0.25

    def forward(self, x: Tensor) -> Tensor:
        u = self.v + x
        spikes = (u > 0.5).to(x.dtype)
        self.v = u - 0.5 * spikes
        return spikes


def test_an_adapter_that_leaves_out_the_first_potential_is_found_though_the_network_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()  # what registers later than this would be lost with the copy
    monkeypatch.setattr(registration, "ADAPTERS", dict(registration.ADAPTERS))
    adapter(Half, reset=lambda layer: setattr(layer, "v", 0.25))(lambda layer: lif(1.0, 0.5, v_reset=None))
    net = Net(plain, Half())
    nn.init.zeros_(net.fc1.weight)
    nn.init.zeros_(net.fc1.bias)
    with pytest.raises(Refused, match=r"neuron lif \(Half\) spikes otherwise than its adapter says, first at step 1"):
        loaded(net, tmp_path, monkeypatch)


def test_a_network_that_refuses_float64_is_compared_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def single(m: Any, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        return plain(m, x)

    source = loaded(Net(single), tmp_path, monkeypatch)
    with pytest.raises(
        UserCodeError, match=r"its forward on an input of shape \[2, 6\] fails: AssertionError.*, in test_fidelity.py"
    ):
        source.to(torch.float64).run(torch.rand(2, 6).double())
    with pytest.raises(Refused, match="changes its attribute t"):
        loaded(Net(lambda m, x: counting(m, x.float()), t=0), tmp_path, monkeypatch)


def test_old_weight_norm_converts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(plain)
    net.fc1 = nn.utils.weight_norm(net.fc1)
    source = loaded(net, tmp_path, monkeypatch)
    x = torch.rand(3, 6)
    torch.testing.assert_close(source.run(x), source.program.run(x))


def test_a_network_that_cannot_be_copied_is_an_error_of_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserCodeError, match="copying it fails: TypeError: cannot pickle 'generator' object"):
        loaded(Net(plain, numbers=(n for n in range(3))), tmp_path, monkeypatch)


def test_spikes_that_the_network_changes_in_place_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def adding(m: Any, x: Tensor) -> Tensor:
        y = m.fc1(x)
        spikes = m.lif(y)
        spikes += y
        return m.fc2(spikes)

    source = loaded(Net(adding), tmp_path, monkeypatch)
    x = torch.rand(3, 6)
    torch.testing.assert_close(source.run(x), source.program.run(x))


HOOKED: dict[str, Callable[[nn.Module], Any]] = {
    "the spikes": lambda node: node.register_forward_hook(lambda m, inputs, spikes: 2 * spikes),
    "the current": lambda node: node.register_forward_pre_hook(lambda m, inputs: (inputs[0] + 0.3,)),
}


@pytest.mark.parametrize("name", HOOKED)
def test_hooks_on_a_neuron_are_part_of_the_network(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(plain)
    HOOKED[name](net.lif)
    source = loaded(net, tmp_path, monkeypatch)
    x = torch.rand(3, 6)
    torch.testing.assert_close(source.run(x), source.program.run(x))


class Norms(nn.Module):
    """A list of norms without a bias that is no BNTT: each step runs through all of them."""

    timesteps, input_shape = 3, (6,)

    def __init__(self, how: str) -> None:
        super().__init__()
        self.fc1, self.lif, self.fc2 = layer.Linear(6, 8), neuron.LIFNode(v_threshold=0.2), layer.Linear(8, 3)
        self.norms = nn.ModuleList([layer.BatchNorm1d(8) for _ in range(3)])
        self.how = how
        for n, norm in enumerate(self.norms):
            norm.register_parameter("bias", None)
            norm.running_mean.normal_(generator=torch.Generator().manual_seed(n))
        if how == "all steps in one call":
            functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc1(x)
        for n in range(1 if self.how == "one entry" else 3):
            y = self.norms[n + 1 if self.how == "one entry" else n](y)
        return self.fc2(self.lif(y))


@pytest.mark.parametrize("how", ["step by step", "one entry", "all steps in one call"])
def test_a_list_of_norms_for_something_else_is_left_alone(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import snntorch  # noqa: F401  its adapter knows lists of norms

    source = loaded(Norms(how), tmp_path, monkeypatch)
    assert not source.program.counts_steps
    x = torch.rand(3, 6)
    torch.testing.assert_close(source.run(x), source.program.run(x))


class Phase(base.MemoryModule):
    def __init__(self) -> None:
        super().__init__()
        self.register_memory("t", 0)

    def single_step_forward(self, x: Tensor) -> Tensor:
        self.t += 1
        return x / self.t


def test_a_count_in_a_layer_of_the_framework_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(lambda m, x: plain(m, m.phase(x)), phase=Phase())
    with pytest.raises(Refused, match=r"does not follow from that step alone: phase \(Phase\) changes its attribute t"):
        loaded(net, tmp_path, monkeypatch)


def doubling_one(m: Any, x: Tensor) -> Tensor:
    return plain(m, x) * (2 if x.shape[0] == 1 else 1)


def squeezing(m: Any, x: Tensor) -> Tensor:
    return m.fc2(m.norm(m.lif(m.fc1(x)).unsqueeze(-1).squeeze()))


def by_its_forward(m: Any, x: Tensor) -> Tensor:
    return m.fc2(m.lif.forward(m.fc1(x)))


def merging(m: Any, x: Tensor) -> Tensor:
    return m.fc2(m.lif(m.fc1(x).reshape(-1, 4)).reshape(-1, 8))


ODD = {
    "a batch of one": (doubling_one, "computes otherwise on one sample than on several"),
    "a batch of one that is squeezed": (squeezing, "does not run on one sample"),
    "a forward that is called past the layer": (
        by_its_forward,
        "no neuron is called, lif for one; let the network's forward call the layer itself",
    ),
    "rows merged into the batch": (merging, "is given 4 rows for a batch of 2"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_no_artifact_of_any_batch_can_do_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, words = ODD[kind]
    with pytest.raises(Refused, match=words):
        loaded(Net(forward, norm=nn.BatchNorm1d(8)), tmp_path, monkeypatch)


def dimming_bright_ones(m: Any, x: Tensor) -> Tensor:
    """Of frames `[B, T, F]`, all of a sample are dimmed by the brightest, if that is above 30."""
    x = x / x.amax((1, 2), keepdim=True).clamp(min=30)
    return torch.stack([plain(m, frame) for frame in x.unbind(1)]).sum(0)


def test_steps_that_only_large_inputs_mix_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="what neuron lif is given at step 1 does not follow from that step alone"):
        loaded(Net(dimming_bright_ones), tmp_path, monkeypatch, input="event")


def test_samples_that_only_spikes_mix_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def centred(m: Any, x: Tensor) -> Tensor:
        spikes = m.lif(m.fc1(x))
        return m.fc2(spikes - spikes.mean(0, keepdim=True))

    silent_on_noise = neuron.LIFNode(v_threshold=50.0)
    with pytest.raises(Refused, match="the output of a sample depends on the other samples of its batch"):
        loaded(Net(centred, silent_on_noise), tmp_path, monkeypatch)


def test_a_network_that_looks_its_inputs_up_is_compared_on_those_that_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(lambda m, x: plain(m, m.table(x.long()).flatten(1)), table=nn.Embedding(2, 1))
    assert loaded(net, tmp_path, monkeypatch).program.neurons
