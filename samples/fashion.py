"""Two small convolutional spiking networks for Fashion-MNIST, which differ in their membrane norms.

`per_channel` normalises the membrane potential per channel, `per_element` per element of the feature map, with a soft reset in
its middle block. The forward of both is one time step; the image is shown at each of `timesteps` steps and the logits averaged:

    logits = snnconv.nn.run(per_channel().eval(), images, timesteps=4)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from snnconv.nn import LIF, MPBN


class Block(nn.Sequential):
    """Convolution, batch norm, and a spiking neuron with a membrane norm."""

    def __init__(self, inputs: int, outputs: int, norm: MPBN, reset: str = "hard") -> None:
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                bn=nn.BatchNorm2d(outputs),
                neuron=LIF(norm=norm, reset=reset),
            )
        )


class FashionNet(nn.Module):
    """Three spiking blocks, the last one with a skip around it, and a linear readout.

    Args:
        norm: makes the membrane norm of a feature map from its number of channels and its side.
        reset: how the neurons of the middle block reset, "hard" or "soft".
    """

    timesteps = 4
    input_shape = (1, 28, 28)

    def __init__(self, norm: Callable[[int, int], MPBN], reset: str = "hard") -> None:
        super().__init__()
        self.first = Block(1, 8, norm(8, 28))
        self.middle = Block(8, 32, norm(32, 14), reset)
        self.last = Block(32, 32, norm(32, 7))
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
    return FashionNet(lambda channels, side: MPBN(channels))


def per_element() -> FashionNet:
    """An untrained network with one membrane norm per element of each feature map."""
    return FashionNet(lambda channels, side: MPBN((channels, side, side)), reset="soft")
