"""Four small convolutional spiking networks for Fashion-MNIST, which differ in their norms.

`per_channel` normalises the membrane potential per channel, `per_element` per element of the feature map, with a soft reset in
its middle block. `psp` has PSP norms after its convolutions and on the membrane, where the normalised potential is carried on.
`tebn` has no membrane norm; a scale per time step follows the batch norm of each block. The forward of all of them is one time
step; the image is shown at each of `timesteps` steps and the logits averaged:

    logits = snnconv.nn.run(per_channel().eval(), images, timesteps=4)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from snnconv.nn import LIF, MPBN, TEBN, PSPNorm, run

TIMESTEPS = 4


class Block(nn.Sequential):
    """Convolution, norm, and a spiking neuron."""

    def __init__(self, inputs: int, outputs: int, norm: nn.Module, neuron: LIF) -> None:
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        super().__init__(OrderedDict(conv=conv, bn=norm, neuron=neuron))


class FashionNet(nn.Module):
    """Three spiking blocks, the last one with a skip around it, and a linear readout.

    Args:
        neuron: makes the neurons of a feature map from its number of channels, its side and the kind of reset.
        norm: makes the norm between a convolution and its neurons from the number of channels.
        reset: how the neurons of the middle block reset, "hard" or "soft".
    """

    timesteps = TIMESTEPS
    input_shape = (1, 28, 28)

    def __init__(
        self,
        neuron: Callable[[int, int, str], LIF],
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        reset: str = "hard",
    ) -> None:
        super().__init__()
        self.first = Block(1, 8, norm(8), neuron(8, 28, "hard"))
        self.middle = Block(8, 32, norm(32), neuron(32, 14, reset))
        self.last = Block(32, 32, norm(32), neuron(32, 7, "hard"))
        self.pool = nn.AvgPool2d(2)
        self.readout = nn.Linear(32 * 7 * 7, 10)

    def forward(self, x: Tensor) -> Tensor:
        """One time step: images `[B, 1, 28, 28]` in, logits `[B, 10]` out."""
        x = self.pool(self.first(x))
        x = self.pool(self.middle(x))
        x = x + self.last(x)
        return self.readout(x.flatten(1))


def per_channel() -> FashionNet:
    """An untrained network with one membrane norm per channel."""
    return FashionNet(lambda channels, side, reset: LIF(norm=MPBN(channels), reset=reset))


def per_element() -> FashionNet:
    """An untrained network with one membrane norm per element of each feature map."""
    return FashionNet(lambda channels, side, reset: LIF(norm=MPBN((channels, side, side)), reset=reset), reset="soft")


def psp() -> FashionNet:
    """An untrained network with PSP norms after its convolutions and on the membrane, which carries the normalised potential."""
    return FashionNet(lambda channels, side, reset: LIF(norm=PSPNorm(channels), carry_normalised=True, reset=reset), PSPNorm)


def tebn() -> FashionNet:
    """An untrained network with one batch norm per block and one scale of it per time step."""
    return FashionNet(lambda channels, side, reset: LIF(reset=reset), lambda channels: TEBN(channels, TIMESTEPS))


def logits(net: FashionNet, x: Tensor) -> Tensor:
    """The logits `[B, 10]` of images `[B, 1, 28, 28]`, averaged over time, from a fresh state."""
    return run(net, x, net.timesteps)
