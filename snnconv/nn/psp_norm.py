"""PSP norm: normalisation by the second raw moment, without a mean (Ikegawa et al., arXiv 2203.01544)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnconv.ir.neuron import MembraneNorm


class PSPNorm(nn.Module):
    """`y = x / sqrt(E[x^2] + eps)`, the moment per channel or per element; after a layer, or as the membrane norm of a `LIF`.

    Nothing is subtracted, so silence stays silence. In training the moment is that of the batch `[B, C, ...]` and is tracked as
    `running_moment`; at inference it is the tracked one.

    Args:
        features: `C` for one moment per channel, or `(C, H, W)` for one per element.
        eps: added to the moment (lambda in the paper).
        momentum: weight of a new batch in the running moment.
    """

    running_moment: Tensor
    zero_mean: Tensor

    def __init__(self, features: int | tuple[int, ...], eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        size = (features,) if isinstance(features, int) else tuple(features)
        self.eps, self.momentum = eps, momentum
        self.register_buffer("running_moment", torch.ones(size))
        self.register_buffer("zero_mean", torch.zeros(size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` `[B, C, ...]`."""
        if not self.training:
            return self.frozen()(x)
        per_element = self.running_moment.dim() > 1
        moment = x.square().mean(0 if per_element else [0, *range(2, x.dim())])
        with torch.no_grad():
            self.running_moment.lerp_(moment, self.momentum)
        root = (moment + self.eps).sqrt()
        return x / (root if per_element else root.view(-1, *[1] * (x.dim() - 2)))

    def frozen(self) -> MembraneNorm:
        """The norm at inference, sharing this layer's tensors: batch norm with a mean of 0 and no affine part."""
        return MembraneNorm(self.zero_mean, self.running_moment, None, None, self.eps, kind="PSPNorm")

    def extra_repr(self) -> str:
        """What printing the layer shows in its brackets."""
        return f"{tuple(self.running_moment.shape)}, eps={self.eps}"
