"""Temporal accumulated batch norm (TAB, Jiang et al., ICLR 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnconv.nn.per_step import At, PerStep


class TAB(PerStep):
    """`y[t] = p[t]^2 * batch_norm_t(x[t])`: statistics, affine part and a scale per step.

    The paper tracks, for step t, the statistics of all steps up to t; here each step tracks those of its own batches. Inference
    does not depend on how they came about.

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
        self.p = nn.Parameter(torch.ones(timesteps))
        self.weight = nn.Parameter(torch.ones(timesteps, features))
        self.bias = nn.Parameter(torch.zeros(timesteps, features))
        self.register_buffer("running_mean", torch.zeros(timesteps, features))
        self.register_buffer("running_var", torch.ones(timesteps, features))

    def at_step(self, x: Tensor, at: At) -> Tensor:
        """One step on `x` `[B, C, ...]`."""
        mean, var, weight, bias = map(at, (self.running_mean, self.running_var, self.weight, self.bias))
        y = nn.functional.batch_norm(x, mean, var, weight, bias, self.training, self.momentum, self.eps)
        return y * at(self.p).square()

    def extra_repr(self) -> str:
        """What printing the layer shows in its brackets."""
        return f"{self.weight.shape[1]}, timesteps={self.timesteps}, eps={self.eps}"
