"""Every norm with its equation, written out from the papers in plain arithmetic, and with constants as training leaves them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snnconv.nn import BNTT, LIF, MPBN, TAB, TEBN, PSPNorm, TDBatchNorm

T = 4
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch norm": nn.BatchNorm2d,
    "without affine": lambda c: nn.BatchNorm2d(c, affine=False),
    "PSP": PSPNorm,
    "tdBN": lambda c: TDBatchNorm(c, threshold=0.7, alpha=0.5),
    "tdBN in weight": lambda c: TDBatchNorm(c, threshold=0.7, factor_in_weight=True),
    "TEBN": lambda c: TEBN(c, T),
    "BNTT": lambda c: BNTT(c, T),
    "TAB": lambda c: TAB(c, T),
}
SIGNS = {"positive": (0.3, 1.6), "mixed": (-0.8, 1.4), "negative": (-1.6, -0.3)}


def settled(net: nn.Module, seed: int = 0, sign: str = "mixed") -> nn.Module:
    """Give every norm of `net` statistics, gammas of the sign asked for and one of 0 where signs are mixed; evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    ranges = {"running_mean": (-0.3, 0.3), "running_var": (0.2, 2.0), "running_moment": (0.2, 2.0), "bias": (-0.3, 0.8)}
    ranges |= {"weight": SIGNS[sign], "scale": (0.4, 1.6), "p": (-1.2, 1.2)}
    with torch.no_grad():
        for module in net.modules():
            linear = isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
            for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
                if linear:
                    size = value[0].numel() if value.dim() > 1 else 25
                    value.copy_((torch.rand(value.shape, generator=generator) * 2 - 1) * 1.7 / size**0.5)
                elif name in ranges and isinstance(module, KNOWN):
                    low, high = ranges[name]
                    value.copy_(torch.rand(value.shape, generator=generator) * (high - low) + low)
                    if name == "weight" and sign == "mixed":
                        value.view(-1)[-1] = 0.0
    return net.eval()


KNOWN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, MPBN, PSPNorm, TDBatchNorm, TEBN, BNTT, TAB)


def equation(norm: nn.Module, x: Tensor, t: int) -> Tensor:
    """What the paper says that `norm` makes of `x` `[B, C, ...]` at step `t` at inference."""

    def wide(values: Tensor) -> Tensor:
        return values if values.dim() > 1 else values.view(-1, *[1] * (x.dim() - 2))

    if isinstance(norm, PSPNorm):
        return x / (wide(norm.running_moment) + norm.eps).sqrt()
    if isinstance(norm, BNTT):
        centred = (x - wide(norm.running_mean[t])) / (wide(norm.running_var[t]) + norm.eps).sqrt()
        return wide(norm.weight[t]) * centred
    if isinstance(norm, TAB):
        centred = (x - wide(norm.running_mean[t])) / (wide(norm.running_var[t]) + norm.eps).sqrt()
        return norm.p[t] ** 2 * (wide(norm.weight[t]) * centred + wide(norm.bias[t]))
    centred = (x - wide(norm.running_mean)) / (wide(norm.running_var) + norm.eps).sqrt()
    if norm.weight is None:
        return centred
    if isinstance(norm, TDBatchNorm):
        return wide(norm.weight) * norm.factor * centred + wide(norm.bias)
    y = wide(norm.weight) * centred + wide(norm.bias)
    return norm.scale[t] * y if isinstance(norm, TEBN) else y


class Plain:
    """A `LIF`, step by step, from the equations alone: leak, charge, norm, fire, reset."""

    def __init__(self, layer: LIF) -> None:
        self.layer = layer
        self.kept: Tensor | float = 0.0
        self.spikes: list[Tensor] = []

    def __call__(self, current: Tensor) -> Tensor:
        layer = self.layer
        u = layer.leak * self.kept + current
        v = u if layer.norm is None else equation(layer.norm, u, len(self.spikes))
        spikes = (v > layer.threshold if layer.strict else v >= layer.threshold).to(u.dtype)
        stays = v if layer.carry_normalised else u
        if layer.soft:
            self.kept = stays - layer.threshold * spikes
        else:
            self.kept = stays * (1 - spikes) + layer.v_reset * spikes
        self.spikes.append(spikes)
        return spikes
