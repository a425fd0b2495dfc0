"""Finding out how a network is called over time, by running it and watching its neurons.

One step a call: every neuron is called once, for one step. A whole run: all neurons go through the same number of steps, in
calls or in a dimension, and each step sees the whole batch; what the call is given is tried in the order of `_layouts`. From a
whole run, one step is had by letting the network run for T = 1 (`snnconv.first_look.step_count`). A wrong guess is no wrong
result: what is captured is compared with the network's own run over all steps (`snnconv.sources.fidelity`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor, nn

from snnconv import adapters
from snnconv.capture import ANY_BATCH, Interface, does_not_run
from snnconv.errors import Refused, SnnconvError
from snnconv.first_look.arguments import first_step_argument, step_count_argument
from snnconv.first_look.layouts import WITH_FRAMES, Layout, arrange
from snnconv.first_look.places import Loops
from snnconv.first_look.step_count import StepCount, batch_sizes, candidates, guesses
from snnconv.fresh_state import FreshState
from snnconv.ir.per_step import EntryAt
from snnconv.ir.program import TimeContract
from snnconv.sources.calling.entries import entries
from snnconv.sources.calling.forwards import Forward, SingleStep, WholeRun
from snnconv.sources.calling.handed_states import counter_of, find_handed_states
from snnconv.sources.calling.random_numbers import Generators
from snnconv.sources.calling.returned import EVERY, Choice, Part, choose, parts, parts_over_time
from snnconv.sources.calling.watching import OtherSteps, RunsOnImages, Unfit, Watched, watch
from snnconv.user_code import UserCodeError, described

ONE_WAY = "let its forward take one of the two, or do the same in both"
_BATCHES = (3, 5, 7, 11, 13)


@dataclass(frozen=True)
class Found:
    """How a network is called over time.

    Attributes:
        forward: that.
        timesteps: for how many steps it runs.
        output: the names of the outputs that were chosen among several, in words; empty if there was no choice.
        notes: in words, what was chosen.
        whole: if that is one step a call, how the network takes all steps in one call as well; None if it does not.
    """

    forward: Forward
    timesteps: int
    output: str = ""
    notes: tuple[str, ...] = ()
    whole: Forward | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, if there are several."""
        names = tuple(output.name for output in self.forward.outputs)
        return names if len(names) > 1 else ()

    def starting_from(self, fresh: FreshState) -> Found:
        """The same, every run of which starts from that state."""
        whole = None if self.whole is None else self.whole.starting_from(fresh)
        return replace(self, forward=self.forward.starting_from(fresh), whole=whole)


def find_forward(
    module: nn.Module,
    interfaces: Mapping[str, Interface],
    contract: TimeContract,
    fixed: Mapping[str, str],
    wanted: str | None = None,
) -> Found:
    """How `module`, whose neurons are at the paths of `interfaces`, is called over time.

    Args:
        fixed: what the user or his factory said, by the name of the setting, and where; T and the readout follow from the network
            if they are not among it.
        wanted: the names of the outputs, with commas, or `EVERY`, if the user gave some.

    Raises `Refused` if the network cannot be called step by step, does not run or draws random numbers, and `InputError` if there
    is no output `wanted`.
    """
    return _Search(copy.deepcopy(module), interfaces, contract, fixed, wanted).find()


