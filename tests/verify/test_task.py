"""The task: decisions are counted by samples, whatever the shape of the output."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snnconv.engines import RunFailure
from snnconv.verify.task import tally, tally_bare


def outputs(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(4, 5), (4, 3, 5), (4, 5, 2, 2), (4, 3, 5, 2, 2)])
def test_a_sample_agrees_if_all_of_its_decisions_do(shape: tuple[int, ...]) -> None:
    """Outputs, those of every step, dense maps, and those of every step."""
    y = outputs(*shape)
    other = y.clone()
    other[2] = -other[2]
    found = tally(y, other, None)
    assert (found.samples, found.agreeing, found.explained) == (4, 3, 0)
    excused = torch.tensor([False, False, True, False])
    assert tally(y, other, None, excused).explained == 1
    bare = tally_bare(found, y, y, other, None, excused)
    assert (bare.bare, bare.bare_agreeing, bare.bare_unlike, bare.bare_explained) == (4, 3, 1, 0)


def test_labels_count_what_either_side_gets_right() -> None:
    y = outputs(4, 5)
    labels = y.argmax(1)
    other = y.clone()
    other[0] = -other[0]
    found = tally(y, other, labels)
    assert (found.labelled, found.right_reference, found.right_candidate) == (4, 4, 3)


def test_an_output_of_another_shape_is_a_failure_of_the_run() -> None:
    with pytest.raises(RunFailure, match=r"output is \[4, 6\], not \[4, 5\]"):
        tally(outputs(4, 5), outputs(4, 6), None)
    with pytest.raises(RunFailure, match=r"output is \[3, 5\], not \[4, 5\]"):
        tally_bare(tally(outputs(4, 5), outputs(4, 5), None), outputs(4, 5), outputs(4, 5), outputs(3, 5), None)
