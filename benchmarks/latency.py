"""Latency of one network in four engines, and the cost of converting it, in one run.

    python -m benchmarks.latency CHECKPOINT DATA.npz

CHECKPOINT is an official `resnet20_cifar_modified` file, DATA an .npz with x. Each engine runs in a process of its own, one after
the other, with two threads, batch 1, T = 4, in several rounds. Printed are the medians of each engine's quietest round and their
ratios; a machine's own milliseconds say little.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from snnconv.latency import measure

THREADS = 2
RUNS, WARM_UP = 40, 5
ROUNDS = 5


def main() -> None:
    """Run every part in its own process and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](arguments.checkpoint, arguments.data, arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {part: _in_process(arguments, part, folder) for part in PARTS}
        timed = [part for part in PARTS if "ms" in found[part]]
        for _ in range(ROUNDS - 1):
            for part in timed:
                found[part] = min(found[part], _in_process(arguments, part, folder), key=lambda numbers: numbers["ms"])
        _print(found)


def _in_process(arguments: argparse.Namespace, part: str, folder: str) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.latency", str(arguments.checkpoint), str(arguments.data)]
    done = subprocess.run([*command, "--part", part, "--folder", folder], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _print(found: dict[str, dict[str, float]]) -> None:
    ours = found["ours in ONNX Runtime"]["ms"]
    print(f"{'batch 1, T = 4, two threads':<34}{'median':>10}{'best':>10}{'against ours':>15}")
    for part, numbers in found.items():
        if "ms" in numbers:
            print(f"{part:<34}{numbers['ms']:>7.1f} ms{numbers['best']:>7.1f} ms{numbers['ms'] / ours:>14.2f}x")
    bare, convert = found["bare export"], found["snnconv convert"]
    print(f"\n{'cost':<34}{'seconds':>10}{'peak':>12}")
    for part, numbers in (("bare export, whole process", bare), ("snnconv convert, whole process", convert)):
        print(f"{part:<34}{numbers['seconds']:>8.1f} s{numbers['peak'] / 2**20:>8.0f} MiB")
    print(f"convert / bare export: {convert['seconds'] / bare['seconds']:.2f}")


def _bare_export(checkpoint: Path, data: Path, folder: Path) -> dict[str, float]:
    """What a user would do without this tool: torch.onnx.export on the unfolded network."""
    start = time.perf_counter()
    import torch

    from benchmarks.reference import authors_network

    torch.set_num_threads(THREADS)
    network = authors_network(checkpoint)
    x = torch.zeros(1, 3, 32, 32)
    torch.onnx.export(
        network,
        (x,),
        folder / "bare.onnx",
        dynamo=True,
        input_names=["x"],
        output_names=["y"],
        external_data=False,
        verbose=False,
    )
    return {"seconds": time.perf_counter() - start, "peak": _peak()}


def _convert(checkpoint: Path, data: Path, folder: Path) -> dict[str, float]:
    """The whole of `snnconv convert`, proof included, as a child process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "snnconv", "convert", str(checkpoint)]
    command += ["-o", str(folder / "ours.onnx"), "--data", str(data)]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return {"seconds": time.perf_counter() - start, "peak": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}


def _eager(checkpoint: Path, data: Path, folder: Path) -> dict[str, float]:
    import torch

    from benchmarks.reference import authors_network

    torch.set_num_threads(THREADS)
    network, x = authors_network(checkpoint), torch.from_numpy(_sample(data))
    with torch.no_grad():
        return _timed(lambda: network(x))


def _bare(checkpoint: Path, data: Path, folder: Path) -> dict[str, float]:
    return _onnx((folder / "bare.onnx").read_bytes(), data)


def _ours(checkpoint: Path, data: Path, folder: Path) -> dict[str, float]:
    return _onnx((folder / "ours.onnx").read_bytes(), data)


def _convolutions_only(checkpoint: Path, data: Path, folder: Path) -> dict[str, float]:
    """Our graph with every neuron cut out: its current passes for its spikes. The floor that no neuron can go below."""
    import onnx

    model = onnx.load(folder / "ours.onnx")
    nodes = list(model.graph.node)
    made_by = {name: node for node in nodes for name in node.output}
    for node in nodes:
        if node.op_type == "Concat" and node.input[0].endswith(".spike.0"):
            _bypass(node, made_by, len(node.input))
    onnx.save(_pruned(model), folder / "floor.onnx")
    return _onnx((folder / "floor.onnx").read_bytes(), data)


def _bypass(concat, made_by, steps: int) -> None:
    """Feed the Concat of a neuron's spikes with its current, split or repeated as it comes."""
    potential = concat.input[0].replace(".spike.", ".potential.")
    first = made_by[potential]
    if first.op_type == "Split":
        concat.op_type = "Identity"
        current = first.input[0]
        del concat.input[:]
        del concat.attribute[:]
        concat.input.append(current)
    else:
        for i in range(steps):
            concat.input[i] = potential


def _pruned(model):
    import onnx_ir as ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    converted = ir.from_proto(model)
    RemoveUnusedNodesPass()(converted)
    return ir.to_proto(converted)


def _onnx(model: bytes, data: Path) -> dict[str, float]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = _sample(data)
    return _timed(lambda: session.run(None, {"x": x}))


def _sample(data: Path):
    import numpy as np

    with np.load(data, allow_pickle=False) as file:
        return file["x"][:1]


def _timed(run: Callable[[], object]) -> dict[str, float]:
    found = measure(run, runs=RUNS, warm_up=WARM_UP)
    return {"ms": found.median, "best": found.best}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


PARTS: dict[str, Callable[[Path, Path, Path], dict[str, float]]] = {
    "bare export": _bare_export,
    "snnconv convert": _convert,
    "authors' computation, eager torch": _eager,
    "bare export in ONNX Runtime": _bare,
    "ours in ONNX Runtime": _ours,
    "ours without its neurons": _convolutions_only,
}

if __name__ == "__main__":
    main()