class _Search:
    """The search for the forward of one network."""

    def __init__(
        self,
        module: nn.Module,
        interfaces: Mapping[str, Interface],
        contract: TimeContract,
        fixed: Mapping[str, str],
        wanted: str | None,
    ) -> None:
        self.module, self.interfaces, self.contract, self.fixed, self.wanted = module, interfaces, contract, fixed, wanted
        sizes = (contract.timesteps, *contract.input_shape)
        self.batch, self.other_batch, *_ = [size for size in _BATCHES if size not in sizes] + [2, 4]
        self.argument = step_count_argument(module)
        self.fresh = FreshState(module)
        self.generators = Generators(module)
        self.reached = 0

    def find(self) -> Found:
        """Try one step a call, then every layout of a whole run; report the first failure if none fits."""
        failures: list[tuple[float, SnnconvError]] = []
        for attempt in self._attempts():
            self.reached = 0
            try:
                found = attempt()
            except RunsOnImages:
                raise
            except Unfit as failure:
                failures.append((self.reached + failure.telling, failure))
            except UserCodeError as failure:
                failures.append((self.reached, failure))
            else:
                if found is not None:
                    return self._beside_a_whole_run(found).starting_from(self.fresh)
        _, telling = max(failures, key=lambda failure: failure[0])  # the first of those that came furthest
        if isinstance(telling, UserCodeError):
            self._ensure_any_batch()
            raise does_not_run(telling, self.contract) from (telling.__cause__ or telling)
        raise telling

    def _ensure_any_batch(self) -> None:
        """Raise `Refused` if the network, which does not run on our batches, runs on one whose size it holds."""
        for size in batch_sizes(self.module):
            frames = [self._noise(size, t) for t in range(self.contract.timesteps)]
            for layout in get_args(Layout):
                if self._runs_on(arrange(layout, frames)):
                    raise Refused(
                        f"the network runs on a batch of {size} alone: it holds that size in its code or in a state", ANY_BATCH
                    )

    def _runs_on(self, x: Tensor) -> bool:
        try:
            self._watched(lambda net: net(x))
        except Unfit:  # it ran, and called no neuron
            return True
        except UserCodeError:
            return False
        return True

    def _attempts(self) -> Iterator[Callable[[], Found | None]]:
        yield self._frame
        if not self.contract.event:
            yield lambda: self._whole("image", self.contract.timesteps)
        for layout, timesteps in self._frames():
            yield partial(self._whole, layout, timesteps)

    def _frames(self) -> Iterator[tuple[Layout, int]]:
        """The layouts and numbers of frames that the network may be given in one call."""
        lengths = [self.contract.timesteps, *candidates(self.module)]
        return ((layout, timesteps) for timesteps in dict.fromkeys(lengths) for layout in WITH_FRAMES)

    def _beside_a_whole_run(self, found: Found) -> Found:
        """`found`, with the way in which the network takes all steps in one call, if it was found to take one step a call.

        Raises `Refused` if it makes one step of all the frames that it may be given, or does not give one output of them.
        """
        if not isinstance(found.forward, SingleStep):
            return found
        for layout, timesteps in self._frames():
            if timesteps == 1:
                continue
            try:
                whole = self._whole(layout, timesteps)
            except (Unfit, UserCodeError):
                self._ensure_frames_stay_apart(layout, timesteps, found.forward)
            except SnnconvError as error:
                raise Refused(
                    f"the network takes one time step a call, and all steps in one call ({layout}), where {error.what}", ONE_WAY
                ) from error
            else:
                if found.outputs != whole.outputs:
                    listed = (", ".join(outputs) or "one output" for outputs in (found.outputs, whole.outputs))
                    raise Refused(f"the network returns {' in one step, and '.join(listed)} in all steps ({layout})", ONE_WAY)
                return replace(found, timesteps=whole.timesteps, whole=whole.forward)
        return found

    def _ensure_frames_stay_apart(self, layout: Layout, timesteps: int, step: SingleStep) -> None:
        frames = [self._noise(self.batch, t) for t in range(timesteps)]
        if self.contract.event and self._shape_of_a_step(step, arrange(layout, frames)) == self._shape_of_a_step(step, frames[0]):
            raise Refused(
                f"the network makes one time step of all frames that it is given at once, {layout}, and takes single frames too",
                "let its forward take single frames only, or go over all of them",
            )

    def _shape_of_a_step(self, step: SingleStep, x: Tensor) -> torch.Size | None:
        """The shape of the output of one step on `x`; None if there is none."""
        try:
            seen = self._watched(lambda net: step.step(net, x))
        except (Refused, UserCodeError):
            return None
        return seen.returned[0].shape if seen.is_one_step else None

    def _frame(self) -> Found | None:
        """One step a call; None if the network runs, but not for one step."""
        if self.argument is not None or adapters.takes_all_steps(self.module):
            return None
        told = SingleStep(counter=counter_of(self.module), first=first_step_argument(self.module))
        states, seen = find_handed_states(self.module, self._watched, self._noise(self.batch), told.told(0))
        if not seen.is_one_step:
            if states.places or seen.is_nearly_one_step:
                raise Unfit(*seen.called_twice())
            return None
        outputs = [part for part in parts(seen.returned) if not _is_state(part, states.places.values())]
        choice = self._choose(outputs or list(parts(seen.returned)), seen.returned)
        forward = replace(told, outputs=tuple(part.output for part in choice.parts), states=states)
        found = self._found(forward, self.contract.timesteps, outputs, choice)
        if outputs and self.wanted == EVERY:
            left_out = (f"{name} is a state of the network, and no output" for name in states.places)
            found = replace(found, notes=(*found.notes, *left_out))
        if told.first is None:
            return found
        return replace(found, notes=(*found.notes, f"its forward is told the first step of a run: {told.first}=True"))

    def _whole(self, layout: Layout, timesteps: int) -> Found:
        """A whole run in that layout. Raises `Unfit` if it is not called so."""
        as_it_is = StepCount((), timesteps, self.argument)
        seen = self._run(layout, timesteps, self.batch, as_it_is)
        steps = seen.steps(self.batch)
        again = self._run(layout, timesteps, self.other_batch, as_it_is).steps(self.other_batch)
        if steps != again:
            raise Unfit("the number of time steps of the network follows the size of the batch")
        if layout != "image" and steps != timesteps:
            raise self._other_number(layout, timesteps, steps)
        count, one = self._one_step(layout, steps, seen)
        timesteps = self._timesteps(layout, count, steps)
        if timesteps != steps:
            seen = self._run(layout, timesteps, self.batch, count)
        found = list(parts_over_time(one.returned, seen.returned, timesteps))
        if timesteps == 1:
            found = self._with_time(layout, count, one)
        if self.wanted == EVERY:
            _ensure_told_from_one_step(found, seen.returned if timesteps > 1 else one.returned)
        choice = self._choose(found, seen.returned)
        outputs = tuple(part.output for part in choice.parts)
        return self._found(WholeRun(layout, count, outputs), timesteps, found, choice)

    def _other_number(self, layout: Layout, timesteps: int, steps: int) -> Unfit:
        """Why a network runs for so many steps on another number of frames."""
        try:
            further = timesteps + 2
            each, left = divmod(self._run(layout, further, self.batch, StepCount((), further)).steps(self.batch) - steps, 2)
        except (Unfit, UserCodeError):
            each, left = 0, 0
        if not left and each > 1 and steps == each * timesteps:
            return OtherSteps(
                f"the network calls its neurons {each} times for each frame: it goes over the frames again, backwards perhaps, "
                f"or a neuron stands in {each} places",
                "let it go over the frames once, and give each place its own neuron",
            )
        if not left and each == 1 and steps > timesteps:
            return OtherSteps(
                f"the network goes on for {steps - timesteps} time steps beside the frames that it is given",
                "let it be given a frame for each step, blank ones if need be",
            )
        return Unfit(f"the network runs for {steps} time steps, and was given {timesteps}", f"pass --timesteps {steps}")

    def _one_step(self, layout: Layout, steps: int, whole: Watched) -> tuple[StepCount, Watched]:
        """Where T stands, and a run for one step, which calls the neurons that the `whole` run of so many steps did.

        Raises `Unfit` if it is not found, `RunsOnImages` if that is an image.
        """
        refusal = RunsOnImages if layout == "image" else Unfit
        with_a_name = ""
        as_it_is = StepCount((), steps, self.argument)
        of_each_step = entries(self.module, self.interfaces, steps, lambda: self._run(layout, steps, self.batch, as_it_is))
        for guessed in guesses(self.module, steps):
            places = (*guessed, *of_each_step)
            count = StepCount(places, steps, self.argument)
            try:
                seen = self._run(layout, 1, self.batch, count)
                ran, left_out = seen.steps(self.batch), whole.calls.keys() - seen.calls.keys()
                if ran == 1 and not left_out:
                    return count, seen
                if ran == steps and all(isinstance(place, Loops) for place in places):
                    continue  # there is no such loop
                why = f"neuron {min(left_out)} is not called" if left_out else f"it runs for {ran}"
            except (Unfit, UserCodeError) as error:
                why = f"it does not run ({described(error.__cause__ or error)})"
            if places and not with_a_name and all(place.usual for place in places):
                others = f" and {len(places) - 1} more places" if len(places) > 1 else ""
                with_a_name = f"with 1 in {places[0]}{others} {why}"
        if with_a_name:
            raise refusal(
                f"the network runs for {steps} time steps, and not for one: {with_a_name}",
                "let its forward, and what it holds for each step, follow that number; snnconv.nn has norms of each step",
            )
        raise refusal(
            f"the network runs for {steps} time steps, and where that number stands in it was not found",
            "hold it in an attribute that its forward reads, such as self.timesteps; if it is one step in which neurons stand in "
            "several places, give each place its own",
        )

    def _timesteps(self, layout: Layout, count: StepCount, steps: int) -> int:
        """The T of the contract, if the network can run for it, or that of the network if nobody gave one."""
        wanted, origin = self.contract.timesteps, self.fixed.get("timesteps")
        if wanted == steps or origin is None:
            return steps
        where = " and ".join(dict.fromkeys(map(str, count.places))) or "its forward"
        if origin != "factory" and self._runs_for(layout, count, wanted):
            return wanted
        raise Refused(
            f"the network runs for {steps} time steps ({where}), and timesteps is {wanted} ({origin})",
            f"pass --timesteps {steps}",
        )

    def _runs_for(self, layout: Layout, count: StepCount, timesteps: int) -> bool:
        try:
            return self._run(layout, timesteps, self.batch, count).steps(self.batch) == timesteps
        except (Unfit, UserCodeError):
            return False

    def _with_time(self, layout: Layout, count: StepCount, one: Watched) -> list[Part]:
        """The parts of what a run of one step returned; a run of two tells which dimension is time."""
        try:
            several = self._run(layout, 2, self.batch, count)
        except (Unfit, UserCodeError):
            return list(parts(one.returned))
        return [replace(part, value=_of_one_step(part)) for part in parts_over_time(one.returned, several.returned, 2)]

    def _run(self, layout: Layout, timesteps: int, batch: int, count: StepCount) -> Watched:
        x = arrange(layout, [self._noise(batch, t) for t in range(timesteps)])

        def call(net: nn.Module) -> Any:
            with count.at(net, timesteps) as given:
                return net(x, **given)

        return self._watched(call)

    def _watched(self, call: Callable[[nn.Module], Any]) -> Watched:
        seen = Watched(self.interfaces)

        def run() -> None:
            self.fresh.restore(self.module)
            with EntryAt(0):  # which has a tensor's entry for each step give that of the first where one step runs
                watch(self.module, seen, call)

        try:
            self.generators.ensure_untouched(run)
        finally:
            self.reached = max(self.reached, len(seen.calls))
        return seen

    def _noise(self, batch: int, t: int = 0) -> Tensor:
        """Frame t `[B, ...]` of a run."""
        generator = torch.Generator().manual_seed(t)
        return torch.rand(batch, *self.contract.input_shape, generator=generator)

    def _choose(self, found: list[Part], returned: Any) -> Choice:
        floats = [part for part in found if part.value.is_floating_point()]
        if not floats and self.wanted in (None, EVERY):
            kind = "nothing" if returned is None else f"a {type(returned).__name__}"
            what = "; ".join(f"{part} of {part.value.dtype}" for part in found) or kind
            raise Refused(f"the network returns {what}", "its forward must return a float tensor, or several: no decision")
        choice = choose(floats, self.wanted, [part for part in found if not part.value.is_floating_point()])
        for part in choice.parts:
            self._ensure_batch(part, among_others=len(choice.parts) > 1)
        return choice

    def _ensure_batch(self, chosen: Part, among_others: bool) -> None:
        """Raise `Refused` unless the samples of a batch are the first dimension of the output of a step."""
        value = chosen.value
        step = value.select(chosen.output.time, 0) if isinstance(chosen.output.time, int) else value
        step = value[0] if isinstance(chosen.output.time, str) else step
        if step.dim() == 0 or len(step) != self.batch or not step.numel():
            name = chosen.output.name
            which, todo = (f"as {name} ", f"; or leave {name} out of --output") if among_others else ("", "")
            raise Refused(
                f"the network returns {which}{step.dtype} of shape {list(step.shape)} for a batch of {self.batch}",
                f"its forward must return one float tensor [B, ...] a time step{todo}",
            )

    def _found(self, forward: Forward, timesteps: int, outputs: list[Part], choice: Choice) -> Found:
        names = ", ".join(part.output.name for part in choice.parts) if len(outputs) > 1 else ""
        return Found(forward, timesteps, names, choice.notes)


def _is_state(part: Part, places: Collection[Any]) -> bool:
    return any(part.output.path[: len(place)] == place for place in places)


def _ensure_told_from_one_step(found: Collection[Part], returned: Any) -> None:
    """Raise `Refused` for a tensor of a whole run that is none of those that were `found`: nobody knows its part of one step."""
    for part in parts(returned):
        if part.value.dim() and not any(part.output.path[: len(known.output.path)] == known.output.path for known in found):
            raise Refused(
                f"the network returns {part}, and a run of one step returns nothing like it",
                "leave it out of --output, or let it differ in one dimension alone, which is time",
            )


def _of_one_step(part: Part) -> Tensor:
    time = part.output.time
    return part.value if time is None else part.value[:1] if isinstance(time, str) else part.value.narrow(time, 0, 1)
