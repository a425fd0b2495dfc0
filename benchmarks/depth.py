"""How the cost of a conversion grows with the depth of the network, in one run.

    python -m benchmarks.depth [NEURONS...]

Pre-activation residual networks with a norm on the postsynaptic potential (arXiv 2203.01544), of 10, 50 and 110 spiking layers,
once with leaky neurons (`lif`) and once with spike response neurons (`exponential`, `alpha`), written in plain torch. Each is
loaded, folded, and exported and verified twice, as an ONNX sequence and as a TorchScript step, in a process of its own. Printed
are the seconds of processor time, in brackets per layer against the network of 10, where 1.00 is growth in proportion to depth,
and the peak memory of the process.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

DEPTHS = (10, 50, 110)
TARGETS = (("net.onnx", "sequence"), ("net.ts", "step"))
PARTS = ("load", "fold", "export", "verify")

Result = TypeVar("Result")


def main() -> None:
    """Run every network in its own process and print."""
    if len(sys.argv) == 4 and sys.argv[1] == "--one":
        print(json.dumps(one(sys.argv[2], int(sys.argv[3]))))
        return
    print(f"{'network':<18}" + "".join(f"{part:>18}" for part in PARTS) + f"{'peak':>12}{'verdicts':>10}")
    for name in sys.argv[1:] or ("lif", "exponential", "alpha"):
        shallow: dict[str, float] = {}
        for depth in DEPTHS:
            found = _in_process(name, depth)
            shallow = shallow or found
            shares = ((found[part], found[part] / shallow[part] * DEPTHS[0] / depth) for part in PARTS)
            columns = "".join(f"{seconds:>9.1f} s ({share:4.2f})" for seconds, share in shares)
            verdict = "good" if found["equivalent"] else "BAD"
            print(f"{name:<12}{depth:>6}{columns}{found['peak'] / 2**20:>8.0f} MiB{verdict:>10}", flush=True)


def _in_process(name: str, depth: int) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.depth", "--one", name, str(depth)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def one(name: str, depth: int) -> dict[str, float]:
    """The processor time of every part for one network, the peak of the process in bytes, and whether all is equivalent."""
    import torch

    from snnconv.data import Data
    from snnconv.engines import open_candidate
    from snnconv.export import export, format_of
    from snnconv.fold import fold
    from snnconv.ir.program import Origin, TimeContract
    from snnconv.results.verdict import judge
    from snnconv.sources.capturing import capture_source
    from snnconv.verify import Reference, verify
    from tests.sources import psp_norm_style

    torch.set_num_threads(1)
    net = psp_norm_style.settled(psp_norm_style.made(name, depth))
    contract = TimeContract(psp_norm_style.STEPS, psp_norm_style.INPUT_SHAPE)
    seconds = dict.fromkeys(PARTS, 0.0)

    def timed(part: str, run: Callable[[], Result]) -> Result:
        start = time.process_time()
        result = run()
        seconds[part] += time.process_time() - start
        return result

    source = timed("load", lambda: capture_source(net, contract, Origin("benchmark", "0" * 64)))
    folded = timed("fold", lambda: fold(source.program))
    data, equivalent = Data(torch.rand(10, *psp_norm_style.INPUT_SHAPE), None, "noise"), True
    with tempfile.TemporaryDirectory() as folder:
        for file, form in TARGETS:
            path = Path(folder) / file
            timed("export", lambda path=path, form=form: export(folded, path, format_of(path), form))
            candidate = open_candidate(path).load()
            found = timed(
                "verify", lambda it=candidate, file=file: verify(Reference(source), it, data, ("net", file), fresh=True)
            )
            equivalent &= judge(found).equivalent
    return {**seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "equivalent": equivalent}


if __name__ == "__main__":
    main()
