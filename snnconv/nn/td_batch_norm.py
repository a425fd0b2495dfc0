"""Threshold-dependent batch norm (tdBN, Zheng et al., arXiv 2011.05280)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TDBatchNorm(nn.Module):
    """`y = alpha * threshold * gamma * (x - mean) / sqrt(var + eps) + beta`, statistics and affine part per channel.

    The paper multiplies by alpha and the firing threshold at every call; other code starts gamma there and leaves it to training.
    A checkpoint holds neither of the two numbers, so it does not show which convention it was trained with:

        TDBatchNorm(C, threshold=0.5)                           the paper's: both are factors, gamma starts at 1
        TDBatchNorm(C, threshold=0.5, factor_in_weight=True)    an ordinary batch norm whose gamma starts at alpha * threshold

    Args:
        features: `C`.
        threshold: of the neuron behind it.
        alpha: 1, or 1 / sqrt(2) if two branches meet in a sum.
        factor_in_weight: which of the two conventions.
        eps, momentum: as in `torch.nn.BatchNorm2d`.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        features: int,
        threshold: float = 0.5,
        alpha: float = 1.0,
        factor_in_weight: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.factor = 1.0 if factor_in_weight else alpha * threshold
        self.weight = nn.Parameter(torch.full((features,), alpha * threshold if factor_in_weight else 1.0))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` `[B, C, ...]`; in training each step uses its own batch's statistics and tracks them."""
        if self.training:
            self.num_batches_tracked += 1
        mean, var = self.running_mean, self.running_var
        weight = self.weight if self.factor == 1 else self.weight * self.factor
        return nn.functional.batch_norm(x, mean, var, weight, self.bias, self.training, self.momentum, self.eps)

    def extra_repr(self) -> str:
        """What printing the layer shows in its brackets."""
        return f"{self.weight.numel()}, factor={self.factor:g}, eps={self.eps}"
