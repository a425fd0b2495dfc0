"""Running an artifact of one step over time, the same way for every engine."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snnconv.artifact.metadata import Metadata
from snnconv.engines.engine import Observation, failing
from snnconv.ir.program import TIME_STEP
from snnconv.ir.time import Outputs

State = dict[str, Tensor]
Stepped = tuple[Outputs, State, dict[str, Tensor], dict[str, Tensor]]
"""What a step gives: outputs, next state, potentials, spikes."""

Step = Callable[[Tensor, State], Stepped]


@failing()
def run_steps(step: Step, x: Tensor, metadata: Metadata) -> Observation:
    """Loop `step` over `x` from its initial state, in which every state is 0 and no step is counted, and read out.

    Raises `RunFailure` if a step does not run.
    """
    shapes = {**metadata.neurons, **metadata.memories}
    state = {name: torch.zeros(x.shape[0], *shape, dtype=x.dtype) for name, shape in shapes.items()}
    memories: dict[str, list[Tensor]] = {name: [] for name in metadata.memories}
    if metadata.counts_steps:
        state[TIME_STEP] = torch.zeros(x.shape[0], dtype=torch.int64)
    potentials: dict[str, list[Tensor]] = {}
    spikes: dict[str, list[Tensor]] = {}

    def observed(frame: Tensor, t: int) -> Outputs:
        nonlocal state
        for name, found in memories.items():
            found.append(state[name])
        outputs, state, us, fired = step(frame, state)
        for kept, seen in ((potentials, us), (spikes, fired)):
            for name, value in seen.items():
                kept.setdefault(name, []).append(value)
        return outputs

    y, *further = metadata.contract.run(observed, x)
    return Observation(y, potentials, spikes, memories, tuple(further))
