"""A run that was killed goes on from its last chunk and finds exactly what an undisturbed run finds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from snnconv.data import Chunk, Data, Samples
from snnconv.data.samples import Wanted, every
from snnconv.engines import Deployment, Observation, open_candidate
from snnconv.errors import InputError
from snnconv.export import export, format_of
from snnconv.fold import fold
from snnconv.ir import pt2
from snnconv.results import Verification
from snnconv.sources import Source
from snnconv.verify import Plan, Reference
from snnconv.verify.journal import Journal, open_journal
from snnconv.verify.several import verify_all
from tests.networks import inputs, per_channel, source_of

SAMPLES = 6

pytestmark = pytest.mark.usefixtures("exported_once")


@cache
def source() -> Source:
    return source_of(per_channel())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts: two that are sound, one with a weight that is not."""
    folder = tmp_path_factory.mktemp("artifacts")
    program = fold(source().program)
    pt2.save(program, folder / "net.pt2")
    export(program, folder / "net.onnx", format_of(folder / "net.onnx"))
    model = onnx.load(folder / "net.onnx")
    weight = next(t for t in model.graph.initializer if t.name == "conv2.weight")
    values = numpy_helper.to_array(weight).copy()
    values[4] += 0.01
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, folder / "bad.onnx")
    return folder


@pytest.fixture(autouse=True)
def _chunks_of_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snnconv.verify.levels._CHUNK_POTENTIALS", 1)


class Killed(BaseException):
    """Ends a run as a signal would."""


@dataclass
class Watched:
    """Samples that note which chunks are read by the run, and end it before chunk `until`."""

    data: Data
    until: int | None = None
    by: type[BaseException] = Killed
    asked: list[int] = field(default_factory=list)

    @property
    def origin(self) -> str:
        return self.data.origin

    @property
    def length(self) -> int:
        return self.data.length

    def read(self, size: int, wanted: Wanted = every) -> Iterator[Chunk]:
        for chunk in self.data.read(size, wanted):
            if wanted is not every:
                if chunk.index == self.until:
                    raise self.by
                self.asked.append(chunk.index)
            yield chunk


def data(seed: int = 0, samples: int = SAMPLES, labels: bool = True) -> Data:
    return Data(inputs(source(), samples, seed), torch.arange(samples) % 5 if labels else None, "data.npz")


def run(
    folder: Path,
    names: tuple[str, ...],
    samples: Samples,
    resume: Path | None,
    plan: Plan | None = None,
    wrap: Callable[[Deployment], Any] = lambda candidate: candidate,
) -> tuple[list[Verification], Journal | None]:
    candidates = [(folder / name, wrap(open_candidate(folder / name))) for name in names]
    return verify_all(
        Reference(source()), Path("net.pth"), candidates, samples, plan or Plan(), lambda name: lambda part, share: None, resume
    )


def timeless(found: list[Verification]) -> list[Verification]:
    return [replace(one, seconds=0.0) for one in found]


def opened(path: Path) -> Journal:
    """The journal at `path`, whatever run it is of."""
    return open_journal(path, json.loads(path.read_text())["identity"])


@cache
def undisturbed(folder: Path, *names: str) -> list[Verification]:
    found, journal = run(folder, names, data(), None)
    assert journal is None
    return timeless(found)


# Killed and resumed.


