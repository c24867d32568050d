"""Every recipe survives JSON, builds without memory, and has the stated number of parameters."""

import json

import pytest

from simflow import recipes
from simflow.cli.describe import on_meta, parameters
from simflow.config import RunConfig, from_record, to_record
from simflow.recipes import tables
from simflow.settings import from_dict, override, to_dict
from simflow.yaml_text import dump_yaml, parse_yaml

FLOWS = {
    "simflow-s": 37.0,
    "simflow-b": 141.3,
    "simflow-l": 474.9,
    "simflow-xl": 695.3,
    "simflow-xxl": 1364.6,
}
"""Millions of parameters of the flow, SimFlow Table 8 as its layers add up."""


@pytest.mark.parametrize("name", recipes.recipes())
def test_every_recipe_survives_json_and_yaml(name):
    config = recipes.get(name)
    facts = config.expected_facts()
    assert from_record(json.loads(json.dumps(to_record(config, facts)))) == (config, facts)
    assert from_dict(RunConfig, parse_yaml(dump_yaml(to_dict(config)))) == config
    assert override(config, {}) == config


@pytest.mark.parametrize("name", [name for name in recipes.recipes() if name not in tables.recipes()])
def test_every_recipe_builds_on_meta_and_says_how(name):
    config = recipes.get(name)
    model = on_meta(config, config.expected_facts())
    assert all(parameter.is_meta for parameter in model.parameters())
    assert config.name == name
    assert name in (recipes.recipes()[name].__doc__ or "") or "simflow demo" in (
        recipes.recipes()[name].__doc__ or ""
    )
    if name in FLOWS:
        assert parameters(model.prior) / 1e6 == pytest.approx(FLOWS[name], rel=3e-3)
        assert parameters(model.autoencoder) / 1e6 == pytest.approx(67.14, rel=3e-3)


def test_an_unknown_recipe_has_near_ones():
    with pytest.raises(ValueError, match="there is no recipe 'simflow_b'; did you mean simflow-b"):
        recipes.get("simflow_b")
