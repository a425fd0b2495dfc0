"""The whole road in one function: fold, lower, export, verify, and only then give the file its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from snnconv.artifact.metadata import LARGEST_BATCH
from snnconv.data import batch
from snnconv.engines import Candidate, open_content
from snnconv.errors import InputError
from snnconv.export import encode, format_of
from snnconv.files import Content, Draft, read, replacing, shown, writable
from snnconv.fold import fold
from snnconv.ir import pt2
from snnconv.ir.program import SpikingProgram
from snnconv.latency import measure
from snnconv.request import Begin, Loaded, Request, Target, unseen
from snnconv.results import Conversion, Measure
from snnconv.results.verdict import Verdict, judge
from snnconv.sources import Source
from snnconv.sources.archive import source_in
from snnconv.verify import Reference, verify


def check_output(path: Path, force: bool, suffixes: tuple[str, ...] | None = None) -> Path:
    """`path`, if an output may go there. Raises `InputError` before any work is done."""
    if suffixes is not None and path.suffix not in suffixes:
        raise InputError(f"{path}: unknown suffix '{path.suffix}'", f"use {' or '.join(suffixes)}")
    return writable(path, force)


def check_targets(targets: Sequence[Target], also: str = "") -> None:
    """Raise `InputError` for a target of an unknown format or too large a batch, two of one name, or of more than one batch size.

    `also` is what else helps against an unknown suffix.
    """
    for target in targets:
        format_of(target.path, target.format, also)
        if target.batch is not None and target.batch > LARGEST_BATCH:
            raise InputError(f"a batch of {target.batch} is too large", f"it is at most {LARGEST_BATCH}")
    if len({target.path.resolve() for target in targets}) < len(targets):
        raise InputError("two outputs have the same name", "give each artifact its own")
    if len({target.batch for target in targets}) > 1:
        raise InputError("outputs of several batch sizes cannot be timed side by side", "convert once for each")


def fold_to(source: Source, path: Path) -> SpikingProgram:
    """Fold a source and save it. Raises `FoldRefused` where a norm cannot be folded."""
    folded = fold(source.program)
    with replacing(path) as draft:
        draft.write(pt2.encode(folded))
    return folded


def open_folded(path: Path) -> tuple[SpikingProgram, Source]:
    """A folded program and its source, from one reading of its file. Raises `InputError`."""
    content = read(path)
    program = pt2.decode(content)
    if not program.folded:
        raise InputError(f"{path}: is not folded", "fold it first: snnconv fold SOURCE -o F.pt2")
    return program, source_in(program, content)


def export(request: Request, folded: SpikingProgram, loaded: Loaded, begin: Begin = unseen) -> Verdict:
    """Make the one target of a request from a folded program, verify it, and name the file if it is equivalent.

    Otherwise nothing is left of it.
    """
    (target,) = request.targets
    progress = begin(target.path.name)
    with replacing(target.path) as draft:
        candidate = _export(folded, target, draft, request.engine, progress)
        names = (shown(Path(loaded.name)), shown(target.path))
        found = verify(Reference(loaded.source), candidate, loaded.samples, names, request.plan, progress)
        verdict = judge(found, request.policy)
        draft.keep = verdict.equivalent
    return verdict


def convert(request: Request, loaded: Loaded, begin: Begin = unseen) -> Conversion:
    """Fold a source, make every target of a request, verify each, measure before and after.

    Source and artifacts are timed on the same samples: as many as an artifact of fixed batch takes, else one. An error leaves
    none of the files; a verdict leaves those that are equivalent.
    """
    check_targets(request.targets)
    source, reference = loaded.source, Reference(loaded.source)
    folded = reference.folded
    x = batch(loaded.samples, max((target.batch or 1 for target in request.targets), default=1))
    size = request.source.stat().st_size
    verdicts, measures = [], [Measure("source, eager torch", size, measure(source.run, x).median, len(x))]
    with ExitStack() as drafts:
        for target in request.targets:
            progress = begin(target.path.name)
            draft = drafts.enter_context(replacing(target.path))
            candidate = _export(folded, target, draft, request.engine, progress)
            names = (shown(request.source), shown(target.path))
            found = verify(reference, candidate, loaded.samples, names, request.plan, progress, fresh=True)
            verdict = judge(found, request.policy)
            draft.keep = verdict.equivalent
            verdicts.append(verdict)
            if verdict.equivalent:
                name, size = f"{target.path.name}, {found.runtime}", draft.temporary.stat().st_size
                measures.append(Measure(name, size, measure(candidate.run, x).median, len(x)))
    return Conversion(shown(request.source), folded.origin.arch, folded.sites, tuple(verdicts), tuple(measures))


def _export(
    folded: SpikingProgram, target: Target, draft: Draft, engine: str | None, progress: Callable[[str, float], None]
) -> Candidate:
    format = format_of(target.path, target.format)
    progress("export", 0.0)
    content = Content(target.path, encode(folded, format, target.form, target.batch))
    draft.write(content.data)
    return open_content(content, format.name, engine).load()
