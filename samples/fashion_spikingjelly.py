"""A small convolutional network of spikingjelly for Fashion-MNIST, built as its tutorials build them.

It is shown one image, repeats it over `T` time steps, computes all of them in one call, layer by layer, and averages over time.
Its neurons are `MPBNLIFNode`: the normalised membrane potential is what they fire on and carry on.
"""

from __future__ import annotations

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn


def spiking(channels: int) -> neuron.MPBNLIFNode:
    """The neurons of a feature map."""
    return neuron.MPBNLIFNode(
        tau=2.0, v_threshold=0.5, surrogate_function=surrogate.ATan(), detach_reset=True, out_channels=channels
    )


class FashionNet(nn.Module):
    """Two spiking blocks and a linear readout."""

    def __init__(self, timesteps: int = 4) -> None:
        super().__init__()
        self.T = self.timesteps = timesteps
        self.input_shape = (1, 28, 28)
        self.features = nn.Sequential(
            layer.Conv2d(1, 8, 3, padding=1, bias=False),
            layer.BatchNorm2d(8),
            spiking(8),
            layer.MaxPool2d(2),
            layer.Conv2d(8, 32, 3, padding=1, bias=False),
            layer.BatchNorm2d(32),
            spiking(32),
            layer.MaxPool2d(2),
            layer.Flatten(),
        )
        self.readout = layer.Linear(32 * 7 * 7, 10)
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, 1, 28, 28]` in, logits `[B, 10]` averaged over time out."""
        x_seq = x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1)
        return self.readout(self.features(x_seq)).mean(0)


def mpbn() -> FashionNet:
    """An untrained network."""
    return FashionNet()


def logits(net: FashionNet, x: Tensor) -> Tensor:
    """The logits `[B, 10]` of images `[B, 1, 28, 28]`, from a fresh state."""
    functional.reset_net(net)
    return net(x)
