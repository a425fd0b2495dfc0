"""What a verification costs against running both sides bare, and whether its memory grows with the data, in one run.

    python -m benchmarks.verification CHECKPOINT ARCH ARTIFACT DATA.npz

The images of DATA are repeated (each a little darker than the last time). Engines run one after the other, each in a process of
its own, with two threads, in several rounds; printed are the quietest round and ratios. A verification has a fixed part (proof,
algebra, probes) and one that grows with the data: it is also timed on a tenth of the samples, which tells the two apart.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

THREADS = 2
ROUNDS = 3
SMALL, LARGE = 200, 20_000
PARTS = ("reference", "candidate", "verify")


class Repeated:
    """The images of an `.npz`, repeated to `SNNCONV_SAMPLES` samples, as `--data benchmarks.verification:repeated` reads them."""

    def __init__(self, path: str, samples: int) -> None:
        import numpy as np

        with np.load(path) as file:
            self.x, self.y = file["x"], file["y"]
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if index >= self.samples:
            raise IndexError(index)
        time, which = divmod(index, len(self.x))
        return self.x[which] * self.x.dtype.type(0.99**time), int(self.y[which])


def repeated() -> Repeated:
    """The data set named by the environment."""
    return Repeated(os.environ["SNNCONV_DATA"], int(os.environ["SNNCONV_SAMPLES"]))


def main() -> None:
    """Run every part in its own process and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("checkpoint", "arch", "artifact", "data"):
        parser.add_argument(name)
    parser.add_argument("--part", choices=(*PARTS, "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--samples", type=int, default=4_000, help="how many are timed")
    parser.add_argument("--no-memory", action="store_true", help=f"leave out the runs over {SMALL} and {LARGE:,} samples")
    arguments = parser.parse_args()
    os.environ |= {"SNNCONV_DATA": arguments.data, "SNNCONV_SAMPLES": str(arguments.samples)}
    if arguments.part:
        print(json.dumps(_part(arguments)))
        return
    few = arguments.samples // 10
    runs = {part: (part, arguments.samples) for part in PARTS} | {"few": ("verify", few)}
    rounds = [{name: _in_process(*run) for name, run in runs.items()} for _ in range(ROUNDS)]
    best = {name: min(found[name]["seconds"] for found in rounds) for name in runs}
    bare = best["reference"] + best["candidate"]
    growing = (best["verify"] - best.pop("few")) * arguments.samples / (arguments.samples - few)
    best |= {"  with data": growing, "  fixed": best["verify"] - growing}
    print(f"{arguments.samples:,} samples, {THREADS} threads, chunks of {rounds[0]['verify']['chunk']}")
    for name, seconds in best.items():
        print(f"{name:<12}{seconds:>8.2f} s{seconds / bare:>8.2f} of both bare")
    if arguments.no_memory:
        return
    small, large = (_in_process("memory", samples)["peak"] for samples in (SMALL, LARGE))
    print(f"peak memory {small / 1024:.0f} MiB on {SMALL} samples, {large / 1024:.0f} MiB on {LARGE:,}: {large / small:.3f}x")


def _in_process(part: str, samples: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.verification", *sys.argv[1:5], "--part", part, "--samples", str(samples)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _part(arguments: argparse.Namespace) -> dict[str, float]:
    import torch

    from snnconv.request import Request
    from snnconv.sources import SourceOptions
    from snnconv.verification import open_candidates, verify_candidates
    from snnconv.verify import Plan, Reference
    from snnconv.verify.levels import Run

    torch.set_num_threads(THREADS)
    names = Path(arguments.checkpoint), Path(arguments.artifact)
    options = SourceOptions(arch=arguments.arch)
    request = Request(names[0], options, "benchmarks.verification:repeated", candidates=names[1:])
    opened, loaded = open_candidates(request), request.load()
    source, data, candidate = loaded.source, loaded.samples, opened[0][1].load()
    size = Run(Reference(source), candidate, data, Plan()).chunk_size
    candidate.run(next(iter(data.read(size))).x)
    start = time.perf_counter()
    if arguments.part in ("verify", "memory"):
        ((verdict,), _) = verify_candidates(request, loaded, opened)
        if not verdict.equivalent:
            raise SystemExit(f"not equivalent: {verdict.faults}")
    else:
        for x in _inputs(data, size):
            (source if arguments.part == "reference" else candidate).run(x)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "chunk": size}


def _inputs(data: Any, size: int) -> Iterator[Any]:
    for chunk in data.read(size):
        yield chunk.x


if __name__ == "__main__":
    main()
