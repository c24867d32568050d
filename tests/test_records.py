"""What two records differ in, and how that is said."""

import pytest

from simflow.records import differences, differing


@pytest.mark.parametrize(
    ("there", "here", "paths"),
    [
        ({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 2]}, []),
        ({"a": 1}, {"b": 1}, ["a", "b"]),
        ({"a": None}, {}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c"]),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {"b": 3}]}, ["a.1.b"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a"]),
        ({"a": {"type": "A", "x": 1}}, {"a": {"type": "B", "x": 2}}, ["a.type"]),
        ({"a": {"x": 1}}, {"a": {"type": "B", "x": 1}}, []),
    ],
)
def test_differences_name_the_paths(there, here, paths):
    assert differences(there, here) == paths
    assert sorted(differences(here, there)) == paths


def test_a_long_value_is_said_shortly():
    said = differing({"a": {"b": "x" * 100}}, {"a": {}}, "a.b")
    assert said == f"a.b is {'x' * 57}... there and nothing here"
