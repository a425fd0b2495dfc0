"""A fold works in float64 to the end and rounds once, and the float64 fold holds the very constants of the rounded one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from snnconv.data import Data
from snnconv.engines import open_candidate
from snnconv.fold import FoldRefused, fold, twin
from snnconv.ir.program import TimeContract, put, tensors
from snnconv.lower import lower
from snnconv.nn import LIF, MPBN
from snnconv.results.verdict import Verdict, judge
from snnconv.verify import Plan, Reference, verify
from tests.artifacts import artifact, written
from tests.fold.test_fold import settled
from tests.fold.test_linear_norm import Wired
from tests.identify.layers import Kept
from tests.networks import captured, inputs, program_of, source_of

C = 3


def test_constants_that_round_to_nothing_are_no_difference(tmp_path: Path) -> None:
    """A rest of -0.1 in float32 is not the -0.1 of the layer's code in float64."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), Kept(), nn.Linear(8, 3)).eval()
    reference = Reference(captured(net, TimeContract(4, (6,))))
    neuron, exact = reference.folded.neurons["1"], fold(reference.source64.program).neurons["1"]
    assert neuron.shift is None and exact.shift is not None and 0 < abs(exact.shift.max()) < 1e-8
    assert reference.drops
    candidate = artifact(reference.folded, tmp_path / "net.ts", "step")
    found = verify(reference, candidate, Data(3 * torch.rand(20, 6), None, "noise"), ("s", "net.ts"), fresh=True)
    assert judge(found).equivalent, judge(found).faults


def test_nothing_is_dropped_of_a_plain_neuron() -> None:
    assert not Reference(source_of(nn.Sequential(nn.Linear(6, 8), LIF(0.7, 0.3), nn.Linear(8, 3)), shape=(6,))).drops


LAYERS = {
    "linear": lambda: nn.Linear(C, C),
    "pointwise": lambda: nn.Conv1d(C, C, 1, bias=False),
    "depthwise": lambda: nn.Conv1d(C, C, 1, groups=C),
}


