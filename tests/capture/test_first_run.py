"""The first run tells which neurons run on which shapes, and refuses a step that does not run or does not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snnconv.capture.first_run import neurons_that_run
from snnconv.capture.slots import Interface, Slot, stand_in
from snnconv.errors import Refused
from snnconv.ir.program import TimeContract
from tests.capture.wired import SHAPE, Wired, captured
from tests.networks import program_of, trained


def test_a_neuron_called_twice_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"neuron a is called 2 times in one time step.*; give each place its own neuron"):
        captured(lambda m, x: m.head(m.a(m.a(m.conv(x))).flatten(1)))


def test_one_neuron_under_two_names_is_refused_by_name() -> None:
    net = Wired(lambda m, x: m.head(m.b(m.a(m.conv(x))).flatten(1)))
    net.b = net.a
    with pytest.raises(Refused, match="give each place its own neuron"):
        program_of(trained(net), shape=(2, 4, 4))


@pytest.mark.parametrize("shape", [(3, 4, 4), (2, 5, 4), (2, 4)])
def test_an_input_shape_that_does_not_run_is_refused(shape: tuple[int, ...]) -> None:
    net = trained(Wired(lambda m, x: m.head(m.a(m.conv(x)).flatten(1))))
    with pytest.raises(Refused, match=rf"does not run on an input of shape \[{shape[0]}.*--input-shape C,H,W"):
        program_of(net, shape=shape)


NO_OUTPUT_OVER_TIME = {
    "class numbers": lambda m, x: m.a(m.conv(x)).flatten(1).argmax(1),
    "one number for the batch": lambda m, x: m.a(m.conv(x)).sum(),
}


@pytest.mark.parametrize("output", NO_OUTPUT_OVER_TIME)
def test_an_output_that_cannot_be_read_out_is_refused(output: str) -> None:
    with pytest.raises(Refused):
        captured(NO_OUTPUT_OVER_TIME[output])


def test_a_wrong_shape_is_asked_for_only_if_the_shape_is_wrong() -> None:
    def failing(m: Wired, x: Tensor) -> Tensor:
        raise KeyError("gain")

    with pytest.raises(Refused, match=r"KeyError: 'gain', in test_first_run.py line \d+ \(raise") as caught:
        captured(failing)
    assert "--input-shape" not in str(caught.value)


def run_through(wiring: Callable[[Wired, Tensor], Tensor]) -> list[Slot]:
    net, slot = Wired(wiring), Slot("a", Interface(), frozenset({"state"}))
    stand_in(net.a, slot)
    return neurons_that_run(net, [slot], TimeContract(4, SHAPE), lambda module, x: (module(x),))


def a_threshold(m: Wired, x: Tensor) -> Tensor:
    m.a.threshold = 1.0 + (x.amax((1, 2, 3), keepdim=True) - 20).relu()
    return m.head(m.a(m.conv(x)).flatten(1))


def an_argument(m: Wired, x: Tensor) -> Tensor:
    current = m.conv(x)
    return m.head(m.a(current, mask=(current < 50).float()).flatten(1))


def a_state_after_the_call(m: Wired, x: Tensor) -> Tensor:
    spikes = m.a(m.conv(x))
    m.a.state = m.conv(x).clamp(min=-9)
    return m.head(spikes.flatten(1))


TOLD = {"threshold": a_threshold, "argument mask": an_argument, "state after its call": a_state_after_the_call}


@pytest.mark.parametrize("name", TOLD)
def test_what_a_neuron_is_told_besides_its_current_may_not_follow_from_the_input(name: str) -> None:
    with pytest.raises(Refused, match=rf"gives neuron a more than its current: its {name} follows from the input"):
        run_through(TOLD[name])


def test_it_may_be_told_the_same_on_every_input() -> None:
    def wiring(m: Wired, x: Tensor) -> Tensor:
        m.a.threshold, m.a.state = torch.ones(()), torch.zeros(x.shape[0], 3, 4, 4)
        spikes = m.a(m.conv(x), torch.zeros_like(x))
        m.a.state = None
        return m.head(spikes.flatten(1))

    (slot,) = run_through(wiring)
    assert slot.shapes == [(3, 4, 4)]
