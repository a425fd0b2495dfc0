"""Records the runs in `official/` with the MPBN authors' own code (github.com/yfguo91/MPBN at 149379d).

    python -m tests.golden.record FOLDER

where FOLDER holds that repository. Processors add up a convolution in different orders, which tips a spike that sits on its
threshold; the first seed is taken with which every potential stays clear of it, so that a run can be compared exactly anywhere.
"""

from __future__ import annotations

import json
import sys
import types
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.golden import OFFICIAL, weights

CLEAR = 4e-6
CASES = {  # name: time steps, event, input [B, C, H, W], classes
    "resnet20_cifar_modified": (5, True, (2, 2, 11, 14), 11),
    "resnet19_cifar": (4, False, (1, 3, 7, 6), 10),
    "resnet20_cifar": (3, True, (2, 2, 5, 7), 7),
    "resnet32_cifar": (2, False, (1, 3, 7, 5), 10),
    "resnet44_cifar": (2, True, (1, 2, 5, 5), 10),
    "resnet56_cifar": (2, False, (1, 3, 4, 5), 100),
    "resnet110_cifar": (2, False, (1, 3, 3, 3), 10),
    "ResNet18": (4, False, (2, 3, 33, 29), 20),
    "ResNet34": (3, True, (1, 2, 35, 41), 20),
    "vgg11_bn": (2, False, (1, 3, 33, 35), 10),
    "vgg13_bn": (1, False, (1, 3, 37, 33), 10),
    "vgg16_bn": (2, True, (1, 3, 32, 33), 7),
    "vgg19_bn": (2, False, (1, 3, 32, 32), 100),
}


def record(name: str) -> None:
    steps, event, shape, classes = CASES[name]
    for seed in count():
        generator = np.random.default_rng(seed)
        x = generator.poisson(0.5, (shape[0], steps, *shape[1:])) if event else generator.integers(-64, 65, shape) / 32
        net = authors_network(name, steps, shape[1], classes)
        layout = {key: tuple(value.shape) for key, value in net.state_dict().items()}
        net.load_state_dict(weights(layout, seed))
        y, spikes, clear = observed(net, torch.from_numpy(x.astype(np.float32)))
        if clear > CLEAR:
            break
    about = {"arch": name, "timesteps": steps, "event": event, "seed": seed, "layout": layout}
    about["neurons"] = {neuron: list(seen.shape) for neuron, seen in spikes.items()}
    packed = {f"spikes/{neuron}": np.packbits(seen.numpy().astype(bool)) for neuron, seen in spikes.items()}
    np.savez_compressed(OFFICIAL / f"{name}.npz", about=json.dumps(about), x=x.astype(np.float16), y=y.numpy(), **packed)
    rates = [float(seen.mean()) for seen in spikes.values()]
    sys.stdout.write(f"{name}: seed {seed}, {clear:.1e} clear of the threshold, rates {min(rates):.2f} to {max(rates):.2f}\n")


def authors_network(name: str, steps: int, inputs: int, classes: int) -> nn.Module:
    from models import resnet, spike_model, vggcifar

    if name.startswith("vgg"):  # three input channels are written into it
        net = getattr(vggcifar, name)(num_classes=classes)
    else:
        net = getattr(resnet, name)(input_c=inputs, num_classes=classes)
    spiking = spike_model.SpikeModel(net, steps)
    spiking.set_spike_state(True)
    return spiking.eval()


def observed(net: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor], float]:
    """Logits, the spikes of every neuron, and how near a normalised potential came to the threshold of 0.5."""
    from models.spike_layer import LIFAct

    spikes: dict[str, Tensor] = {}
    nearest = [float("inf")]
    for name, layer in net.named_modules():
        if isinstance(layer, LIFAct):
            layer.register_forward_hook(lambda _, inputs, output, name=name: spikes.update({name: output}))
            layer.bn.register_forward_hook(lambda _, inputs, output: nearest.append(float((output - 0.5).abs().min())))
    with torch.no_grad():
        return net(x), spikes, min(nearest)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(sys.argv[1])))
    stub: Any = types.SimpleNamespace(embed=None)
    sys.modules["IPython"] = stub  # imported by the authors, never called
    torch.set_num_threads(1)
    for each in sys.argv[2:] or CASES:
        record(each)
