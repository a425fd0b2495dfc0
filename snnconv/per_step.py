"""Constants that change from step to step, as TEBN, BNTT and TAB learn them: `[T, ...]`, one entry per time step.

In a captured step graph such a constant stands behind one operator, `snnconv::at_step`, which gives the entry of the step that
runs. It has no kernel on purpose: whoever runs a graph over time knows the step.
"""

from __future__ import annotations

import torch
from torch import Tensor

torch.library.define("snnconv::at_step", "(Tensor constant) -> Tensor")


@torch.library.register_fake("snnconv::at_step")
def _entry(constant: Tensor) -> Tensor:
    return constant.new_empty(constant.shape[1:])


AT_STEP = torch.ops.snnconv.at_step.default
