"""Damage to the code of a TorchScript artifact: every constant stays as it is.

The archive holds its code as text, which is edited; what no edit can do, a wrapper around the sound module does.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from snnconv.artifact.script_archive import METADATA_FILE
from snnconv.ir.dynamics import NeuronConstants
from tests.verify.damage import but, cases, register
from tests.verify.damage.workbench import Case

SEQUENCE, STEP, BOTH = cases(".ts", "sequence"), cases(".ts", "step"), cases(".ts")
STILL = cases(".ts", "sequence", event=False)
NORMED = but(BOTH, "plain")
LAYERS = ("act1", "act2", "act3")
_WRITTEN_BY_TORCH = ("version", ".data/version", "byteorder", ".data/serialization_id")
_BODY = "graph_module"
_CONSTANTS = "__torch__.snnconv.ir.dynamics.NeuronConstants"


class Script:
    """The code of a TorchScript archive to damage."""

    def __init__(self, case: Case, artifact: bytes) -> None:
        reader = torch._C.PyTorchFileReader(io.BytesIO(artifact))
        self.case = case
        self.records = {name: reader.get_record(name) for name in reader.get_all_records() if name not in _WRITTEN_BY_TORCH}

    def encoded(self) -> bytes:
        buffer = io.BytesIO()
        writer = torch._C.PyTorchFileWriter(buffer)
        for name, record in self.records.items():
            writer.write_record(name, record, len(record))
        writer.write_end_of_file()
        return buffer.getvalue()

    def edit(self, part: str, old: str, new: str | Callable[[re.Match[str]], str], at: int | None = None) -> None:
        """Replace what matches `old` in the files whose names contain `part`: all of it, or only match number `at` of a file."""
        edited = False
        for name in [name for name in self.records if part in name and name.endswith(".py")]:
            # What torch writes in front of a body's own code is never run.
            *head, text = self.records[name].decode().rpartition("  def forward(" if part == _BODY else "\0")
            found = list(re.finditer(old, text))
            for match in reversed(found if at is None else found[at : at + 1]):
                text = text[: match.start()] + (new if isinstance(new, str) else new(match)) + text[match.end() :]
                edited = True
            self.records[name] = "".join([*head, text]).encode()
        if not edited:
            raise ValueError(f"{old} is not in {part}")

    def body(self, old: str, new: str | Callable[[re.Match[str]], str], at: int | None = None) -> None:
        self.edit(_BODY, old, new, at)

    def argument(self, layer: str, name: str, change: Callable[[str], str]) -> None:
        """Change a constant that a neuron is called with."""
        at = NeuronConstants._fields.index(name)

        def changed(match: re.Match[str]) -> str:
            values = match["values"].split(", ")
            values[at] = change(values[at])
            return f"{_CONSTANTS}({', '.join(values)})"

        number = LAYERS.index(layer)
        self.body(rf"{re.escape(_CONSTANTS)}\((?P<values>[^()]*)\)", changed, number)

    def current(self, layer: str, change: Callable[[str], str]) -> None:
        """Change the current into a neuron."""
        self.body(rf"\((\w+)(?=, [^()]*, \"{layer}\")", lambda match: f"({change(match[1])}")

    def convolution(self, number: int, change: Callable[[str, str, str, str], str]) -> None:
        """Rewrite `torch.conv2d(x, weight, bias, rest)`."""
        self.body(r"torch\.conv2d\((\w+), (\w+), (\w+)(.*)\)", lambda m: change(m[1], m[2], m[3], m[4]), number)

    def metadata(self, change: Callable[[dict], None]) -> None:
        name = f"extra/{METADATA_FILE}"
        held = json.loads(self.records[name])
        change(held)
        self.records[name] = json.dumps(held).encode()


Edit = Callable[[Script, Random], None]


def code(name: str, on: tuple[Case, ...] = BOTH, mutants: int = 2, **options: Any) -> Callable[[Edit], Edit]:
    """Register an edit of the code."""

    def add(edit: Edit) -> Edit:
        def damage(case: Case, artifact: bytes, rng: Random) -> bytes:
            script = Script(case, artifact)
            edit(script, rng)
            return script.encoded()

        register("TorchScript code", name, damage, on, mutants, **options)
        return edit

    return add


def k_with(**changed: str) -> str:
    """The constants `k` of a neuron with others in place of some."""
    return f"{_CONSTANTS}({', '.join(changed.get(name, f'(k)[{i}]') for i, name in enumerate(NeuronConstants._fields))})"


def k_of(name: str) -> str:
    return f"(k)[{NeuronConstants._fields.index(name)}]"


def factor(rng: Random) -> float:
    return 1 + rng.choice([-1, 1]) * 10 ** -rng.uniform(1, 5)


# Comparison


@code("strictness of a layer", quiet=True)
def _(s: Script, rng: Random) -> None:
    s.argument(rng.choice(LAYERS), "strict", lambda strict: {"True": "False", "False": "True"}[strict])


@code("strictness at one step", SEQUENCE, 6, quiet=True)
def _(s: Script, rng: Random) -> None:
    strict = f"torch.ne({k_of('strict')}, torch.eq(t, {rng.choice([1, 2])}))"
    s.edit("lower/ops", "now, state, k, t", f"now, state, {k_with(strict=strict)}, t")


@code("fires below instead of above", BOTH)
def _(s: Script, rng: Random) -> None:
    s.edit("snnconv/ir/dynamics", r"torch\.gt\(", "torch.lt(")
    s.edit("snnconv/ir/dynamics", r"torch\.ge\(", "torch.le(")


@code("inverted mask forgotten", NORMED)
def _(s: Script, rng: Random) -> None:
    s.argument(rng.choice(LAYERS[:2]), "inverted", lambda _: "None")


@code("thresholds rounded on the way", NORMED)
def _(s: Script, rng: Random) -> None:
    s.argument(rng.choice(LAYERS), "threshold", lambda name: through_half(name, rng))


def through_half(name: str, rng: Random) -> str:
    """Through float16 (5) or bfloat16 (15), and back to float32 (6)."""
    return f"torch.to(torch.to({name}, {rng.choice([5, 15])}), 6)"


@code("an epsilon in the comparison", mutants=3)
def _(s: Script, rng: Random) -> None:
    epsilon = rng.choice([-1, 1]) * 10 ** -rng.uniform(2, 7)
    s.argument(rng.choice(LAYERS), "threshold", lambda name: f"torch.add({name}, {epsilon})")


# State


@code("leak forgotten or applied twice")
def _(s: Script, rng: Random) -> None:
    if rng.random() < 0.5:
        s.edit("snnconv/ir/dynamics", r"torch\.mul\(u, leak0\)", "torch.mul(torch.mul(u, leak0), leak0)")
    else:
        s.argument("act1", "leak", lambda _: "None")


@code("leak of another amount in the code")
def _(s: Script, rng: Random) -> None:
    s.edit("snnconv/ir/dynamics", r"torch\.mul\(u, leak0\)", f"torch.mul(torch.mul(u, leak0), {factor(rng)})")


@code("hard reset made soft, soft made hard")
def _(s: Script, rng: Random) -> None:
    s.argument(rng.choice(LAYERS), "soft", lambda soft: {"True": "False", "False": "True"}[soft])


@code("reset to another value")
def _(s: Script, rng: Random) -> None:
    amount = rng.choice([-1, 1]) * 10 ** -rng.uniform(1, 4)
    s.argument(rng.choice(LAYERS), "reset", lambda name: f"torch.add({name}, {amount})")


@code("state not carried at one step", SEQUENCE)
def _(s: Script, rng: Random) -> None:
    kept = rng.choice([0.0, 0.5, factor(rng)])
    step = rng.choice([0, 1])
    s.edit(
        "lower/ops",
        "state = state0",
        f"state = torch.mul(state0, torch.add(1.0, torch.mul({kept - 1}, int(torch.eq(t, {step})))))",
    )


@code("state of the sample before", SEQUENCE)
def _(s: Script, rng: Random) -> None:
    s.edit("lower/ops", "state = state0", rng.choice(["state = torch.roll(state0, [1], [0])", "state = torch.flip(state0, [0])"]))


# Time


@code("currents of the steps in another order", SEQUENCE)
def _(s: Script, rng: Random) -> None:
    shifted = rng.choice(
        ["torch.sub(torch.sub(timesteps, 1), t)", "torch.sub(t, int(torch.gt(t, 0)))", "torch.sub(t, int(torch.eq(t, 2)))"]
    )
    s.edit("lower/ops", r"torch\.mul\(t, batch\)", f"torch.mul({shifted}, batch)")


@code("spikes of the steps in another order", SEQUENCE)
def _(s: Script, rng: Random) -> None:
    s.edit("lower/ops", r"return torch\.cat\(spikes\)", f"return {reordered('torch.stack(spikes)', rng)}")


@code("spikes shown in order, used in another", SEQUENCE)
def _(s: Script, rng: Random) -> None:
    s.edit("export/torchscript", "return fired", f"return {reordered('torch.unflatten(fired, 0, [timesteps, -1])', rng)}")


def reordered(stacked: str, rng: Random) -> str:
    change = rng.choice(["torch.flip({}, [0])", "torch.roll({}, [1], [0])", "torch.roll({}, [-1], [0])"])
    return f"torch.flatten({change.format(stacked)}, 0, 1)"


@code("a step less", STILL)
def _(s: Script, rng: Random) -> None:
    s.edit("export/torchscript", r"steps = self\.timesteps", "steps = torch.sub(self.timesteps, 1)")


# Layers


@code("bias dropped")
def _(s: Script, rng: Random) -> None:
    number = rng.randrange(4)
    if number == 3:
        s.body(r"torch\.linear\((\w+), (\w+), \w+\)", lambda m: f"torch.linear({m[1]}, {m[2]}, None)")
    else:
        s.convolution(number, lambda x, weight, bias, rest: f"torch.conv2d({x}, {weight}, None{rest})")


@code("padding with other values than zero")
def _(s: Script, rng: Random) -> None:
    mode = rng.choice(['"replicate"', '"reflect"', '"circular"', f'"constant", {10 ** -rng.uniform(1, 3)}'])
    s.convolution(
        rng.randrange(2), lambda x, w, b, rest: f"torch.conv2d(torch.pad({x}, [1, 1, 1, 1], {mode}), {w}, {b}, [1, 1], [0, 0])"
    )


@code("kernel transposed or turned in the code")
def _(s: Script, rng: Random) -> None:
    turn = rng.choice(["torch.transpose({}, 2, 3)", "torch.flip({}, [2, 3])", "torch.flip({}, [2])"])
    s.convolution(rng.randrange(2), lambda x, weight, bias, rest: f"torch.conv2d({x}, {turn.format(weight)}, {bias}{rest})")


@code("groups", BOTH)
def _(s: Script, rng: Random) -> None:
    groups = rng.choice([2, 3, 6])
    cut = f"torch.slice({{}}, 1, 0, {6 // groups})"
    s.convolution(1, lambda x, w, b, rest: f"torch.conv2d({x}, {cut.format(w)}, {b}, [1, 1], [1, 1], [1, 1], {groups})")


@code("layer twice")
def _(s: Script, rng: Random) -> None:
    s.convolution(rng.choice([1, 2]), lambda x, w, b, rest: f"torch.conv2d(torch.conv2d({x}, {w}, {b}{rest}), {w}, {b}{rest})")


@code("neuron twice")
def _(s: Script, rng: Random) -> None:
    s.body(
        rf'( +)(\w+) = (\w+)\(\w+, (.*"{rng.choice(LAYERS)}".*)',
        lambda m: m[0].replace(f"{m[2]} = ", f"{m[2]}_once = ", 1) + f"\n{m[1]}{m[2]} = {m[3]}(({m[2]}_once)[0], {m[4]}",
    )


@code("layer left out", BOTH)
def _(s: Script, rng: Random) -> None:
    s.convolution(rng.choice([1, 2]), lambda x, *_: f"torch.mul({x}, 1)")


@code("residual connection dropped, scaled or subtracted", mutants=3)
def _(s: Script, rng: Random) -> None:
    change = rng.choice(["{0}", "{1}", f"torch.add({{0}}, {{1}}, alpha={factor(rng)})", "torch.sub({0}, {1})"])
    s.body(r"= torch\.add\((\w+), (\w+)\)", lambda m: "= " + change.format(m[1], m[2]))


@code("pooling of another kind, or scaled")
def _(s: Script, rng: Random) -> None:
    if rng.random() < 0.5:
        s.body("avg_pool2d\\(", "max_pool2d(")
    else:
        s.body(r"torch\.avg_pool2d\(.*\)", lambda m: f"torch.mul({m[0]}, {factor(rng)})")


@code("flattened in another order", BOTH)
def _(s: Script, rng: Random) -> None:
    order = rng.choice(["[0, 2, 3, 1]", "[0, 1, 3, 2]", "[0, 3, 2, 1]"])
    s.body(r"torch\.flatten\((\w+), 1\)", lambda m: f"torch.flatten(torch.permute({m[1]}, {order}), 1)")


# Anywhere


@code("a factor on a current", mutants=4)
def _(s: Script, rng: Random) -> None:
    s.current(rng.choice(LAYERS), lambda name: f"torch.mul({name}, {factor(rng)})")


@code("a factor of 1.00001 on a current", quiet=True)
def _(s: Script, rng: Random) -> None:
    s.current(rng.choice(LAYERS), lambda name: f"torch.mul({name}, {1 + rng.choice([-1, 1]) * 1e-5})")


@code("a factor on the output", mutants=3, quiet=True)
def _(s: Script, rng: Random) -> None:
    output(s, lambda y: f"torch.mul({y}, {rng.choice([factor(rng), 1.00001])})")


def output(s: Script, change: Callable[[str], str]) -> None:
    s.body(r"return (.+)", lambda m: f"return {change(m[1])}")


@code("something small added")
def _(s: Script, rng: Random) -> None:
    amount = rng.choice([-1, 1]) * 10 ** -rng.uniform(2, 5)
    s.current(rng.choice(LAYERS), lambda name: f"torch.add({name}, {amount})")


@code("half precision on the way", mutants=3)
def _(s: Script, rng: Random) -> None:
    if rng.random() < 0.3:
        output(s, lambda y: through_half(y, rng))
    else:
        s.current(rng.choice(LAYERS), lambda name: through_half(name, rng))


@code("negative inputs cut off", BOTH, quiet=True)
def _(s: Script, rng: Random) -> None:
    s.convolution(0, lambda x, w, b, rest: f"torch.conv2d(torch.{rng.choice(['relu', 'abs'])}({x}), {w}, {b}{rest})")


@code("samples mixed", mutants=3)
def _(s: Script, rng: Random) -> None:
    mix = rng.choice(
        ["torch.roll({}, [1], [0])", "torch.flip({}, [0])", "torch.sub({0}, torch.mul(torch.mean({0}, [0], True), 0.001))"]
    )
    if rng.random() < 0.5:
        output(s, lambda y: mix.format(y))
    else:
        s.current(rng.choice(LAYERS[1:]), lambda name: mix.format(name))


# Output


@code("another output for a single sample", quiet=True)
def _(s: Script, rng: Random) -> None:
    output(s, lambda y: f"torch.mul({y}, torch.add(1.0, torch.mul({factor(rng) - 1}, int(torch.eq((torch.size(x))[0], 1)))))")


@code("another read-out", tuple(case for case in SEQUENCE if case.readout != "none"))
def _(s: Script, rng: Random) -> None:
    others = [name for name in ("mean", "sum", "last", "max") if name != s.case.readout]
    s.body(f'"{s.case.readout}"', f'"{rng.choice(others)}"')


@code("read-out over a step less, or of another step", tuple(case for case in SEQUENCE if case.readout != "none"))
def _(s: Script, rng: Random) -> None:
    first = rng.choice([0, 1])
    s.edit("lower/ops", r"torch\.(mean|sum)\(steps, ", lambda m: f"torch.{m[1]}(torch.slice(steps, 0, {first}, {first + 2}), ")
    s.edit("lower/ops", r"torch\.sub\(timesteps, 1\)", f"torch.sub(timesteps, {rng.choice([2, 3])})")


@code("classes permuted", BOTH, quiet=True)
def _(s: Script, rng: Random) -> None:
    change = rng.choice(["torch.roll({}, [1], [-1])", "torch.flip({}, [-1])", "torch.roll({}, [2], [-1])"])
    output(s, lambda y: change.format(y))


# Only where nobody watches


def unwatched(s: Script, change: Callable[[str], str]) -> None:
    """`forward` returns something else, `observe` does not."""
    rest = r"(\)?)" if s.case.form == "sequence" else r"(, following\))"
    s.edit("export/torchscript", rf"return (\(?)_0{rest}", lambda m: f"return {m[1]}{change('_0')}{m[2]}")


def unwatched_constant(s: Script, **changed: str) -> None:
    """`forward` has other constants, which may read `observe`."""
    s.edit("export/torchscript", "x, k, timesteps, still", f"x, {k_with(**changed)}, timesteps, still")


@code("forward scales its output", mutants=6, quiet=True)
def _(s: Script, rng: Random) -> None:
    unwatched(s, lambda y: f"torch.mul({y}, {factor(rng)})")


@code("forward scales its output by 1.00001", quiet=True)
def _(s: Script, rng: Random) -> None:
    unwatched(s, lambda y: f"torch.mul({y}, 1.00001)")


@code("forward permutes classes or samples", quiet=True)
def _(s: Script, rng: Random) -> None:
    change = rng.choice(["torch.roll({}, [1], [-1])", "torch.flip({}, [-1])", "torch.flip({}, [0])", "torch.roll({}, [1], [0])"])
    unwatched(s, lambda y: change.format(y))


@code("forward in half precision", quiet=True)
def _(s: Script, rng: Random) -> None:
    unwatched(s, lambda y: through_half(y, rng))


@code("forward runs a step less", STILL, quiet=True)
def _(s: Script, rng: Random) -> None:
    s.edit("export/torchscript", "steps, False", "torch.sub(steps, 1), False")


@code("forward has thresholds of its own", SEQUENCE, 3, quiet=True)
def _(s: Script, rng: Random) -> None:
    epsilon = rng.choice([-1, 1]) * 10 ** -rng.uniform(0, 5)
    threshold = f"unchecked_cast(Tensor, {k_of('threshold')})"
    unwatched_constant(s, threshold=f"torch.add({threshold}, torch.mul({epsilon}, int(torch.__not__(observe))))")


@code("forward has a strictness of its own", SEQUENCE, quiet=True)
def _(s: Script, rng: Random) -> None:
    unwatched_constant(s, strict=f"torch.ne({k_of('strict')}, torch.__not__(observe))")


@code("forward resets otherwise", SEQUENCE, 4, quiet=True)
def _(s: Script, rng: Random) -> None:
    amount = 10 ** -rng.uniform(0, 2)
    reset = f"unchecked_cast(Tensor, {k_of('reset')})"
    unwatched_constant(s, reset=f"torch.add({reset}, torch.mul({amount}, int(torch.__not__(observe))))")


# From one call to the next


class StaleOutput(nn.Module):
    """Adds a part of the last call's output to this one's."""

    def __init__(self, sound: nn.Module, watched: bool) -> None:
        super().__init__()
        self.sound, self.body, self.watched = sound, sound.body, watched
        self.register_buffer("kept", torch.zeros(0))

    def mixed(self, y: Tensor) -> Tensor:
        before = self.kept
        self.kept = y
        return y + 0.01 * before if before.shape == y.shape and before.dtype == y.dtype else y

    def forward(self, x: Tensor) -> Tensor:
        return self.mixed(self.sound.forward(x))

    @torch.jit.export
    def observe(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        y, potentials, spikes = self.sound.observe(x)
        return self.mixed(y) if self.watched else y, potentials, spikes


class StaleState(nn.Module):
    """Goes on from the state of its last call, whatever state it is given, as long as the batch is of the same size."""

    def __init__(self, sound: nn.Module, watched: bool) -> None:
        super().__init__()
        self.sound, self.body, self.watched = sound, sound.body, watched
        self.kept = torch.jit.Attribute({}, dict[str, Tensor])

    def stale(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        kept = torch.jit.annotate(dict[str, Tensor], {})
        for name, value in state.items():
            known = name in self.kept and self.kept[name].shape == value.shape and self.kept[name].dtype == value.dtype
            kept[name] = self.kept[name] if known else value
        return kept

    def forward(self, x: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        y, following = self.sound.forward(x, self.stale(state))
        self.kept = following
        return y, following

    @torch.jit.export
    def observe(
        self, x: Tensor, state: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        y, following, potentials, spikes = self.sound.observe(x, self.stale(state) if self.watched else state)
        if self.watched:
            self.kept = following
        return y, following, potentials, spikes


def wrapped(name: str, on: tuple[Case, ...], wrapper: type[nn.Module], watched: bool, mutants: int = 3) -> None:
    """Register a wrapper that keeps something between calls."""

    def damage(case: Case, artifact: bytes, rng: Random) -> bytes:
        extra = {METADATA_FILE: ""}
        sound = torch.jit.load(io.BytesIO(artifact), _extra_files=extra)
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(wrapper(sound, watched).eval()), buffer, _extra_files=extra)
        return buffer.getvalue()

    register("TorchScript code", name, damage, on, mutants)


wrapped("a part of the last output", SEQUENCE, StaleOutput, watched=True)
wrapped("a part of the last output where nobody watches", SEQUENCE, StaleOutput, watched=False)
wrapped("the state of the last call", STEP, StaleState, watched=True)
wrapped("the state of the last call where nobody watches", STEP, StaleState, watched=False)


@code("running it changes a constant", BOTH)
def _(s: Script, rng: Random) -> None:
    amount = rng.choice([0.1, 0.01, 0.001])
    s.body(r"(\n *)return (.+)", lambda m: f"{m[1]}_98 = {m[2]}{m[1]}_99 = torch.add_(bias0, {amount}){m[1]}return _98")


# One step


@code("next state of another kind", STEP, 3)
def _(s: Script, rng: Random) -> None:
    other = rng.choice(
        ["potentials[name]", "state[name]", "torch.roll({}, [1], [0])", "torch.flip({}, [0])", f"torch.mul({{}}, {factor(rng)})"]
    )
    s.edit("export/torchscript", r"following, name, (_\d+)", lambda m: f"following, name, {other.format(m[1])}")


@code("state ignored", STEP)
def _(s: Script, rng: Random) -> None:
    s.edit("export/torchscript", r"state\[name\]", "torch.mul(state[name], 0)")


@code("two states exchanged", STEP)
def _(s: Script, rng: Random) -> None:
    a, b = rng.sample(LAYERS, 2)
    s.edit(
        "export/torchscript",
        r"( *)return \((_0|y), following",
        lambda m: (
            f'{m[1]}_98 = following["{a}"]\n{m[1]}torch._set_item(following, "{a}", following["{b}"])\n'
            f'{m[1]}torch._set_item(following, "{b}", _98)\n{m[0]}'
        ),
    )


@code("first state is not zero", STEP, quiet=True)
def _(s: Script, rng: Random) -> None:
    value = rng.choice([1.0, 0.1, 1e-3])
    s.edit("export/torchscript", r"torch\.zeros\((.*)\)", lambda m: f"torch.full({m[1]}, {value})")


# Metadata


@code("metadata of another contract", BOTH, 3)
def _(s: Script, rng: Random) -> None:
    def change(metadata: dict) -> None:
        contract = metadata["contract"]
        wrong = {
            "timesteps": contract["timesteps"] + rng.choice([-1, 1]),
            "event": not contract["event"],
            "readout": rng.choice([name for name in ("mean", "sum", "last", "max", "none") if name != contract["readout"]]),
            "input_shape": rng.choice([[2, 8, 9], [1, 8, 8], [3, 8, 8]]),
        }
        key = rng.choice(sorted(wrong))
        contract[key] = wrong[key]

    s.metadata(change)


@code("metadata with a wrong name of a neuron", STEP)
def _(s: Script, rng: Random) -> None:
    s.metadata(lambda metadata: rng.choice(metadata["neurons"]).update(name="act9"))


@code("metadata with a wrong form", BOTH)
def _(s: Script, rng: Random) -> None:
    s.metadata(lambda metadata: metadata.update(form="step" if metadata["form"] == "sequence" else "sequence"))
