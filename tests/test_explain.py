"""Every setting of every recipe has a flag that is taken, and a text."""

from dataclasses import dataclass

import pytest

from simflow.explain import explained, explained_part
from simflow.posterior import FixedVariance
from simflow.recipes import get
from simflow.settings import override, to_dict

NAMES = ("demo", "fashion-32-decoder", "simflow-b-repa", "starflow-256", "tarflow-imagenet64-unconditional")


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_is_taken_and_changes_nothing_when_it_says_what_is_there(name):
    config = get(name)
    for setting in explained(config):
        if not setting.path.endswith(".type"):
            assert override(config, {setting.path: setting.value}) == config, setting
        elif setting.value is not None:
            assert setting.value in setting.choices
            assert to_dict(override(config, {setting.path: setting.value}))


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_says_what_it_is_for(name):
    assert [setting.path for setting in explained(get(name)) if not setting.text] == []


def test_a_slot_and_a_word_list_their_choices():
    found = {setting.path: setting for setting in explained(get("demo"))}
    assert found["model.posterior.std"].value == 0.5
    assert "LearnedVariance" in found["model.posterior.type"].choices
    assert found["objective.adversarial.type"].value is None
    assert found["train.dtype"].choices == ("auto", "float32", "bfloat16")
    assert found["train.stages.0.steps"].value == 1150


def test_what_may_stand_in_an_empty_slot_is_explained_at_its_defaults():
    found = {setting.path: setting for setting in explained(get("demo"))}
    (part,) = found["train.validation.type"].parts
    inside = {setting.path: setting for setting in explained_part(part, "train.validation.")}
    assert inside["train.validation.every"].value == 1000
    assert inside["train.validation.best"].text.startswith("Keep the averaged weights")
    needed = next(explained_part(type(get("demo").data), "data."))
    assert (needed.path, needed.value) == ("data.path", None), "it has no default"
    (again,) = found["start_from.type"].parts
    assert {setting.path for setting in explained_part(again, "start_from.")} >= {
        "start_from.path",
        "start_from.grow",
    }


def test_an_inherited_setting_has_the_text_of_its_own_class():
    @dataclass(frozen=True, kw_only=True)
    class Louder(FixedVariance):
        times: int = 2
        """How much louder."""

    inherited, own = explained(Louder())
    assert inherited.text.startswith("Standard deviation; the paper's variance")
    assert own.text == "How much louder."
