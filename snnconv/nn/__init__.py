"""Trainable spiking layers whose inference equations are the canonical neuron's, for networks built and trained here.

A network is an ordinary `nn.Module` whose forward is *one time step*; its neurons keep their membrane potential between calls:

    net = nn.Sequential(Conv2d(1, 16, 3), BatchNorm2d(16), LIF(norm=MPBN(16)), Flatten(), LazyLinear(10))
    logits = run(net, images, timesteps=4)
"""

from snnconv.nn.bntt import BNTT
from snnconv.nn.lif import LIF
from snnconv.nn.mpbn import MPBN
from snnconv.nn.over_time import neurons, reset, run
from snnconv.nn.per_step import PerStep
from snnconv.nn.psp_norm import PSPNorm
from snnconv.nn.tab import TAB
from snnconv.nn.td_batch_norm import TDBatchNorm
from snnconv.nn.tebn import TEBN

__all__ = [
    "BNTT",
    "LIF",
    "MPBN",
    "TAB",
    "TEBN",
    "PSPNorm",
    "PerStep",
    "TDBatchNorm",
    "neurons",
    "reset",
    "run",
]
