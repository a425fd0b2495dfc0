"""What a fold pass is, which ones there are, and the order in which they run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from snnconv.errors import InputError, Refused
from snnconv.ir.program import SpikingProgram
from snnconv.registry import Registry
from snnconv.results import Site

if TYPE_CHECKING:
    from snnconv.fold.norm_calls import NormCall


class FoldRefused(Refused):
    """A norm that cannot be folded; `sites` says which and why, `todo` what to do about it."""

    def __init__(self, sites: tuple[Site, ...], todo: str = "`snnconv inspect` lists every norm") -> None:
        first = sites[0]
        more = f" (and {len(sites) - 1} more)" if len(sites) > 1 else ""
        super().__init__(f"cannot fold {first.kind} at {first.path}{more}: {first.detail}", todo)
        self.sites = sites


class FoldPass(ABC):
    """Turns one kind of norm into constants and says, per site, how exactly.

    A pass of another package, under an entry point of the group `snnconv.fold_passes`, runs right behind the one that `after`
    names; left out, behind every pass of snnconv's that does better than a plain scale and shift.
    """

    name: ClassVar[str]
    after: ClassVar[str] = "next-linear"

    def requires(self, program: SpikingProgram) -> None:  # noqa: B027
        """Raise `FoldRefused` if what the pass assumes does not hold."""

    @abstractmethod
    def __call__(self, program: SpikingProgram) -> SpikingProgram:
        """The program with the norms folded that the pass takes; the one that is given stays as it is."""

    def ensures(self, program: SpikingProgram) -> None:  # noqa: B027
        """Raise `RuntimeError` if `program`, the pass's own result, is not what the pass claims."""

    def declines(self, call: NormCall) -> str:
        """Why the pass leaves that norm alone, for a reader of the report; empty if it takes it, or takes no such norms."""
        return ""

    def run(self, program: SpikingProgram) -> SpikingProgram:
        """`requires`, the pass itself, `ensures`."""
        self.requires(program)
        folded = self(program)
        self.ensures(folded)
        return folded


PASSES: Registry[type[FoldPass]] = Registry(
    "snnconv.fold_passes",
    {
        "refuse-unfoldable": "snnconv.fold.refusals:RefuseUnfoldable",
        "held-constants": "snnconv.fold.held_constants:HoldConstants",
        "plain-pools": "snnconv.fold.plain_pools:PlainPools",
        "linear-norm": "snnconv.fold.linear_norm:FoldLinearNorm",
        "neuron-gain": "snnconv.fold.neuron_gain:FoldIntoNeuron",
        "next-linear": "snnconv.fold.next_linear:FoldIntoNextLinear",
        "plain-scale": "snnconv.fold.plain_scale:FoldIntoScale",
        "membrane-norm": "snnconv.fold.membrane_norm:FoldMembraneNorm",
        "zero-bias": "snnconv.fold.zero_bias:DropZeroBias",
    },
)
"""The passes, snnconv's own in the order in which they run."""


def ordered() -> list[FoldPass]:
    """Every pass, in the order in which they run. Raises `InputError` for one that is to run behind a pass there is not."""
    order = [PASSES[name]() for name in PASSES.own]
    for name in PASSES.names():
        if name in PASSES.own:
            continue
        added = PASSES[name]()
        place = next((i for i, step in enumerate(order) if step.name == added.after), None)
        if place is None:
            raise InputError(f"fold pass '{name}' runs after '{added.after}', which there is not", "name another pass")
        order.insert(place + 1, added)
    return order
