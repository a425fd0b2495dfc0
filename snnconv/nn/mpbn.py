"""Membrane-potential batch norm (MPBN, arXiv 2308.08359)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnconv.ir.neuron import MembraneNorm


class MPBN(nn.Module):
    """Membrane-potential batch norm (arXiv 2308.08359), per channel or per element.

    Args:
        features: `C` for statistics per channel of `[B, C, ...]`, or `(C, H, W)` for statistics per element.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.
        affine: whether gamma (`weight`) and beta (`bias`) are learned.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, features: int | tuple[int, ...], eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> None:
        super().__init__()
        size = (features,) if isinstance(features, int) else tuple(features)
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(size)) if affine else None
        self.bias = nn.Parameter(torch.zeros(size)) if affine else None
        self.register_buffer("running_mean", torch.zeros(size))
        self.register_buffer("running_var", torch.ones(size))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, u: Tensor) -> Tensor:
        """Normalise the membrane potential `u` `[B, C, ...]`; in training the batch's own statistics are used and tracked."""
        if not self.training:
            return self.frozen()(u)
        per_element = self.running_mean.dim() > 1
        gamma, beta = (None if t is None else t.flatten() for t in (self.weight, self.bias))
        self.num_batches_tracked += 1
        out = nn.functional.batch_norm(
            u.flatten(1) if per_element else u,
            self.running_mean.view(-1),
            self.running_var.view(-1),
            gamma,
            beta,
            training=True,
            momentum=self.momentum,
            eps=self.eps,
        )
        return out.view(u.shape)

    def frozen(self) -> MembraneNorm:
        """The norm at inference, sharing this layer's tensors."""
        return MembraneNorm(self.running_mean, self.running_var, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """What printing the layer shows in its brackets."""
        return f"{tuple(self.running_mean.shape)}, eps={self.eps}, affine={self.weight is not None}"