def matrix(layer: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """What a layer computes of C values, as a matrix and a vector in plain float64."""
    if isinstance(layer, nn.BatchNorm1d):
        gamma, beta, mean, var = (t.double().numpy() for t in (layer.weight, layer.bias, layer.running_mean, layer.running_var))
        scale = gamma / np.sqrt(var + layer.eps)
        return np.diag(scale), beta - mean * scale
    weight = layer.weight.double().numpy().reshape(C, -1)
    added = np.zeros(C) if layer.bias is None else layer.bias.double().numpy()
    return (np.diag(weight[:, 0]) if weight.shape[1] == 1 else weight), added


def composed(layers: list[nn.Module]) -> tuple[np.ndarray, np.ndarray]:
    """Several layers in a row as one matrix and vector."""
    whole, added = np.eye(C), np.zeros(C)
    for layer in layers:
        m, b = matrix(layer)
        whole, added = m @ whole, m @ added + b
    return whole, added


def assert_correctly_rounded(held: torch.Tensor | None, exact: np.ndarray, neutral: float, magnitude: float) -> None:
    """Half a unit in the last place, but for the rounding errors of the float64 arithmetic itself."""
    found = np.full(exact.shape, neutral) if held is None else held.double().numpy().reshape(exact.shape)
    unit = np.spacing(np.abs(found.astype(np.float32))).astype(np.float64)
    assert (np.abs(found - exact) <= unit / 2 + 1e-14 * magnitude).all()


@settings(max_examples=15, deadline=None)
@given(
    before=st.integers(0, 2),
    kind=st.sampled_from([*LAYERS, None]),
    behind=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
def test_norms_around_a_layer_are_rounded_once(before: int, kind: str | None, behind: int, seed: int) -> None:
    shape = (C,) if kind == "linear" else (C, 2)
    layers = [*(nn.BatchNorm1d(C) for _ in range(before)), *([LAYERS[kind]()] if kind else [])]
    layers += [nn.BatchNorm1d(C) for _ in range(behind)]
    program = program_of(settled(nn.Sequential(*layers, LIF(), nn.Flatten()), seed), timesteps=1, shape=shape)
    folded = fold(program)
    whole, added = composed(layers)
    neuron = folded.neurons[str(len(layers))]
    if kind is None:
        assert_correctly_rounded(neuron.gain, np.diag(whole), 1, 10)
        assert_correctly_rounded(neuron.offset, added, 0, 10)
        return
    held = tensors(folded.graph)
    assert neuron.gain is neuron.offset is None and set(held) <= {f"{before}.weight", f"{before}.bias"}
    weight = np.diag(whole)[:, None] if kind == "depthwise" else whole
    assert_correctly_rounded(held[f"{before}.weight"], weight, 0, 10)
    assert_correctly_rounded(held.get(f"{before}.bias"), added, 0, 10)


def forked(first: nn.Module, second: nn.Module) -> Wired:
    """A norm that a neuron reads and a second norm, which another reads."""
    return Wired(
        lambda m, x: (m.a(y := m.first(x)) + m.b(m.second(y))).flatten(1), first=first, second=second, a=LIF(), b=LIF(leak=0.5)
    )


def test_norms_meet_in_the_gain_of_a_neuron() -> None:
    first, second = nn.BatchNorm1d(C), nn.BatchNorm1d(C)
    folded = fold(program_of(settled(forked(first, second)), timesteps=1, shape=(C, 2)))
    for name, row in {"a": [first], "b": [first, second]}.items():
        whole, added = composed(row)
        assert_correctly_rounded(folded.neurons[name].gain, np.diag(whole), 1, 10)
        assert_correctly_rounded(folded.neurons[name].offset, added, 0, 10)


def test_a_norm_that_a_layer_and_another_norm_read_goes_into_both_layers() -> None:
    net = Wired(
        lambda m, x: m.a(m.one(y := m.first(x)) + m.two(m.second(y))).flatten(1),
        first=nn.BatchNorm1d(C), second=nn.BatchNorm1d(C), one=nn.Conv1d(C, C, 1), two=nn.Conv1d(C, C, 1), a=LIF(),
    )  # fmt: skip
    program = program_of(settled(net), timesteps=1, shape=(C, 2))
    held = tensors(fold(program).graph)
    assert set(held) == {"one.weight", "one.bias", "two.weight", "two.bias"}
    for name, row in {"one": [net.first, net.one], "two": [net.first, net.second, net.two]}.items():
        whole, added = composed(row)
        assert_correctly_rounded(held[f"{name}.weight"], whole, 0, 10)
        assert_correctly_rounded(held[f"{name}.bias"], added, 0, 10)


def test_what_a_norm_makes_too_large_for_the_type_is_refused() -> None:
    net = settled(nn.Sequential(nn.Linear(C, C), nn.BatchNorm1d(C), LIF(), nn.Flatten()))
    with torch.no_grad():
        net[0].weight.fill_(1e20)
        net[1].weight.fill_(1e20)
    with pytest.raises(FoldRefused, match=r"0\.weight.*beyond the range of torch\.float32"):
        fold(program_of(net, timesteps=1, shape=(C,)))


# Constants that may be there or not: whatever rounding makes of one, both folds hold the same.

TINY = [1e-40, -1e-40, -1e-45, -0.0]


def membrane(gamma: float, beta: float = 0.1, mean: float = 0.2, var: float = 1.0, **settings: object) -> nn.Module:
    """One channel with these constants beside two usual ones."""
    norm = MPBN(3, eps=settings.pop("eps", 1e-5))
    for held, value, usual in zip(
        (norm.weight, norm.bias, norm.running_mean, norm.running_var), (gamma, beta, mean, var), (0.8, 0.2, 0.1, 0.5), strict=True
    ):
        held.data = torch.tensor([value, usual, usual])
    return nn.Sequential(nn.Conv2d(2, 3, 3), LIF(norm=norm, threshold=0.3, **settings), nn.Flatten()).eval()


def verified(net: nn.Module, path: Path, form: str = "sequence", break_: str | None = None) -> Verdict:
    torch.manual_seed(0)
    source = source_of(net, timesteps=2, shape=(2, 5, 5))
    folded = fold(source.program)
    if break_ is not None:
        held = tensors(folded.graph)[break_]
        put(folded.graph, break_, held + held.abs().max() * 1e-6)
    found = verify(
        Reference(source),
        open_candidate(written(folded, path, form)),
        Data(inputs(source, 2), None, "noise"),
        ("s", "c"),
        Plan(("proof", "algebra")),
    )
    return judge(found)


@pytest.mark.parametrize("gamma", TINY)
@pytest.mark.parametrize("carried", [False, True])
def test_tiny_gammas_of_either_sign_are_equivalent(gamma: float, carried: bool, tmp_path: Path) -> None:
    found = verified(membrane(gamma, 0.3, carry_normalised=carried), tmp_path / "net.pt2", "step")
    assert found.equivalent, found.faults


def all_near_one() -> nn.Module:
    """A carried norm whose scale rounds to one in every channel."""
    norm = MPBN(3, eps=1e-8)
    return nn.Sequential(nn.Conv2d(2, 3, 3), LIF(norm=norm, threshold=0.3, leak=1.0, carry_normalised=True), nn.Flatten()).eval()


def scaled(value: float, behind: nn.Module) -> nn.Module:
    """A norm whose scale is near one, in front of what takes it or not."""
    norm = nn.BatchNorm2d(3, eps=value)
    return nn.Sequential(nn.Conv2d(2, 3, 3), LIF(threshold=0.1), norm, behind, nn.Flatten()).eval()


def zero_bias(beta: float) -> nn.Module:
    """A norm of which the bias of the layer before it rounds to nothing."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), LIF(), nn.Flatten()).eval()
    with torch.no_grad():
        net[1].bias.fill_(beta)
        net[1].running_mean.fill_(1e-30)
        net[1].weight.fill_(1e-20)
    return net


OPTIONAL = {
    "variance that swallows gamma": lambda: membrane(-1e-30, 0.3, 0.2, 1e38),
    "subnormal shift": lambda: membrane(0.8, 0.0, 1e-42, carry_normalised=True),
    "threshold out of range": lambda: membrane(-3e-38, 1e-45, 0.0, 1e-30, eps=1e-30),
    "soft reset by a tiny amount": lambda: membrane(0.8, reset="soft", leak=1e-45),
    "leak": all_near_one,
    "gain": lambda: scaled(1e-8, LIF(threshold=0.2)),
    "plain scale": lambda: scaled(1e-8, nn.ReLU()),
    "bias that rounds to zero": lambda: zero_bias(0.0),
    "subnormal bias": lambda: zero_bias(1e-44),
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", OPTIONAL)
def test_optional_constants_follow_the_program_whatever_rounding_makes_of_them(name: str, tmp_path: Path) -> None:
    # ONNX optimizers drop neutral factors.
    optimised = name in ("leak", "gain", "plain scale")
    found = verified(OPTIONAL[name](), tmp_path / ("net.onnx" if optimised else "net.pt2"), "sequence" if optimised else "step")
    assert found.equivalent, found.faults


def test_the_twin_holds_the_same_constants_in_float64() -> None:
    source = source_of(membrane(-1e-40, 0.5), timesteps=1, shape=(2, 5, 5))
    folded = fold(source.program)
    folded64 = twin(fold(source.program.to(torch.float64)), folded)
    held, wide = lower(folded, "step").constants(), lower(folded64, "step").constants()
    assert held.keys() == wide.keys() and all(wide[path].shape == value.shape for path, value in held.items())
    assert folded.neurons["1"].inverted is not None and math.isinf(folded.neurons["1"].threshold[0])


def test_a_wrong_constant_beside_a_tiny_gamma_still_fails(tmp_path: Path) -> None:
    assert not verified(membrane(-1e-40), tmp_path / "net.pt2", "step", break_="0.weight").equivalent
