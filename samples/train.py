"""Train a network of the `fashion*.py` on Fashion-MNIST, or write the small test file that stands beside the checkpoints.

    python samples/train.py per_channel -o samples/fashion_per_channel.pth
    python samples/train.py per_element -o samples/fashion_per_element.safetensors
    python samples/train.py psp -o samples/fashion_psp.safetensors
    python samples/train.py tebn -o samples/fashion_tebn.safetensors
    python samples/train.py mpbn -o samples/fashion_spikingjelly.safetensors
    python samples/train.py leaky -o samples/fashion_snntorch.safetensors
    python samples/train.py test500 -o samples/fashion_test500.npz

An image is its pixels divided by 255, as float32, and nothing else.
"""

from __future__ import annotations

import argparse
import gzip
import struct
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from snnconv.nn import MPBN, TEBN, PSPNorm

NETWORKS = {
    **dict.fromkeys(("per_channel", "per_element", "psp", "tebn"), "fashion"),
    "mpbn": "fashion_spikingjelly",
    "leaky": "fashion_snntorch",
}
"""The file that each network stands in, beside a function `logits(net, images)`."""
Logits = Callable[[nn.Module, Tensor], Tensor]
SUFFIXES = {**dict.fromkeys(NETWORKS, (".pth", ".safetensors")), "test500": (".npz",)}
DATA = Path("/usr/share/datasets/fashion-mnist")


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in a gzip IDX file: two zero bytes, the type, the number of dimensions, the sizes, the values."""
    raw = gzip.decompress(path.read_bytes())
    start = 4 + 4 * raw[3]
    return np.frombuffer(raw, np.uint8, offset=start).reshape(struct.unpack(f">{raw[3]}I", raw[4:start]))


def idx_files(data: Path, part: str) -> tuple[Path, Path]:
    """The files with the images and the labels of `part`, "train" or "t10k"."""
    return data / f"{part}-images-idx3-ubyte.gz", data / f"{part}-labels-idx1-ubyte.gz"


def load(data: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The images of `part` as float32 `[N, 1, 28, 28]` in 0..1, and their labels as int64 `[N]`."""
    images, labels = (read_idx(path) for path in idx_files(data, part))
    return images[:, None].astype(np.float32) / 255, labels.astype(np.int64)


def tensors(data: Path, part: str) -> tuple[Tensor, Tensor]:
    """The same as `load`, as tensors."""
    images, labels = load(data, part)
    return torch.from_numpy(images), torch.from_numpy(labels)


def norms_over_time(net: nn.Module) -> list[nn.Module]:
    """The norms of `net` that see another distribution at every step, in the order of its blocks."""
    return [module for module in net.modules() if isinstance(module, MPBN | PSPNorm | TEBN)]


def fit(net: nn.Module, logits: Logits, images: Tensor, labels: Tensor, epochs: int, batch: int, rate: float) -> None:
    """Train `net` in place with Adam under a one-cycle schedule, on the cross entropy of the time-averaged logits.

    In training every time step is normalised by its own batch, at inference all of them by the running statistics. The last
    epoch therefore keeps these norms at those, so that the weights fit what inference computes.
    """
    steps = len(images) // batch
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps)
    net.train()
    for epoch in range(epochs):
        if 0 < epoch == epochs - 1:
            for norm in norms_over_time(net):
                norm.eval()
        total = 0.0
        for picked in torch.randperm(len(images))[: steps * batch].split(batch):
            loss = nn.functional.cross_entropy(logits(net, images[picked]), labels[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: mean loss {total / steps:.4f}", flush=True)


@torch.no_grad()
def hits(net: nn.Module, logits: Logits, images: Tensor, labels: Tensor, batch: int = 500) -> Tensor:
    """Which images `net` classifies as labelled, as bool `[N]`."""
    net.eval()
    return torch.cat([logits(net, part).argmax(1) for part in images.split(batch)]) == labels


def negative_gammas(net: nn.Module) -> str:
    """How many gammas of each membrane norm are negative: their neurons fire below a threshold, not above it."""
    gammas = [norm.weight for norm in norms_over_time(net) if isinstance(norm, MPBN) and norm.weight is not None]
    return ", ".join(f"{int((gamma < 0).sum())} of {gamma.numel()}" for gamma in gammas) or "no membrane norm has a gamma"


def save(net: nn.Module, path: Path) -> None:
    """Write the state dict, in the format that the suffix names."""
    if path.suffix == ".safetensors":
        save_file(net.state_dict(), path)
    else:
        torch.save(net.state_dict(), path)


def train(args: argparse.Namespace) -> None:
    """Train, save and measure one network."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    file = import_module(NETWORKS[args.what])
    net: nn.Module = getattr(file, args.what)()
    images, labels = tensors(args.data, "train")
    start = time.perf_counter()
    fit(net, file.logits, images[: args.images], labels[: args.images], args.epochs, args.batch, args.rate)
    print(f"trained in {time.perf_counter() - start:.0f} s")
    save(net, args.output)
    print(f"negative gammas: {negative_gammas(net)}")
    right = hits(net, file.logits, *tensors(args.data, "t10k"))
    print(f"test accuracy: {right[:500].float().mean():.2%} of the first 500, {right.float().mean():.2%} of all {len(right):,}")


def write_test_file(data: Path, path: Path, count: int = 500) -> None:
    """Write the first `count` test images and labels as `x` and `y`."""
    images, labels = load(data, "t10k")
    np.savez_compressed(path, x=images[:count], y=labels[:count])


def positive(text: str) -> int:
    """A whole number from 1 up, for argparse."""
    if (value := int(text)) < 1:
        raise ValueError
    return value


def arguments() -> argparse.Namespace:
    """Parse and check the command line."""
    parser = argparse.ArgumentParser(description="Train a sample network on Fashion-MNIST, or write the small test file.")
    parser.add_argument("what", choices=SUFFIXES, help="a network to train, or the test file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a .pth, .safetensors or .npz file to write")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the gzip IDX files (default: %(default)s)")
    parser.add_argument("--epochs", type=positive, default=2, help="passes over the images (default: %(default)s)")
    parser.add_argument("--images", type=positive, default=60_000, help="train on the first ones only (default: %(default)s)")
    parser.add_argument("--batch", type=positive, default=100, help="images per update (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.01, help="peak learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and the order (default: %(default)s)")
    parser.add_argument("--threads", type=positive, default=2, help="CPU threads (default: %(default)s)")
    args = parser.parse_args()
    if args.output.suffix not in SUFFIXES[args.what]:
        parser.error(f"-o {args.output}: {args.what} is written as {' or '.join(SUFFIXES[args.what])}")
    if not args.output.parent.is_dir():
        parser.error(f"-o {args.output}: there is no folder {args.output.parent}")
    if args.batch > args.images:
        parser.error(f"--batch {args.batch} is more than --images {args.images}")
    if missing := [path for part in ("train", "t10k") for path in idx_files(args.data, part) if not path.is_file()]:
        parser.error(
            f"there is no {missing[0]}; install the Debian package with `apt-get install dataset-fashion-mnist`, "
            "or name the folder with its four .gz files by --data"
        )
    return args


def main() -> None:
    args = arguments()
    if args.what in NETWORKS:
        train(args)
    else:
        write_test_file(args.data, args.output)


if __name__ == "__main__":
    main()
