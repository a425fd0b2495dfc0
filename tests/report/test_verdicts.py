"""How checks, layers, levels, candidates and reports came out, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from snnconv.report.verdicts import (
    EQUIVALENT,
    FAILED,
    FAULT,
    INCOMPLETE,
    NOT_RUN,
    OPEN,
    PASSED,
    UNDECIDED,
    Level,
    check_state,
    facts,
    headline,
    layer_state,
    levels,
    outcome,
    place,
    sentence,
    summary,
    worst_error,
    worst_outcome,
)
from snnconv.results import NOT_CHECKED, UNPROVEN, Check, LayerTally, Verdict
from snnconv.results.verdict import judge
from tests.report.examples import GOOD, bad, good, partial, unchecked, unproven


def level(name: str, verdict: Verdict) -> Level:
    return next(one for one in levels(verdict) if one.name == name)


def test_a_check_and_a_layer_pass_or_fail() -> None:
    assert check_state(Check("proof", "", True, "")) == PASSED and check_state(Check("proof", "", False, "")) == FAILED
    assert layer_state(LayerTally("a", explained=3)) == PASSED and layer_state(LayerTally("a", unexplained=1)) == FAILED


def test_what_is_open_neither_passed_nor_failed_and_marks_its_level() -> None:
    assert level("proof", unproven()).state == OPEN[UNPROVEN] and level("proof", unproven()).said == "1 of 3 checks unproven"
    assert level("algebra", unproven()).state == OPEN[NOT_CHECKED]
    assert level("algebra", unproven()).said == "Toy 1 does not compute in float64"


def test_a_check_is_placed_by_its_level_and_layer() -> None:
    assert place(Check("proof", "conv", True, "")) == "proof conv" and place(Check("task", "", True, "")) == "task"


def test_an_error_is_a_share_of_its_bound() -> None:
    errors = {0.074: "7.4%", 12.5: "1,250.0%", 2e5: "2.0e+05 times", None: "not a number"}
    assert {worst: worst_error(LayerTally("a", worst=worst)) for worst in errors} == errors


def test_a_level_is_as_bad_as_its_worst_check() -> None:
    assert (level("deployment", bad()).state, level("deployment", bad()).said) == (FAILED, "3 of 6 checks failed")
    assert (level("deployment", good()).state, level("deployment", good()).said) == (PASSED, "8 of 8 checks passed")


def test_a_single_check_speaks_for_its_level_and_names_its_layer() -> None:
    assert level("contract", bad()).said == "T = 4, one image shown, read-out mean"
    assert level("proof", bad()).said.startswith("last.neuron: 1 of 32 in threshold differ")


def test_the_task_is_said_by_its_agreement() -> None:
    assert len(level("task", bad()).checks) == 2 and level("task", bad()).said.startswith(
        "argmax agrees on 95.20% of 125 samples"
    )


def test_a_level_without_checks_did_not_run() -> None:
    assert (level("algebra", bad()).state, level("algebra", bad()).said) == (NOT_RUN, "this level was left out")
    empty = judge(replace(GOOD, checks=(), probes=(), layers=()))
    assert (level("deployment", empty).state, level("deployment", empty).said) == (NOT_RUN, "nothing to check")


def test_levels_stand_in_the_order_in_which_they_run_and_others_behind() -> None:
    verdict = judge(replace(GOOD, checks=(*GOOD.checks, Check("mine", "", True, ""))))
    assert [one.name for one in levels(verdict)] == ["contract", "proof", "algebra", "deployment", "task", "mine"]


def test_a_report_is_as_bad_as_its_worst_candidate() -> None:
    assert [outcome(verdict) for verdict in (good(), partial(), bad())] == [EQUIVALENT, INCOMPLETE, FAULT]
    assert (outcome(unproven()), outcome(unchecked())) == (UNDECIDED, INCOMPLETE)
    assert worst_outcome([partial(), unproven()]) == UNDECIDED and worst_outcome([bad(), unproven()]) == FAULT
    assert worst_outcome([good(), partial()]) == INCOMPLETE and worst_outcome([bad(), good()]) == FAULT
    assert worst_outcome([]) == FAULT


def test_the_headline_of_one_candidate_is_its_word() -> None:
    assert headline((partial(),)) == partial().word
    assert headline((good(), partial())) == "NO FAULT FOUND" and headline((good(), good())) == "EQUIVALENT"
    assert headline(()) == "NOT EQUIVALENT"


def test_several_candidates_are_counted_by_their_outcome() -> None:
    assert summary((bad(), good(), bad())) == "3 candidates: 1 equivalent, 2 not equivalent."
    assert summary(()) == "Nothing was verified."


@pytest.mark.parametrize(
    ("verdict", "start"), [(good(), "All 14 checks passed"), (bad(), "5 of 10 checks failed"), (partial(), "Nothing failed, but")]
)
def test_a_sentence_says_what_a_verdict_means(verdict: Verdict, start: str) -> None:
    assert sentence(verdict).startswith(start)


def test_the_facts_are_flips_agreement_and_accuracy() -> None:
    assert facts(GOOD) == [
        ("0", "unexplained flips of 15,680,000 spikes"),
        ("3", "flips explained by rounding"),
        ("100.00%", "argmax agreement on 500 samples"),
        ("91.00% → 91.00%", "accuracy, source → candidate"),
    ]


def test_without_labels_the_logit_error_stands_for_the_accuracy() -> None:
    assert GOOD.task is not None
    found = replace(GOOD, layers=(), task=replace(GOOD.task, labelled=0, explained=2))
    assert [value for value, _ in facts(found)] == ["100.00%", "2", "3.8e-06"]
