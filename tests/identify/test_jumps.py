"""What jumps is what torch computes, by comparisons alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from snnconv.identify.firing import Comparison, comparisons, split_off

B = 23
EXACT = torch.tensor([-torch.inf, torch.inf, 0.0, -0.0, *(k / 4 for k in range(-24, 25))])
NEAR = torch.cat([EXACT, torch.nextafter(EXACT, EXACT + 1), torch.nextafter(EXACT, EXACT - 1)])

JUMPS: dict[str, tuple[Callable[[Tensor], Tensor], list[tuple[float, bool]]]] = {
    "sign": (torch.sign, [(0.0, True), (0.0, False)]),
    "method": (lambda u: u.sgn(), [(0.0, True), (0.0, False)]),
    "step": (lambda u: torch.heaviside(u, torch.tensor(0.0)), [(0.0, True), (0.0, False)]),
    "step at half": (lambda u: torch.heaviside(u, values=torch.full_like(u, 0.5)), [(0.0, True), (0.0, False)]),
    "one level": (lambda u: torch.clamp(torch.ceil(u), 0, 1), [(0.0, True)]),
    "three levels": (lambda u: u.floor().clamp(max=3, min=0), [(1.0, False), (2.0, False), (3.0, False)]),
    "ternary": (lambda u: torch.clip(torch.round(u), -1, 1), [(-0.5, False), (0.5, True)]),
    "rounded last": (lambda u: torch.round(torch.clamp(u, min=0, max=2)), [(0.5, True), (1.5, False)]),
    "cut at an odd place": (lambda u: torch.clamp(u, -0.7, 1.2).ceil(), [(0.0, True), (1.0, True)]),
}


class Function(nn.Module):
    """A layer that computes one function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, u: Tensor) -> Tensor:
        return self.function(u)


@pytest.mark.parametrize("name", JUMPS)
def test_it_is_computed_by_neurons_alone_to_the_last_value(name: str) -> None:
    function, cuts = JUMPS[name]
    layer = Function(function)
    found = comparisons(lambda: layer(torch.zeros(B, 3)), B)
    assert found == tuple(Comparison(*cut) for cut in cuts)
    split_off(layer, found)
    decided: list[Tensor] = []
    for path, inner in layer.named_modules():
        if path:
            inner.register_forward_hook(lambda layer, inputs, spikes: decided.append(spikes))
    assert torch.equal(layer(NEAR), function(NEAR)) and len(decided) == len(cuts)


@pytest.mark.parametrize(
    "function",
    [torch.floor, lambda u: torch.clamp(torch.floor(u), min=0), lambda u: torch.clamp(torch.floor(u), 0, 1000), torch.clamp_min],
    ids=["floor", "without an upper bound", "too many", "another"],
)
def test_what_has_no_bound_is_left_as_it_is(function: Callable[..., Tensor]) -> None:
    assert (
        comparisons(lambda: function(*([torch.zeros(B, 3), 0.0] if function is torch.clamp_min else [torch.zeros(B, 3)])), B)
        == ()
    )


def test_weights_are_not_taken_for_potentials() -> None:
    layer = nn.Linear(3, B)
    assert comparisons(lambda: nn.functional.linear(torch.zeros(B, 3), layer.weight.sign()), B) == ()
