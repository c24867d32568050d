"""Words that do not parse are one sentence each; what parses is in the doctests."""

import pytest

from simflow.cli.words import parse_pairs, parse_seeds, split_settings


def test_settings_are_taken_out_wherever_they_stand():
    plain, settings = split_settings(
        ["--train.batch", "64", "demo", "--model.prior.depths=[2, 2]", "--out", "a.b"]
    )
    assert plain == ["demo", "--out", "a.b"]
    assert settings == {"train.batch": 64, "model.prior.depths": [2, 2]}


def test_values_are_yaml_scalars():
    flags = ["--a.b", "1e-4", "--a.c", "-0.5", "--a.d", "null", "--a.e", "true", "--a.f", "64Ki"]
    assert split_settings(flags)[1] == {"a.b": 1e-4, "a.c": -0.5, "a.d": None, "a.e": True, "a.f": "64Ki"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--train.batch"], "'--train.batch' needs a value"),
        (["--train.batch", "--out", "x"], "'--train.batch' needs a value"),
        (["--a.b", "1", "--a.b=2"], "'--a.b' is given twice"),
        (["--a.b", "[1,"], "is not YAML"),
    ],
)
def test_bad_settings(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        split_settings(words)


@pytest.mark.parametrize("text", ["", "a", "1-", "-3", "1-2-3", "1,,2", "9-3"])
def test_bad_seeds(text):
    with pytest.raises(ValueError, match="seeds"):
        parse_seeds(text)


@pytest.mark.parametrize("text", ["3", "3,", "a,b", "1,2,3"])
def test_bad_pairs(text):
    with pytest.raises(ValueError, match="a pair is written"):
        parse_pairs([text])
