"""The HTML report: one file, no network, no script, nothing a name can break."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

import snnconv
from snnconv.report.html import render_html
from snnconv.results import Check, Conversion, Measure, Site, Verification
from snnconv.results.document import conversion_report, verification_report
from snnconv.results.verdict import Verdict, judge
from tests.report.examples import BAD, DIFFERENCE, GOOD, LAYERS, THRESHOLDS, bad, good, partial

VOID = {"meta", "wbr", "link", "img", "br"}


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text; complains of elements that are not closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text, self._open = "", list[str]()
        self.feed(text)
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def html(*verdicts: Verdict) -> str:
    return render_html(verification_report(verdicts))


def page(*verdicts: Verdict) -> Page:
    return Page(html(*verdicts))


def words(found: Page) -> str:
    return " ".join(found.text.split())


def test_the_verdict_comes_first() -> None:
    assert words(page(good())).startswith(
        f"EQUIVALENT: fashion.onnx snnconv {snnconv.__version__} · verify ✓EQUIVALENT fashion.onnx against"
    )
    assert "✕NOT EQUIVALENT" in words(page(bad()))[:120]
    assert "◐NO FAULT FOUND in shard 0/4" in words(page(partial()))[:220]


def test_several_candidates_have_a_summary_and_a_section_each() -> None:
    found = page(good(), bad(), partial())
    assert "3 candidates: 1 equivalent, 1 without a fault, but not checked in full, 1 not equivalent." in words(found)
    links = [attributes["href"] for attributes in found.of("a")]
    assert links == [f"#{attributes['id']}" for attributes in found.of("article")]


def test_nothing_is_loaded_and_nothing_runs() -> None:
    text = html(good(), bad())
    found = Page(text)
    policy = next(a["content"] for a in found.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not {tag for tag, _ in found.elements} & {"script", "link", "img", "iframe", "object", "use", "image", "base"}
    assert not re.search(r"https?:|url\(|@import|javascript:", text)
    assert not any(name.startswith("on") or name == "src" for _, attributes in found.elements for name in attributes)


def test_figures_say_what_they_show_and_follow_the_theme() -> None:
    text = html(bad())
    figures = Page(text).of("svg")
    assert len(figures) == 7
    assert all(figure["role"] == "img" and len(figure["aria-label"]) > 30 for figure in figures)
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert not re.search(r"#[0-9a-f]{6}", drawn)
    for role in ("ink", "line", "wash", "source", "candidate", "fault"):
        assert f"var(--{role})" in drawn
    light, dark = text.split("prefers-color-scheme: dark")[:2]
    for role in set(re.findall(r"var\(--([a-z]+)\)", drawn)):
        assert f"--{role}: #" in light and f"--{role}: #" in dark.partition("}")[0]


def test_tables_name_their_columns_and_rows() -> None:
    found = page(good(), bad())
    assert all(attributes.get("scope") in ("col", "row") for attributes in found.of("th"))
    assert len(found.of("th")) > 50
    scrolling = [a for a in found.of("div") if a.get("class") == "scroll"]
    assert len(scrolling) == len(found.of("table"))
    assert all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in scrolling)


def test_no_identifier_stands_twice() -> None:
    ids = Counter(a["id"] for _, a in page(good(), bad()).elements if "id" in a)
    assert ids == {"candidate-1": 1, "candidate-2": 1}


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "a&b'c$x^2$"])
def test_a_name_from_outside_stays_text(name: str) -> None:
    def renamed(found: Verification) -> Verification:
        layers = tuple(replace(tally, name=name if tally.name == "last.neuron" else tally.name) for tally in found.layers)
        return replace(
            found, source=name, candidate=name, arch=name, runtime=name, environment={name: name}, notes=(name,), layers=layers,
            checks=(*found.checks, Check(name, name, False, name)), thresholds=(replace(THRESHOLDS[0], layer=name),),
            difference=replace(DIFFERENCE, layer=name), data=replace(found.data, origin=name),
            probes=(replace(found.probes[0], name=name, nearest={name: 1.0}),),
        )  # fmt: skip

    site, measure = Site(name, name, name, name, name), Measure(name, 1, 1.0)
    verdicts = (judge(renamed(BAD)), judge(renamed(GOOD)))
    found = Page(render_html(conversion_report(Conversion(name, name, (site,), verdicts, (measure,)))))
    plain = Page(render_html(conversion_report(Conversion("a", "a", (replace(site),), (bad(), good()), (measure,)))))
    assert {tag for tag, _ in found.elements} <= {tag for tag, _ in plain.elements} | {"p"}
    assert not any(key.startswith("on") for _, attributes in found.elements for key in attributes)
    assert found.text.count(name) > 30


def test_no_difference_is_said_in_words() -> None:
    assert "No spike differs between the free-running source and the candidate" in words(page(good()))
    assert "the source is silent, the candidate fires" in words(page(bad()))


def test_what_was_not_found_is_not_shown() -> None:
    empty = judge(replace(GOOD, layers=(), probes=(), thresholds=(), task=None, levels=(), notes=()))
    found = page(empty)
    assert not found.of("svg")
    for heading in ("Layers", "Spike rates", "Margins", "Folded thresholds", "Probes", "First difference"):
        assert heading not in words(found)
    assert "All checks" in words(found)


def test_a_wide_network_is_folded_away() -> None:
    layers = tuple(replace(LAYERS[0], name=f"layer{n}.neuron") for n in range(60))
    thresholds = tuple(replace(THRESHOLDS[0], layer=tally.name) for tally in layers)
    checks = tuple(Check("proof", tally.name, True, "8 constants confirmed") for tally in layers)
    text = html(judge(replace(GOOD, layers=layers, thresholds=thresholds, checks=checks)))
    found = Page(text)
    assert len(found.of("svg")) == 2 + 60 + 60
    assert all("open" not in attributes for attributes in found.of("details")[:2])
    assert "".join(re.findall(r"</?details", text)) == "<details</details" * len(found.of("details"))
    assert len(text) < 800_000


def test_the_same_report_is_the_same_bytes_whatever_matplotlib_is_set_to() -> None:
    import matplotlib

    before = html(bad())
    with matplotlib.rc_context({"font.size": 33, "font.weight": "bold", "svg.fonttype": "path"}):
        assert html(bad()) == before
        assert matplotlib.rcParams["font.size"] == 33
