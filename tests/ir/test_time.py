"""What is shown at each time step, and how the outputs of all steps become one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snnconv.ir.time import READOUTS, TimeContract, read_out


def test_read_out_reduces_over_the_steps() -> None:
    steps = [torch.tensor([[1.0, 9.0]]), torch.tensor([[3.0, 6.0]])]
    found = {kind: read_out(steps, kind).tolist() for kind in READOUTS}
    assert found == {
        "mean": [[2.0, 7.5]],
        "sum": [[4.0, 15.0]],
        "last": [[3.0, 6.0]],
        "max": [[3.0, 9.0]],
        "none": [[[1.0, 9.0], [3.0, 6.0]]],
    }


def test_unknown_read_out_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'median'; it is one of mean, sum, last, max, none"):
        read_out([torch.zeros(1, 2)], "median")


@pytest.mark.parametrize("event", [False, True])
def test_each_step_is_shown_its_frame_and_its_number_in_order(event: bool) -> None:
    contract = TimeContract(3, (4,), event)
    x = torch.rand(contract.batch_shape(2), generator=torch.Generator().manual_seed(0))
    seen: list[tuple[Tensor, int]] = []

    def step(frame: Tensor, t: int) -> tuple[Tensor]:
        seen.append((frame, t))
        return (frame * t,)

    (outputs,) = contract.reading_out("none").run(step, x)
    assert [t for _, t in seen] == [0, 1, 2]
    assert all(torch.equal(frame, x[:, t] if event else x) for frame, t in seen)
    assert all(torch.equal(y, frame * t) for y, (frame, t) in zip(outputs.unbind(1), seen, strict=True))


@pytest.mark.parametrize("readout", READOUTS)
def test_a_run_is_its_steps_read_out(readout: str) -> None:
    contract, x = TimeContract(3, (4,), readout=readout), torch.arange(8.0).view(2, 4)
    (found,) = contract.run(lambda frame, t: (frame + t,), x)
    assert torch.equal(found, read_out([x, x + 1, x + 2], readout))


def test_another_number_of_frames_is_an_error() -> None:
    contract = TimeContract(3, (4,), event=True)
    with pytest.raises(ValueError, match="2 frames for 3 time steps"):
        contract.run(lambda frame, t: (frame,), torch.zeros(1, 2, 4))
