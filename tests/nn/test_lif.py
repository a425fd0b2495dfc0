"""The trainable layers: gradients, running statistics, state, and running over time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from snnconv.ir.time import READOUTS
from snnconv.nn import LIF, MPBN, neurons, reset, run


def small(norm: MPBN | None, **settings: float | str | bool) -> nn.Sequential:
    """Conv, norm, neuron, read-out; one time step."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), LIF(norm=norm, **settings), nn.Flatten(), nn.Linear(48, 2))
    return nn.Sequential(*layers)


def images(samples: int = 8) -> Tensor:
    return torch.rand(samples, 2, 4, 4, generator=torch.Generator().manual_seed(1))


NORMS = pytest.mark.parametrize("features", [3, (3, 4, 4)], ids=["channel", "element"])


@NORMS
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_gradients_reach_conv_weights_and_membrane_norm(features: int | tuple[int, ...], kind: str) -> None:
    net = small(MPBN(features), reset=kind).train()
    run(net, images(), timesteps=3).square().sum().backward()
    for name, parameter in net.named_parameters():
        # A norm follows the conv: its bias has no effect while batch statistics are used.
        assert name == "0.bias" or parameter.grad.abs().sum() > 0, name


@NORMS
def test_running_statistics_follow_every_step_in_training_and_none_in_evaluation(features: int | tuple[int, ...]) -> None:
    norm = MPBN(features)
    net = small(norm).train()
    run(net, images(), timesteps=3)
    assert norm.num_batches_tracked == 3
    assert (norm.running_mean != 0).any() and (norm.running_var != 1).any()
    before = [buffer.clone() for buffer in norm.buffers()]
    run(net.eval(), images(), timesteps=3)
    assert all(torch.equal(a, b) for a, b in zip(before, norm.buffers(), strict=True))


@NORMS
@pytest.mark.parametrize("affine", [True, False])
def test_membrane_norm_is_torch_batch_norm(features: int | tuple[int, ...], affine: bool) -> None:
    own, u = MPBN(features, affine=affine), torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    per_element = isinstance(features, tuple)
    reference = nn.BatchNorm1d(48, affine=affine) if per_element else nn.BatchNorm2d(3, affine=affine)
    for training in (True, False):
        expected = reference.train(training)(u.flatten(1) if per_element else u)
        assert torch.equal(own.train(training)(u), expected.view(u.shape))
        assert torch.equal(own.running_mean.flatten(), reference.running_mean)
        assert torch.equal(own.running_var.flatten(), reference.running_var)


def test_surrogate_gradient_is_a_triangle_around_the_threshold() -> None:
    x = torch.tensor([[-1.6, -0.5, 0.5, 1.5, 2.6]], requires_grad=True)
    LIF(threshold=0.5, surrogate_width=2.0)(x).sum().backward()
    assert x.grad.tolist() == [[0.0, 0.25, 0.5, 0.25, 0.0]]


def test_surrogate_gradient_passes_through_the_carried_potential() -> None:
    x, layer = torch.tensor([[0.2]], requires_grad=True), LIF(leak=0.5, threshold=0.5)
    layer(x)
    layer(torch.zeros(1, 1)).sum().backward()
    assert x.grad.item() == pytest.approx(0.5 * (1 - 0.4))


def test_a_network_learns() -> None:
    net, x = small(MPBN(3)).train(), images(32)
    labels = (x[:, 0].mean((1, 2)) > x[:, 1].mean((1, 2))).long()
    optimizer, losses = torch.optim.Adam(net.parameters(), 0.02), []
    for _ in range(25):
        loss = nn.functional.cross_entropy(run(net, x, timesteps=3), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_run_starts_from_a_fresh_state() -> None:
    net = small(MPBN(3)).eval()
    first = run(net, images(), timesteps=3)
    carried = net(images())
    assert torch.equal(run(net, images(), timesteps=3), first)
    reset(net)
    assert all(neuron.state is None for neuron in neurons(net).values())
    assert not torch.equal(net(images()), carried)


def test_another_batch_size_runs_after_a_reset() -> None:
    net = small(None).eval()
    assert run(net, images(8), timesteps=2).shape == (8, 2)
    assert run(net, images(3), timesteps=2).shape == (3, 2)


def test_neurons_are_listed_by_path() -> None:
    assert list(neurons(nn.Sequential(nn.Sequential(LIF()), nn.ReLU(), LIF()))) == ["0.0", "2"]


def test_state_dict_holds_the_norm_and_no_neuron_constant() -> None:
    kept = {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert set(LIF(norm=MPBN(3)).state_dict()) == kept


@pytest.mark.parametrize("readout", READOUTS)
def test_a_static_image_is_the_same_frame_at_every_step(readout: str) -> None:
    net, x = small(MPBN(3)).eval(), images()
    frames = x[:, None].repeat(1, 3, 1, 1, 1)
    assert torch.equal(run(net, x, 3, readout), run(net, frames, 3, readout, event=True))


def test_frames_are_shown_in_order() -> None:
    net = small(None, leak=1.0).eval()
    frames = torch.rand(4, 3, 2, 4, 4, generator=torch.Generator().manual_seed(3))
    outputs = run(net, frames, 3, "none", event=True)
    assert torch.equal(outputs[:, :1], run(net, frames[:, :1], 1, "none", event=True))
    assert not torch.equal(outputs, run(net, frames.flip(1), 3, "none", event=True).flip(1))


def test_a_wrong_number_of_frames_is_an_error() -> None:
    with pytest.raises(ValueError):
        run(small(None).eval(), torch.rand(1, 5, 2, 4, 4), timesteps=3, event=True)


@pytest.mark.parametrize("name", ["leak", "threshold", "v_reset"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_constant_that_is_not_finite_is_an_error(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is not finite"):
        LIF(**{name: value})


def test_one_bad_element_of_a_constant_is_an_error() -> None:
    with pytest.raises(ValueError, match="leak is not finite"):
        LIF(leak=torch.tensor([0.5, math.nan]))


def test_an_unknown_reset_is_an_error() -> None:
    with pytest.raises(ValueError, match="'zero'; it is 'hard' or 'soft'"):
        LIF(reset="zero")


def test_a_neuron_shows_its_settings() -> None:
    shown = repr(LIF(leak=torch.ones(3, 1, 1), reset="soft", strict=False, norm=MPBN((3, 4, 4), affine=False)))
    assert "leak=tensor(3, 1, 1), fires on >= 0.5, reset soft" in shown
    assert "(3, 4, 4), eps=1e-05, affine=False" in shown
    assert "reset hard to 0.25" in repr(LIF(v_reset=0.25))