@pytest.mark.sample(1)
@pytest.mark.parametrize("by", [Killed, KeyboardInterrupt, MemoryError, InputError], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("until", [0, 3])
def test_a_run_that_ends_in_any_chunk_is_taken_up_there(
    until: int, by: type[BaseException], folder: Path, tmp_path: Path
) -> None:
    if by is InputError:
        by = type("Unreadable", (InputError,), {"__init__": lambda self: InputError.__init__(self, "unreadable")})
    journal = tmp_path / "journal"
    killed = Watched(data(), until, by)
    with pytest.raises(by):
        run(folder, ("bad.onnx",), killed, journal)
    assert killed.asked == list(range(until))
    again = Watched(data())
    found, _ = run(folder, ("bad.onnx",), again, journal)
    assert again.asked == list(range(until, SAMPLES))
    assert timeless(found) == undisturbed(folder, "bad.onnx")


def test_what_is_compared_above_has_faults_and_histograms_to_lose(folder: Path) -> None:
    (found,) = undisturbed(folder, "bad.onnx")
    act2 = next(tally for tally in found.layers if tally.name == "act2")
    assert act2.outside > 1000
    assert act2.first == (0, 0)
    assert sum(act2.margins) > 0
    assert sum(act2.flips) > 0
    assert found.difference is not None
    assert found.task is not None
    assert (found.task.labelled, found.task.bare, found.data.samples) == (SAMPLES, 1, SAMPLES)
    assert found.probes
    assert found.thresholds


def test_a_run_may_be_killed_again_and_again(folder: Path, tmp_path: Path) -> None:
    journal, asked = tmp_path / "journal", []
    for until in (1, 2, 2, 4):
        killed = Watched(data(), until)
        with pytest.raises(Killed):
            run(folder, ("net.onnx",), killed, journal)
        asked += killed.asked
    last = Watched(data())
    found, _ = run(folder, ("net.onnx",), last, journal)
    assert asked + last.asked == list(range(SAMPLES)), "a chunk was read twice, or not at all"
    assert timeless(found) == undisturbed(folder, "net.onnx")


def test_the_time_of_all_parts_is_added_up(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(folder, ("net.onnx",), Watched(data(), 3), tmp_path / "journal")
    journal = opened(tmp_path / "journal")
    assert journal.partial is not None
    journal.partial = replace(journal.partial, seconds=1000.0)
    journal.save()
    (found,), _ = run(folder, ("net.onnx",), data(), tmp_path / "journal")
    assert 1000 < found.seconds < 1100


@dataclass
class Failing:
    """A candidate that ends the run at its n-th look at a sample, or counts them."""

    held: Any
    looks: list[int]
    at: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.held, name)

    def load(self) -> Failing:
        self.held = self.held.load()
        return self

    def observe(self, x: Tensor) -> Observation:
        self.looks.append(len(x))
        if len(self.looks) == self.at:
            raise KeyboardInterrupt
        return self.held.observe(x)


@pytest.mark.sample(1)
@pytest.mark.parametrize("at", [1, 4, 11, 14])
def test_an_engine_that_is_interrupted_is_as_good_as_data_that_are(at: int, folder: Path, tmp_path: Path) -> None:
    """The first looks are at probes: interrupted there, nothing is kept yet, and the run begins again."""
    whole: list[int] = []
    run(folder, ("net.onnx",), data(), None, wrap=lambda candidate: Failing(candidate, whole))
    probes = len(whole) - SAMPLES
    assert 4 < probes < 11
    with pytest.raises(KeyboardInterrupt):
        run(folder, ("net.onnx",), data(), tmp_path / "journal", wrap=lambda candidate: Failing(candidate, [], at))
    looks: list[int] = []
    found, _ = run(folder, ("net.onnx",), data(), tmp_path / "journal", wrap=lambda candidate: Failing(candidate, looks))
    assert timeless(found) == undisturbed(folder, "net.onnx")
    assert len(looks) == (len(whole) - (at - 1) if at > probes + 1 else len(whole))


# Several candidates.


NAMES = ("net.pt2", "bad.onnx", "net.onnx")


class Stages:
    """Data that are read once per candidate, and end the run in one of the readings."""

    def __init__(self, reading: int, until: int) -> None:
        self.reading, self.until, self.readings = reading, until, 0
        self.data = data()
        self.origin, self.length = self.data.origin, self.data.length

    def read(self, size: int, wanted: Wanted = every) -> Iterator[Chunk]:
        if wanted is every:
            yield from self.data.read(size, wanted)
            return
        self.readings += 1
        yield from Watched(self.data, self.until if self.readings == self.reading else None).read(size, wanted)


@pytest.mark.long
@pytest.mark.parametrize(("reading", "until"), [(1, 2), (2, 0), (2, 4), (3, 5)])
def test_candidates_that_are_finished_stay_finished(reading: int, until: int, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(folder, NAMES, Stages(reading, until), tmp_path / "journal")
    kept = json.loads((tmp_path / "journal").read_text())
    assert [found["candidate"] for found in kept["finished"]] == list(NAMES[: reading - 1])
    again, looks = Watched(data()), {name: list[int]() for name in NAMES}
    candidates = iter(NAMES)
    found, _ = run(folder, NAMES, again, tmp_path / "journal", wrap=lambda candidate: Failing(candidate, looks[next(candidates)]))
    assert timeless(found) == undisturbed(folder, *NAMES)
    assert again.asked == [*range(until, SAMPLES), *list(range(SAMPLES)) * (3 - reading)]
    assert [name for name in NAMES if not looks[name]] == list(NAMES[: reading - 1])


def test_a_run_killed_after_its_last_candidate_has_nothing_left_to_do(folder: Path, tmp_path: Path) -> None:
    before, _ = run(folder, NAMES, data(), tmp_path / "journal")
    again = Watched(data())
    after, _ = run(folder, NAMES, again, tmp_path / "journal")
    assert before == after
    assert again.asked == []


def test_a_candidate_that_does_not_run_is_finished_too(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "net.onnx")
    model.graph.initializer.remove(next(t for t in model.graph.initializer if t.name == "conv2.weight"))
    onnx.save(model, tmp_path / "broken.onnx")
    found, journal = run(tmp_path, ("broken.onnx",), data(), tmp_path / "journal")
    assert any(not check.passed for check in found[0].checks)
    assert journal is not None
    assert journal.finished == found
    again = Watched(data())
    assert run(tmp_path, ("broken.onnx",), again, tmp_path / "journal")[0] == found
    assert again.asked == []


@pytest.mark.sample(1)
@pytest.mark.parametrize("shard", [(1, 2), (2, 2), (3, 4)])
def test_shards_are_taken_up_too(shard: tuple[int, int], folder: Path, tmp_path: Path) -> None:
    plan = Plan(shard=shard)
    whole = Watched(data())
    expected, _ = run(folder, ("bad.onnx",), whole, None, plan)
    until = whole.asked[-1]
    with pytest.raises(Killed):
        run(folder, ("bad.onnx",), Watched(data(), until), tmp_path / "journal", plan)
    again = Watched(data())
    found, _ = run(folder, ("bad.onnx",), again, tmp_path / "journal", plan)
    assert again.asked == [until]
    assert timeless(found) == timeless(expected)


@pytest.mark.sample(1)
@pytest.mark.parametrize("levels", [("deployment",), ("task",), ("proof", "task")])
def test_some_levels_alone_are_taken_up_too(levels: tuple[str, ...], folder: Path, tmp_path: Path) -> None:
    plan = Plan(levels)
    expected, _ = run(folder, ("bad.onnx",), data(), None, plan)
    with pytest.raises(Killed):
        run(folder, ("bad.onnx",), Watched(data(), 4), tmp_path / "journal", plan)
    found, _ = run(folder, ("bad.onnx",), data(), tmp_path / "journal", plan)
    assert timeless(found) == timeless(expected)


# The file.


def test_without_resume_there_is_no_file_and_with_it_one_until_it_is_dropped(folder: Path, tmp_path: Path) -> None:
    before = sorted(folder.iterdir())
    run(folder, ("net.onnx",), data(), None)
    assert sorted(folder.iterdir()) == before
    _, journal = run(folder, ("net.onnx",), data(), tmp_path / "journal")
    assert journal is not None
    assert [path.name for path in tmp_path.iterdir()] == ["journal"], "a draft was left behind"
    journal.discard()
    assert not list(tmp_path.iterdir())
    journal.discard()


def test_progress_is_written_at_most_once_a_second(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("snnconv.verify.journal.time.monotonic", lambda: clock[0])
    (found,) = undisturbed(folder, "net.onnx")
    journal = Journal(tmp_path / "journal", {"run": "this"})
    written = []
    for chunk, passed in enumerate((0.0, 0.4, 0.4, 0.4, 2.0), 1):
        clock[0] += passed
        journal.keep(found, chunk)
        written.append(json.loads((tmp_path / "journal").read_text())["next_chunk"])
    assert written == [1, 1, 1, 4, 5]
    journal.finish(found)
    kept = open_journal(tmp_path / "journal", {"run": "this"})
    assert (kept.finished, kept.partial, kept.next_chunk) == ([found], None, 0)


def test_a_journal_gives_back_what_was_kept(folder: Path, tmp_path: Path) -> None:
    bad, good = undisturbed(folder, "bad.onnx", "net.onnx")
    journal = Journal(tmp_path / "journal", {"run": "this"}, [bad])
    journal.keep(good, 7, now=True)
    assert replace(open_journal(tmp_path / "journal", {"run": "this"}), _saved=0) == replace(journal, _saved=0)


def test_an_empty_file_is_a_new_journal(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    journal = open_journal(tmp_path / "journal", {"run": "this"})
    assert (journal.finished, journal.partial, journal.next_chunk) == ([], None, 0)


# Journals of other runs.


def kept(folder: Path, path: Path, samples: Samples | None = None, plan: Plan | None = None) -> bytes:
    with pytest.raises(Killed):
        run(folder, ("net.onnx",), samples or Watched(data(), 3), path, plan)
    return path.read_bytes()


OTHERS: dict[str, tuple[dict[str, object], str]] = {
    "artifact": ({"names": ("net.pt2",)}, "artifacts was "),
    "more artifacts": ({"names": ("net.onnx", "net.pt2")}, "artifacts was "),
    "samples": ({"samples": data(1)}, "data was data.npz, 6 samples, the first "),
    "fewer samples": ({"samples": data(0, 5)}, "now it is data.npz, 5 samples"),
    "levels": ({"plan": Plan(("task",))}, "levels was proof, algebra, deployment, task, now it is task"),
    "shard": ({"plan": Plan(shard=(1, 2))}, "shard was 1/1, now it is 1/2"),
    "seed": ({"plan": Plan(seed=1)}, "seed was 0, now it is 1"),
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", OTHERS)
def test_a_journal_of_another_run_is_refused_and_left_alone(kind: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    before = kept(folder, path)
    change, words = OTHERS[kind]
    arguments: dict = {"names": ("net.onnx",), "samples": data(), "plan": None, **change}
    with pytest.raises(InputError) as caught:
        run(folder, arguments["names"], arguments["samples"], path, arguments["plan"])
    assert str(caught.value).startswith(f"{path}: belongs to another run: ")
    assert words in str(caught.value)
    assert str(caught.value).endswith("; delete it, or name another with --resume")
    assert path.read_bytes() == before


@pytest.mark.sample(1)
@pytest.mark.parametrize("part", ["source", "reference and settings", "versions"])
def test_another_source_or_version_is_another_run(part: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    kept(folder, path)
    journal = opened(path)
    assert part in journal.identity
    journal.identity[part] = "another"
    journal.save()
    with pytest.raises(InputError, match=f"belongs to another run: {part} was another, now it is "):
        run(folder, ("net.onnx",), data(), path)


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", ["labels", "no labels", "engine"])
def test_other_labels_or_another_engine_are_another_run(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(folder, tmp_path / "journal")
    samples = {"labels": replace(data(), y=data().y.flip(0)), "no labels": data(labels=False)}.get(kind, data())
    if kind == "engine":
        monkeypatch.setattr(Failing, "runtime", "ONNX Runtime 0.1", raising=False)
    with pytest.raises(InputError, match="belongs to another run"):
        run(folder, ("net.onnx",), samples, tmp_path / "journal", wrap=lambda candidate: Failing(candidate, []))


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "text": lambda content: b"not a journal",
    "binary": lambda content: b"PK\x03\x04\xff\xfe",
    "number": lambda content: b"7",
    "list": lambda content: b"[]",
    "report": lambda content: b'{"schema": 2, "command": "verify", "results": []}',
    "other format": lambda content: content.replace(b'"journal": 3', b'"journal": 2'),
    "field missing": lambda content: content.replace(b'"next_chunk"', b'"nextchunk"'),
    "result changed": lambda content: content.replace(b'"values"', b'"numbers"', 1),
    "result of words": lambda content: content.replace(b'"explained": 0', b'"explained": "none"', 1),
    "no result": lambda content: json.dumps({**json.loads(content), "finished": [{}]}).encode(),
    "identity of words": lambda content: json.dumps({**json.loads(content), "identity": "this"}).encode(),
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_journal_is_refused_and_left_alone(kind: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    content = DAMAGED[kind](kept(folder, path))
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        run(folder, ("net.onnx",), data(), path)
    assert str(caught.value).startswith(f"{path}: not a journal of snnconv, of another version, or damaged; ")
    assert path.read_bytes() == content


@pytest.mark.sample(1)
@pytest.mark.parametrize("change", [{"partial": None}, {"next_chunk": 6}, {"next_chunk": -1}])
def test_a_journal_whose_numbers_do_not_fit_together_is_refused(change: dict[str, object], folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text(json.dumps({**json.loads(kept(folder, path)), **change}))
    with pytest.raises(InputError, match="damaged"):
        run(folder, ("net.onnx",), data(), path)


def test_a_journal_needs_a_place(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        run(folder, ("net.onnx",), data(), tmp_path / "nowhere" / "journal")
    with pytest.raises(InputError, match="is a directory"):
        run(folder, ("net.onnx",), data(), tmp_path)
