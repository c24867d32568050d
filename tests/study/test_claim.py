"""Verdicts against numbers worked out by hand."""

import math

import pytest

from simflow.study.claim import judge, tally, threshold, verdicts
from simflow.study.study import Claim, Row, Study
from simflow.study.table import agreement


def claim(figure: str = "psnr") -> Claim:
    return Claim(better="a", worse="b", figure=figure, source="Table 0")


def test_paired_differences_of_three_seeds():
    verdict = judge(claim(), {0: 22.0, 1: 24.0, 2: 29.0}, {0: 20.0, 1: 21.0, 2: 25.0})
    # Differences 2, 3, 4: mean 3, standard deviation 1, standard error 1 / sqrt(3); 3 > 2.92 * 0.577.
    assert verdict.difference == pytest.approx(3.0)
    assert verdict.standard_error == pytest.approx(1 / math.sqrt(3))
    assert (verdict.answer, verdict.seeds, verdict.agreeing) == ("holds", 3, 3)


def test_lower_is_better_for_distances():
    better, worse = {0: 25.0, 1: 24.0, 2: 29.0}, {0: 20.0, 1: 21.0, 2: 25.0}
    assert judge(claim("fd"), worse, better).answer == "holds"
    verdict = judge(claim("fd"), better, worse)
    assert verdict.answer == "does not hold"
    assert verdict.difference == pytest.approx(-4.0)
    assert verdict.agreeing == 0


def test_the_threshold_is_students():
    # Differences 1, 2, 6: mean 3, standard deviation sqrt(7), error 1.5275; 3 / 1.5275 = 1.96 < 2.92.
    verdict = judge(claim(), {0: 1.0, 1: 2.0, 2: 6.0}, {0: 0.0, 1: 0.0, 2: 0.0})
    assert (verdict.answer, verdict.why) == ("undecided", "within the spread")
    assert verdict.agreeing == 3
    # The same again in six seeds: deviation 2.366, error 0.966; 3 / 0.966 = 3.1 > 2.015.
    values = dict(enumerate((1.0, 2.0, 6.0) * 2))
    assert judge(claim(), values, dict.fromkeys(values, 0.0)).answer == "holds"
    assert [threshold(seeds) for seeds in (2, 3, 5)] == [6.314, 2.92, 2.132]


def test_pairing_takes_away_what_both_rows_share():
    better, worse = {0: 10.1, 1: 20.2, 2: 30.1}, {0: 10.0, 1: 20.0, 2: 30.0}
    assert judge(claim(), better, worse).answer == "holds"
    moved = {seed + 3: value for seed, value in better.items()}
    verdict = judge(claim(), moved, worse)
    assert verdict.answer == "undecided"
    assert verdict.seeds == 3
    spread = sum((value - 60.4 / 3) ** 2 for value in better.values()) / 2
    assert verdict.standard_error == pytest.approx(math.sqrt(spread / 3 + 100 / 3))
    two = {seed: value for seed, value in moved.items() if seed < 5}
    for rows in ((two, worse), (worse, two)):
        assert judge(claim(), *rows).seeds == 2


def test_rows_that_are_not_paired_have_no_pairs_of_the_claimed_sign():
    better, worse = {0: 10.1, 1: 10.2, 2: 10.3}, {3: 1.1, 4: 1.2, 5: 1.3}
    verdict = judge(claim(), better, worse)
    assert (verdict.answer, verdict.seeds, verdict.agreeing) == ("holds", 3, None)
    assert agreement(verdict) == "not paired"
    assert agreement(judge(claim(), better, {0: 1.0, 1: 20.0, 2: 1.0})) == "2 of 3"
    assert agreement(judge(claim(), better, {})) == ""
    one = judge(claim(), {0: 1.0, 1: 9.0}, {0: 2.0})  # the other row lacks seed 1
    assert (one.difference, one.seeds, one.agreeing) == (-1.0, 1, 0)


def test_one_seed_decides_nothing():
    verdict = judge(claim(), {0: 99.0}, {0: 1.0})
    assert (verdict.answer, verdict.why, verdict.difference) == ("undecided", "one seed", 98.0)
    assert judge(claim(), {0: 99.0}, {1: 1.0}).why == "one seed"
    assert judge(claim(), {}, {0: 1.0}).why == "no figure of a"
    assert judge(claim(), {}, {}).why == "no figure of a and b"


def test_equal_rows_are_undecided_and_constant_differences_are_not():
    same = {0: 1.0, 1: 1.0}
    verdict = judge(claim("collapsed"), same, same)
    assert (verdict.answer, verdict.agreeing) == ("undecided", 0)
    assert judge(claim("collapsed"), dict.fromkeys(same, 0.0), same).answer == "holds"


def test_all_claims_of_a_study():
    rows = (
        Row(name="a", label="A", recipe="demo", paper={"psnr": 23.0}),
        Row(name="b", label="B", recipe="demo", paper={"psnr": 22.5, "fd": 4.0}),
    )
    study = Study(name="s", says="", source="", rows=rows, claims=(claim("psnr"), claim("fd"), claim("ssim")))
    figures = {
        "a": {0: {"psnr": 3.0, "fd": 5.0}, 1: {"psnr": 3.1, "fd": 5.1}},
        "b": {0: {"psnr": 1.0, "fd": 1.0}, 1: {"psnr": 1.1, "fd": 1.1, "ssim": None}},
    }
    found = verdicts(study, figures)
    assert [verdict.answer for verdict in found] == ["holds", "does not hold", "undecided"]
    assert [verdict.paper for verdict in found] == [0.5, None, None]
    assert tally(found) == {"holds": 1, "does not hold": 1, "undecided": 1}
    assert found[0].to_dict()["better"] == "a"
