"""Markdown for job summaries: the verdict first, and names that stay names."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from snnconv.report.markdown import markdown, markdown_cell, render_markdown
from snnconv.report.text import one_line
from snnconv.results import Check, Conversion, Measure, Site
from snnconv.results.document import conversion_report, verification_report
from snnconv.results.verdict import Verdict, judge
from tests.report.examples import GOOD, LAYERS, bad, good, partial

NASTY = "<script>alert(1)</script> a|b *c* _d_ `e` [f](http://g) ![h](i) # j ~k~ @someone #1 https://l.m $n$ &amp; \\"


class Text(HTMLParser):
    """The text of a page, and the elements in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags = "", list[str]()
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def rendered(text: str) -> Text:
    return Text(MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(text))


def of(*verdicts: Verdict) -> str:
    return render_markdown(verification_report(verdicts))


def test_the_verdict_comes_first_in_words() -> None:
    assert of(good()).startswith("## ✅ EQUIVALENT: `fashion.onnx`\n")
    assert of(bad()).startswith("## ❌ NOT EQUIVALENT: `broken.onnx`\n")
    assert of(partial()).startswith("## ⚠️ NO FAULT FOUND in shard 0/4")
    assert of(good(), bad(), partial()).startswith("## ❌ NOT EQUIVALENT\n\n3 candidates: 1 equivalent, 1 without a fault")
    assert of().startswith("## ❌ NOT EQUIVALENT\n\nNothing was verified.")


def test_every_failed_check_is_spelled_out() -> None:
    page = rendered(of(bad()))
    for check in bad().faults:
        assert check.detail in page.text


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_text_is_literal(text: str) -> None:
    page = rendered(f"before {markdown(text)} after")
    assert " ".join(page.text.split()) == " ".join(f"before {one_line(text)} after".split())
    assert page.tags == ["p"]


@given(st.text("-+1.) #>=*\\a"))
@settings(max_examples=200, deadline=None)
def test_text_that_begins_a_line_begins_no_list(text: str) -> None:
    page = rendered(f"- {markdown(text)}x")
    assert "ol" not in page.tags and page.tags.count("li") == 1


@given(st.text() | st.text("`|\\ a<"))
@settings(max_examples=300, deadline=None)
def test_a_name_fills_one_cell(name: str) -> None:
    page = rendered(f"| a | b |\n|---|---|\n| {markdown_cell(name)} | end |")
    assert page.tags.count("td") == 2
    assert page.tags.count("code") == 1
    assert " ".join(page.text.split()) == " ".join(f"a b {one_line(name)} end".split())


@pytest.mark.parametrize("name", [NASTY, "`" * 3, "|", "\n# heading", "</details>"])
def test_a_name_from_outside_stays_text(name: str) -> None:
    plain = rendered(of(bad()))
    layers = tuple(replace(tally, name=name if tally.name == "last.neuron" else tally.name) for tally in LAYERS)
    found = replace(
        GOOD, candidate=name, source=name, runtime=name, layers=layers, notes=(name,), environment={name: name},
        data=replace(GOOD.data, origin=name), checks=(*GOOD.checks, Check("proof", name, False, name)),
    )  # fmt: skip
    page = rendered(of(judge(found)))
    assert set(page.tags) <= set(plain.tags) | {"blockquote"}
    assert page.text.count(one_line(name)) >= 8


def test_a_wide_table_is_folded_away() -> None:
    wide = judge(replace(GOOD, layers=tuple(replace(LAYERS[0], name=f"layer{n}") for n in range(60))))
    assert "<details><summary>60 layers</summary>" in of(wide)
    assert len(of(wide)) < 30_000


def test_a_conversion_shows_its_measures_and_norms() -> None:
    site = Site("first.bn", "BatchNorm2d", "first.conv", "rounding", "into weight | bias")
    text = render_markdown(conversion_report(Conversion("net.pth", "a<b>", (site,), (good(),), (Measure("n|et", 120_000, 2.5),))))
    assert "| `n\\|et` | 0.12 MB | 2.50 ms |" in text
    assert "1 norms of a&lt;b&gt; folded" in text
    assert "into weight \\| bias" in text


def test_a_bound_that_was_measured_is_called_so() -> None:
    found = judge(replace(GOOD, layers=(replace(LAYERS[0], measured=True), *LAYERS[1:])))
    assert of(found).count(", measured |") == 1 and "measured" not in of(judge(GOOD))
