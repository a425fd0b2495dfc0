"""The trainable norms: their equations, their gradients against plain double-precision loops, what they track, how many steps."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from snnconv.nn import LIF, MPBN, PerStep, PSPNorm, TDBatchNorm, reset, run
from tests.norms import NORMS, Plain, T, equation, settled

C = 3
EACH = pytest.mark.parametrize("norm", NORMS)


def values(samples: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(samples, C, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@EACH
def test_inference_is_the_equation_of_the_paper(norm: str) -> None:
    layer = settled(NORMS[norm](C)).double()
    for t in range(T):
        x = values(seed=t)
        torch.testing.assert_close(layer(x), equation(layer, x, t), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", [PSPNorm(C), PSPNorm((C, 4, 4))], ids=["channel", "element"])
def test_psp_norm_trains_on_the_second_moment_of_its_batch_and_tracks_it(norm: PSPNorm) -> None:
    norm, x = norm.double().train(), values() + 2.0
    dims = (0,) if norm.running_moment.dim() > 1 else (0, 2, 3)
    moment = (x**2).mean(dims, keepdim=True)
    torch.testing.assert_close(norm(x), x / (moment + norm.eps).sqrt())
    torch.testing.assert_close(norm.running_moment, (0.9 + 0.1 * moment).view(norm.running_moment.shape))
    assert torch.autograd.gradcheck(norm, (x.requires_grad_(),))


def test_psp_norm_keeps_silence_silent() -> None:
    assert not PSPNorm(C).eval()(torch.zeros(2, C, 4, 4)).any()


def test_psp_norm_saves_its_moment_and_nothing_else() -> None:
    assert list(PSPNorm(C).state_dict()) == ["running_moment"]


def test_the_two_conventions_of_tdbn_start_alike_and_keep_their_factor_apart() -> None:
    factor = TDBatchNorm(C, 0.7, 0.5).double().eval()
    weight = TDBatchNorm(C, 0.7, 0.5, factor_in_weight=True).double().eval()
    assert factor.weight.tolist() == [1.0] * C and weight.weight.tolist() == pytest.approx([0.35] * C)
    torch.testing.assert_close(factor(values()), weight(values()), rtol=1e-6, atol=1e-6)
    # A checkpoint of one read as the other is another network: the factor would be applied twice, or not at all.
    other = TDBatchNorm(C, 0.7, 0.5).double().eval()
    other.load_state_dict(weight.state_dict())
    torch.testing.assert_close(other(values()), 0.35 * weight(values()), rtol=1e-6, atol=1e-6)


@EACH
def test_each_step_tracks_its_own_batch(norm: str) -> None:
    layer = NORMS[norm](C).double().train()
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    reset(layer)
    for t in range(T):
        layer(values(seed=t))
    moved = {name for name, buffer in layer.named_buffers() if not torch.equal(buffer, before[name])}
    assert moved - {"num_batches_tracked"} == ({"running_moment"} if norm == "PSP" else {"running_mean", "running_var"}), (
        "statistics must follow training"
    )
    if norm in ("BNTT", "TAB"):
        for t in range(T):
            expected = 0.1 * values(seed=t).mean((0, 2, 3))
            torch.testing.assert_close(layer.running_mean[t], expected)


@pytest.mark.parametrize("norm", ["TEBN", "BNTT", "TAB"])
def test_a_step_more_than_was_trained_is_an_error_and_reset_starts_again(norm: str) -> None:
    layer = settled(NORMS[norm](C)).double()
    first = [layer(values()) for _ in range(T)]
    with pytest.raises(ValueError, match=rf"{type(layer).__name__} was trained for {T} time steps and is asked for another"):
        layer(values())
    reset(nn.Sequential(layer))
    assert torch.equal(layer(values()), first[0])


def test_no_time_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="timesteps is 0"):
        PerStep(0)


def test_carrying_a_normalised_potential_takes_a_norm() -> None:
    with pytest.raises(ValueError, match="carry_normalised without a membrane norm"):
        LIF(carry_normalised=True)


def surrogate(distance: Tensor) -> Tensor:
    """A step whose slope is a triangle of half width 1: its integral, with the step's own value put in its place."""
    near = distance.clamp(-1, 1)
    smooth = near - near.abs() * near / 2
    return (distance > 0).to(distance.dtype) + smooth - smooth.detach()


def gradients(net: nn.Module, y: Tensor) -> Iterator[tuple[str, Tensor]]:
    net.zero_grad()
    (y.flatten() * torch.linspace(-1, 1, y.numel()).double()).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        yield name, parameter.grad.clone()


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("membrane", ["none", "MPBN", "PSP"])
@EACH
def test_gradients_are_those_of_a_plain_loop(norm: str, membrane: str, carried: bool, kind: str) -> None:
    """Conv, norm, neuron over T steps in evaluation mode, against the equations with the same surrogate, all in float64."""
    held = {"none": None, "MPBN": MPBN(C), "PSP": PSPNorm(C)}[membrane]
    neuron = LIF(0.6, 0.4, kind, norm=held, carry_normalised=carried and held is not None)
    net = settled(nn.Sequential(nn.Conv2d(2, C, 3), NORMS[norm](C), neuron), seed=3).double()
    x = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = dict(gradients(net, run(net, x, T, "sum")))

    plain = copy.deepcopy(net)
    loop = Plain(plain[2])
    kept, total = torch.zeros(()).double(), torch.zeros(()).double()
    for t in range(T):
        u = loop.layer.leak * kept + equation(plain[1], plain[0](x), t)
        v = u if held is None else equation(loop.layer.norm, u, t)
        s = surrogate(v - loop.layer.threshold)
        stays, fired = v if loop.layer.carry_normalised else u, s.detach() > 0
        # As in the layer: the spike that resets passes no gradient, whether it replaces the potential or is subtracted.
        kept = stays - loop.layer.threshold * fired if kind == "soft" else torch.where(fired, torch.zeros_like(stays), stays)
        total = total + s
    for name, gradient in gradients(plain, total):
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
    assert any(gradient.any() for gradient in found.values())
