"""Batch norm through time (BNTT, Kim & Panda, arXiv 2010.01729)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnconv.nn.per_step import At, PerStep


class BNTT(PerStep):
    """`y[t] = weight[t] * (x[t] - mean[t]) / sqrt(var[t] + eps)`: one batch norm per step, without a bias.

    Args:
        features: `C`.
        timesteps: `T`.
        eps: added to the variance; the authors' code has 1e-4.
        momentum: weight of a new batch in the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, timesteps: int, eps: float = 1e-4, momentum: float = 0.1) -> None:
        super().__init__(timesteps)
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(timesteps, features))
        self.register_buffer("running_mean", torch.zeros(timesteps, features))
        self.register_buffer("running_var", torch.ones(timesteps, features))

    def at_step(self, x: Tensor, at: At) -> Tensor:
        """One step on `x` `[B, C, ...]`."""
        mean, var, weight = at(self.running_mean), at(self.running_var), at(self.weight)
        return nn.functional.batch_norm(x, mean, var, weight, None, self.training, self.momentum, self.eps)

    def extra_repr(self) -> str:
        """What printing the layer shows in its brackets."""
        return f"{self.weight.shape[1]}, timesteps={self.timesteps}, eps={self.eps}"
