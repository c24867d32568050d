"""A recipe may be a function in a file or a module of a user's own."""

import pytest

from simflow import recipes

MINE = """
from dataclasses import replace
from simflow import recipes

def small():
    "A demo of another name."
    return replace(recipes.get("demo"), name="small")

def model():
    return small().model
"""


@pytest.mark.parametrize("name", ["mine.py:small", "./mine.py:small", "lab/mine.py:small", "lab.mine:small"])
def test_a_function_is_a_recipe(desk, name):
    (desk / "lab").mkdir()
    for file in (desk / "mine.py", desk / "lab" / "mine.py"):
        file.write_text(MINE)
    config = recipes.get(name)
    assert (config.name, config.model) == ("small", recipes.get("demo").model)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mine.py:model", "'mine.py:model' gives a ModelConfig; a recipe gives a RunConfig"),
        ("mine.py:smal", "there is no function 'smal' in 'mine.py'; did you mean small?"),
        ("other.py:small", "there is no file 'other.py' to import"),
        ("mine.py", "there is no recipe 'mine.py'; one in a file is written mine.py:FUNCTION"),
        ("mine.py:", "there is no recipe 'mine.py:'"),
        ("demo:small", "'demo' cannot be imported: ModuleNotFoundError: No module named 'demo'"),
    ],
)
def test_what_is_no_recipe_is_one_sentence(desk, name, sentence):
    (desk / "mine.py").write_text(MINE)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        recipes.get(name)
    assert str(caught.value).startswith(sentence)
