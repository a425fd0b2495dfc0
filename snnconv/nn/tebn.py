"""Temporal effective batch norm (TEBN, Duan et al., NeurIPS 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnconv.nn.per_step import At, PerStep


class TEBN(PerStep):
    """`y[t] = scale[t] * batch_norm(x[t])`: one batch norm for all steps, one learned scale per step.

    The paper normalises a training batch over all steps at once; here a call is one step, so each step uses its own batch's
    statistics, and all steps track the same running ones.

    Args:
        features: `C`.
        timesteps: `T`.
        eps, momentum: as in `torch.nn.BatchNorm2d`.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, timesteps: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(timesteps)
        self.eps, self.momentum = eps, momentum
        self.scale = nn.Parameter(torch.ones(timesteps))
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def at_step(self, x: Tensor, at: At) -> Tensor:
        """One step on `x` `[B, C, ...]`."""
        mean, var = self.running_mean, self.running_var
        y = nn.functional.batch_norm(x, mean, var, self.weight, self.bias, self.training, self.momentum, self.eps)
        return y * at(self.scale)

    def extra_repr(self) -> str:
        """What printing the layer shows in its brackets."""
        return f"{self.weight.numel()}, timesteps={self.timesteps}, eps={self.eps}"
