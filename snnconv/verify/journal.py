"""Progress of a verification on disk, so that a run that was killed goes on from its last completed chunk."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snnconv.errors import InputError
from snnconv.files import parse_json, replacing, writable
from snnconv.results import Verification
from snnconv.results.document import to_plain
from snnconv.results.reading import from_plain

FORMAT = 3
_SECONDS_BETWEEN = 1.0


@dataclass
class Journal:
    """What is done so far: the candidates that are finished, and the one in work up to chunk `next_chunk`.

    `identity` says which run this is: sources, artifacts, data, levels, versions. A journal of another run is never gone on with.
    """

    path: Path
    identity: dict[str, str]
    finished: list[Verification] = field(default_factory=list)
    partial: Verification | None = None
    next_chunk: int = 0
    _saved: float = field(default=0.0, repr=False)

    def keep(self, partial: Verification | None, next_chunk: int, now: bool = False) -> None:
        """Note that all chunks before `next_chunk` are done; written at most once a second unless `now`."""
        self.partial, self.next_chunk = partial, next_chunk
        if now or time.monotonic() - self._saved >= _SECONDS_BETWEEN:
            self.save()

    def finish(self, found: Verification) -> None:
        """Note that a candidate is finished."""
        self.finished.append(found)
        self.keep(None, 0, now=True)

    def save(self) -> None:
        """Write the journal, whole or not at all."""
        document = {
            "journal": FORMAT,
            "identity": self.identity,
            "finished": [to_plain(found) for found in self.finished],
            "partial": None if self.partial is None else to_plain(self.partial),
            "next_chunk": self.next_chunk,
        }
        with replacing(self.path) as draft:
            draft.write((json.dumps({**document, "sha256": _digest(document)}) + "\n").encode())
        self._saved = time.monotonic()

    def discard(self) -> None:
        """Drop the file: the run is complete."""
        self.path.unlink(missing_ok=True)


def open_journal(path: Path, identity: dict[str, str]) -> Journal:
    """The journal at `path`, or a new one. Raises `InputError` for one that is damaged or of another run."""
    writable(path, force=True)
    if not path.exists() or path.stat().st_size == 0:
        return Journal(path, identity)
    try:
        document: dict[str, Any] = parse_json(path.read_bytes())
        if document["journal"] != FORMAT or document.pop("sha256") != _digest(document):
            raise ValueError("of another format, or changed")
        partial = document["partial"]
        journal = Journal(
            path,
            dict(document["identity"]),
            [from_plain(found) for found in document["finished"]],
            None if partial is None else from_plain(partial),
            int(document["next_chunk"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError, InputError) as error:
        what = f"{path}: not a journal of snnconv, of another version, or damaged"
        raise InputError(what, "name another file with --resume") from error
    unlike = [key for key, value in identity.items() if journal.identity.get(key) != value]
    if unlike:
        first = unlike[0]
        raise InputError(
            f"{path}: belongs to another run: {first} was {journal.identity.get(first)}, now it is {identity[first]}",
            "delete it, or name another with --resume",
        )
    return journal


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()
