"""How folding time grows with the number of thresholds and with T, in one run.

    python -m benchmarks.folding

A neuron layer with a membrane norm per element, and one with a norm per channel in front of it, folded with different numbers of
elements and of time steps; printed are the quietest of several rounds and the time per element.
"""

from __future__ import annotations

import torch
from torch import nn

from snnconv.capture import capture
from snnconv.fold import fold
from snnconv.ir.program import Origin, SpikingProgram, TimeContract
from snnconv.latency import measure
from snnconv.nn import BNTT, LIF, MPBN

ROUNDS = 3
CHANNELS = 64
SIDES = (16, 32, 64, 128)
STEPS = (4, 16, 64)


def main() -> None:
    """Fold and print."""
    torch.manual_seed(0)
    print(f"{'elements':>10}{'seconds':>10}{'ns per element':>16}")
    for side in SIDES:
        elements = CHANNELS * side * side
        seconds = _quietest(_program(MPBN((CHANNELS, side, side)), nn.Identity(), side, 4))
        print(f"{elements:>10,}{seconds:>10.3f}{1e9 * seconds / elements:>16.0f}")
    print(f"\n{'channels':>10}{'seconds':>10}")
    for channels in (64, 512, 4096):
        program = _program(MPBN(channels), nn.Conv2d(channels, channels, 1, groups=channels), 1, 4, channels)
        print(f"{channels:>10,}{_quietest(program):>10.3f}")
    print(f"\n{'steps':>10}{'MPBN':>10}{'BNTT':>10}")
    for steps in STEPS:
        shared = _quietest(_program(MPBN((CHANNELS, 32, 32)), nn.Identity(), 32, steps))
        own = _quietest(_program(MPBN((CHANNELS, 32, 32)), BNTT(CHANNELS, steps), 32, steps))
        print(f"{steps:>10}{shared:>10.3f}{own:>10.3f}")


def _program(membrane: MPBN, before: nn.Module, side: int, timesteps: int, channels: int = CHANNELS) -> SpikingProgram:
    net = nn.Sequential(before, LIF(norm=membrane), nn.Flatten()).eval().requires_grad_(False)
    with torch.no_grad():
        for norm in (m for m in net.modules() if isinstance(m, MPBN | BNTT)):
            norm.running_mean.uniform_(-0.3, 0.3)
            norm.running_var.uniform_(0.2, 2.0)
            norm.weight.uniform_(-0.5, 1.5)
    contract = TimeContract(timesteps, (channels, side, side))
    return capture(net, {"1": net[1].neuron()}, contract, Origin("benchmark", "0" * 64))


def _quietest(program: SpikingProgram) -> float:
    return measure(fold, program, runs=ROUNDS, warm_up=0).best / 1e3


if __name__ == "__main__":
    main()
