"""All runs of a study are configured alike, and a folder is held to its budget."""

import pytest

from simflow.study.budget import Budget, hold_to
from simflow.study.named import get
from simflow.study.study import Before, Row

ROW = Row(name="a", label="A", recipe="table10-fixed-demo")


def test_configuration_of_a_row(tmp_path):
    given = Budget(study="x", steps=90, data="somewhere", settings={"train.batch": 8})
    config = given.configure(ROW, seed=5)
    assert (config.train.seed, config.train.batch, config.data.path) == (5, 8, "somewhere")
    (stage,) = config.train.stages
    assert (stage.steps, stage.schedule.warmup) == (90, 2)
    frozen = Row(name="b", label="B", recipe="table10-frozen-fixed-demo")
    started = given.configure(frozen, seed=1, start_from=tmp_path)
    assert started.start_from.path == str(tmp_path)
    assert started.start_from.parts == "autoencoder"


def test_an_autoencoder_takes_no_settings_of_a_prior():
    settings = {"model.prior.depths": [1, 1], "sample.temperature": 2.0, "train.batch": 8}
    before = Before(name="v", recipe="vae-fixed-demo", settings={"model.autoencoder.latent_channels": 8})
    config = Budget(study="x", settings=settings).configure(before, seed=0)
    assert config.model.prior.depths == ()
    assert config.model.autoencoder.latent_channels == 8
    assert config.train.batch == 8


def test_settings_of_the_alignment_are_for_rows_that_have_one():
    given = Budget(study="figure8", settings={"objective.alignment.encoder.source": "here"})
    rows = get("figure8").rows
    found = [given.configure(row, seed=0).objective.alignment for row in rows]
    assert [None if one is None else one.encoder.source for one in found] == [None, "here", "here", "here"]


def test_a_folder_is_held_to_its_budget(tmp_path):
    given = Budget(study="x", steps=9, settings={"train.batch": 8})
    hold_to(tmp_path / "new", given)
    hold_to(tmp_path / "new", given)
    with pytest.raises(ValueError, match="steps is 9 there and 10 here"):
        hold_to(tmp_path / "new", Budget(study="x", steps=10, settings={"train.batch": 8}))
    with pytest.raises(ValueError, match=r"settings is \{'train\.batch': 8\} there and \{\} here"):
        hold_to(tmp_path / "new", Budget(study="x", steps=9))
    with pytest.raises(ValueError, match="is not empty and holds no study"):
        hold_to(tmp_path, given)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num": 0}, "--num must be at least 1, not 0"),
        ({"held_out": 1}, "--held-out must be at least 2"),
        ({"extractor": "inception,dinov2"}, "one extractor"),
        ({"settings": {"train.seed": 3}}, "said with --seeds"),
        ({"settings": {"name": "x"}}, "named after its rows"),
    ],
)
def test_mistakes(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        Budget(study="x", **changes)
