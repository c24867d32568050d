"""Figures are found wherever they were written, and the best of several runs is told rightly."""

import pytest

from simflow.records import leaves
from simflow.report.origins import plain
from simflow.report.results import Result, best, of_evaluation
from tests.report.evaluation import EVALUATION


def test_figures_of_an_evaluation_in_order():
    found = of_evaluation("results", EVALUATION)
    assert [each.name for each in found] == [
        "FD-Test",
        "Recall",
        "Class accuracy",
        "Diversity within a class",
        "Share as near to training images as 1% of real ones",
        "Bits per dimension",
        "AUROC, other",
    ]
    first = found[0]
    assert (first.value, first.error, first.floor, first.better) == (123.456, 2.3, 53.3, "lower")
    assert first.deficient
    assert not found[1].deficient
    assert found[2].floor == 0.83
    assert {each.source for each in found} == {"results"}


def test_figures_that_two_networks_have_under_one_name_are_told_apart():
    def part(network: str, distance: str, recall: float) -> dict:
        figures = [
            {"name": distance, "value": 1.0, "better": "lower"},
            {"name": "recall", "value": recall, "better": "higher"},
        ]
        return {"extractor": {"name": network}, "figures": figures}

    tree = {"generation": [part("one", "FD-One", 0.4), part("two", "FD-Two", 0.6)]}
    found = {each.name: each.value for each in of_evaluation("results", tree)}
    assert found == {"FD-One": 1.0, "Recall, one": 0.4, "FD-Two": 1.0, "Recall, two": 0.6}


def test_figures_that_are_there():
    found = of_evaluation("figures", {"classes": {"accuracy": None, "diversity": 0.8}, "left_out": []})
    assert [(each.name, each.value) for each in found] == [("Diversity within a class", 0.8)]
    assert of_evaluation("figures", {"classes": None}) == []


def result(value: float | None, better: str | None = "lower") -> Result:
    return Result(source="s", name="n", value=value, better=better)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([result(2.0), result(1.0), result(3.0)], 1),
        ([result(2.0, "higher"), None, result(3.0, "higher")], 2),
        ([result(2.0), result(2.0)], None),
        ([result(2.0), None], None),
        ([result(2.0), result(None)], None),
        ([result(2.0, None), result(1.0, None)], None),
        ([result(-1.0), result(0.0)], 0),
    ],
)
def test_the_best(results, expected):
    assert best(results) == expected


def test_settings_in_words():
    assert plain(False) == "no"
    assert plain(0) == "0"
    assert dict(leaves({"a": {"b": [1, {"c": 2}], "d": None}})) == {"a.b": [1, {"c": 2}], "a.d": None}
