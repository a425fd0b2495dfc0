"""Networks that hypothesis makes up: whatever their norms stand between, a fold of them computes what they compute."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.lower import lower
from snnconv.nn import BNTT, LIF, MPBN, PSPNorm, run
from snnconv.verify.deployment import compare_layers
from tests.fold.test_every_norm import watched
from tests.networks import inputs, source_of
from tests.norms import NORMS, T, settled
from tests.references import reference_to

C, SIDE = 4, 8
STATISTICS = ("running_mean", "running_var", "running_moment", "zero_mean", "num_batches_tracked")


class Residual(nn.Module):
    """A body beside a short cut."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class Twice(nn.Module):
    """One layer applied at two places: its constants are shared."""

    def __init__(self, norm: nn.Module, between: nn.Module) -> None:
        super().__init__()
        self.norm, self.between = norm, between

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.between(self.norm(x)))


class Forked(nn.Module):
    """One convolution that feeds two norms."""

    def __init__(self, conv: nn.Module, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.conv, self.first, self.second = conv, first, second

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.first(y) - self.second(y)


norms = st.sampled_from(sorted(NORMS)).map(lambda name: lambda: NORMS[name](C))
shared = st.sampled_from(["batch norm", "without affine", "PSP", "tdBN"]).map(lambda name: lambda: NORMS[name](C))
convolutions = st.sampled_from(
    [
        lambda: nn.Conv2d(C, C, 3, padding=1),
        lambda: nn.Conv2d(C, C, 1, bias=False),
        lambda: nn.Conv2d(C, C, 3, padding=1, groups=2),
        lambda: nn.Conv2d(C, C, 5, padding="same", groups=C, bias=False),
        lambda: nn.ConvTranspose2d(C, C, 3, padding=1, groups=2),
    ]
)
poolings = st.sampled_from([lambda: nn.AvgPool2d(3, 1, 1), lambda: nn.MaxPool2d(3, 1, 1)])
membranes = st.sampled_from([lambda: None, lambda: MPBN(C), lambda: MPBN((C, SIDE, SIDE)), lambda: PSPNorm(C)])


@st.composite
def neurons(draw: st.DrawFn) -> Callable[[], nn.Module]:
    membrane, carried = draw(membranes), draw(st.booleans())
    chosen = {"leak": draw(st.sampled_from([0.25, 1.0, 0.9])), "reset": draw(st.sampled_from(["hard", "soft"]))}
    chosen |= {"strict": draw(st.booleans()), "threshold": draw(st.sampled_from([0.3, 0.5]))}

    def made() -> LIF:
        norm = membrane()
        return LIF(**chosen, norm=norm, carry_normalised=carried and norm is not None)

    return made


def both(first: Callable[[], nn.Module], second: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(first(), second())


blocks = st.recursive(
    norms | convolutions | poolings | neurons(),
    lambda inner: st.one_of(
        st.builds(both, inner, inner),
        st.builds(lambda a, b: lambda: Residual(a(), b()), inner, inner | st.just(nn.Identity)),
        st.builds(lambda n, b: lambda: Twice(n(), b()), shared, convolutions | poolings | neurons()),
        st.builds(lambda c, a, b: lambda: Forked(c(), a(), b()), convolutions, norms, norms),
    ),
    max_leaves=7,
)


def network(block: Callable[[], nn.Module], neuron: Callable[[], nn.Module]) -> nn.Module:
    """The block between a stem and a spiking head, settled."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, C, 3, padding=1), LIF(threshold=0.2), block(), neuron(), nn.Flatten(), nn.Linear(C * SIDE * SIDE, 3))
    return settled(nn.Sequential(*layers), seed=1)


EXAMPLES = 40 if "SNNCONV_EXAM" in os.environ else 10
"""So many networks are made up; more where there is time."""


@seed(0)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(block=blocks, neuron=neurons(), timesteps=st.sampled_from([1, T]))
def test_a_fold_computes_what_the_network_computes(
    block: Callable[[], nn.Module], neuron: Callable[[], nn.Module], timesteps: int
) -> None:
    source = source_of(network(block, neuron), timesteps, shape=(2, SIDE, SIDE))
    x = inputs(source, 3)
    folded, folded64 = fold(source.program), fold(source.to(torch.float64).program)
    assert not folded.holds_norms and all(neuron.norm is None for neuron in folded.neurons.values())
    original = source.to(torch.float64)
    assert original.module is not None
    with torch.no_grad():
        expected = run(original.module, x.double(), timesteps)
    torch.testing.assert_close(folded64.run(x.double()), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(lower(folded64, "sequence").run(x.double()), expected, rtol=1e-9, atol=1e-9)
    tallies = compare_layers(reference_to(source, folded), x, watched(folded, x)).layers
    assert [tally for tally in tallies if tally.unexplained or tally.outside or tally.inconsistent] == []


@pytest.mark.long
@seed(1)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(block=blocks, neuron=neurons(), form=st.sampled_from(["sequence", "step"]))
def test_an_artifact_holds_no_norm_no_statistics_and_nothing_unused(
    block: Callable[[], nn.Module], neuron: Callable[[], nn.Module], form: str, tmp_path_factory: object
) -> None:
    net = network(block, neuron)
    folder: Path = tmp_path_factory.mktemp("walk")  # type: ignore[attr-defined]
    program = fold(source_of(net, shape=(2, SIDE, SIDE)).program)
    for name in ("net.onnx", "net.ts"):
        export(program, folder / name, format_of(folder / name), form)
    graph = onnx.load(folder / "net.onnx").graph
    held = {tensor.name for tensor in graph.initializer}
    read = {name for node in graph.node for name in node.input}
    assert not [node.op_type for node in graph.node if "Norm" in node.op_type]
    assert held <= read, "an initializer that nothing reads"
    assert not [name for name in held if name.endswith(STATISTICS)]
    module = torch.jit.load(folder / "net.ts")
    assert not [name for name in module.state_dict() if name.endswith(STATISTICS)]
    assert "batch_norm" not in str(module.inlined_graph)
    # What the report says and what the artifact holds are one thing: every norm of the network has a site, and no other.
    kinds = nn.modules.batchnorm._BatchNorm | MPBN | PSPNorm | BNTT
    owners = {name for name, m in net.named_modules() if isinstance(m, kinds) and not name.endswith(".norm")}
    sites = {site.path for site in program.sites}
    assert all(any(path == name or path.startswith(f"{name}.") for path in sites) for name in owners)


def test_the_examples_hold_every_kind_of_block() -> None:
    """The strategies reach what they are there for."""
    seen: set[str] = set()

    @seed(0)
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(block=blocks)
    def look(block: Callable[[], nn.Module]) -> None:
        seen.update(type(module).__name__ for module in block().modules())

    look()
    assert {"Residual", "Twice", "Forked", "TEBN", "BNTT", "TAB", "PSPNorm", "TDBatchNorm", "MaxPool2d", "LIF"} <= seen
