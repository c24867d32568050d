"""Does an order hold? Differences of one figure between two rows, against their spread over seeds.

For a claim "``better`` beats ``worse`` by this figure", each seed that both rows have gives a difference, positive
where it is as claimed: the same seed has the same order of the data and noise, so rows are paired. Its mean ``d`` over
``n`` seeds has the standard error ``e = s / sqrt(n)``, ``s`` the standard deviation of the differences (``n - 1`` in
the denominator). Where rows share fewer than two seeds but have two each, ``d`` is the difference of means and
``e = sqrt(s1^2 / n1 + s2^2 / n2)``. The rule:

- ``d > t e``: the order **holds**;
- ``d < -t e``: it **does not hold**;
- else it is **undecided**, and so it always is with one seed.

``t`` is the 0.95 quantile of Student's distribution with ``n - 1`` degrees of freedom (of the smaller ``n``, if not
paired): 6.3 for two seeds, 2.9 for three, 2.1 for five. If two rows were equal and differences normal, an order would
be said to hold 5 times in 100, and not to hold as often. Many claims are judged at once, and nothing corrects for that;
``agreeing`` says how many seeds have the claimed sign.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from simflow.study.columns import column
from simflow.study.study import Claim, Study

STUDENT = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)
"""0.95 quantiles of Student's distribution with 1, 2, ... degrees of freedom; beyond the last, the last."""

Answer = Literal["holds", "does not hold", "undecided"]

Values = Mapping[int, float]
"""One figure of one row, by seed."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a claim."""

    claim: Claim
    answer: Answer
    why: str
    """In a few words, where it is undecided."""
    difference: float | None
    """By how much the better row is better; negative if it is worse. Of the figure's own unit."""
    standard_error: float | None
    seeds: int
    """Pairs, or the smaller number of seeds where they are not paired."""
    agreeing: int | None
    """Pairs of the claimed sign; None where rows are not paired."""
    paper: float | None
    """The paper's difference."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        plain = {name: value for name, value in vars(self).items() if name != "claim"}
        return vars(self.claim) | plain


def judge(claim: Claim, better: Values, worse: Values, *, paper: float | None = None) -> Verdict:
    """The verdict on one claim; the rule is at the top of this file.

    >>> claim = Claim(better="a", worse="b", figure="psnr", source="Table 1")
    >>> judge(claim, {0: 21.0, 1: 22.0, 2: 23.0}, {0: 20.0, 1: 20.9, 2: 22.1}).answer
    'holds'
    """
    sign = 1 if column(claim.figure).better == "higher" else -1
    common = sorted(better.keys() & worse.keys())
    pairs = [sign * (better[seed] - worse[seed]) for seed in common]
    difference, error, seeds = None, None, len(pairs)
    agreeing = sum(pair > 0 for pair in pairs)
    if len(pairs) > 1:
        difference, error = fmean(pairs), stdev(pairs) / math.sqrt(len(pairs))
    elif len(better) > 1 and len(worse) > 1:
        difference = sign * (fmean(better.values()) - fmean(worse.values()))
        error = math.sqrt(sum(stdev(part.values()) ** 2 / len(part) for part in (better, worse)))
        seeds, agreeing = min(len(better), len(worse)), None
    elif pairs:
        difference = pairs[0]
    elif better and worse:
        difference = sign * (fmean(better.values()) - fmean(worse.values()))
        seeds, agreeing = 1, None
    answer, why = _answer(claim, difference, error, seeds, lacking=[not better, not worse])
    return Verdict(
        claim=claim,
        answer=answer,
        why=why,
        difference=difference,
        standard_error=error,
        seeds=seeds,
        agreeing=agreeing,
        paper=paper,
    )


def verdicts(study: Study, figures: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> list[Verdict]:
    """All claims of a study.

    Args:
        study: whose claims.
        figures: of each row, of each seed, the figures by key; what is None or absent counts as not there.
    """
    found = []
    for claim in study.claims:
        better, worse = (
            {
                seed: float(own[claim.figure])
                for seed, own in figures.get(name, {}).items()
                if own.get(claim.figure) is not None
            }
            for name in (claim.better, claim.worse)
        )
        found.append(judge(claim, better, worse, paper=printed(study, claim)))
    return found


def printed(study: Study, claim: Claim) -> float | None:
    """The difference of the paper's own numbers, positive as claimed; None where it prints none."""
    ours, theirs = (study.row(name).paper.get(claim.figure) for name in (claim.better, claim.worse))
    if ours is None or theirs is None:
        return None
    return (ours - theirs) if column(claim.figure).better == "higher" else (theirs - ours)


def threshold(seeds: int) -> float:
    """How many standard errors decide, with so many seeds, at least two.

    >>> threshold(3), threshold(100)
    (2.92, 1.812)
    """
    return STUDENT[min(seeds - 1, len(STUDENT)) - 1]


def tally(found: Sequence[Verdict]) -> dict[Answer, int]:
    """How many claims have which answer."""
    answers: tuple[Answer, ...] = ("holds", "does not hold", "undecided")
    return {answer: sum(each.answer == answer for each in found) for answer in answers}


def _answer(
    claim: Claim, difference: float | None, error: float | None, seeds: int, *, lacking: Sequence[bool]
) -> tuple[Answer, str]:
    if difference is None:
        rows = [name for name, gone in zip((claim.better, claim.worse), lacking, strict=True) if gone]
        return "undecided", f"no figure of {' and '.join(rows)}"
    if error is None:
        return "undecided", "one seed"
    if abs(difference) <= threshold(seeds) * error:
        return "undecided", "within the spread"
    return ("holds" if difference > 0 else "does not hold"), ""
