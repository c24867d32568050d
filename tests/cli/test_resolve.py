"""Recipe, file, flags, shortcuts: later ones win; lengths stretch in proportion."""

from dataclasses import replace

import pytest

from simflow import recipes
from simflow.cli.resolve import resolve
from simflow.posterior import LearnedVariance
from simflow.start import StartFrom
from simflow.train.optim import Constant, Cosine, StageConfig, total_steps
from simflow.train.stretch import stretched


def test_later_words_win(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("train.batch: 8\ntrain: {log_every: 3, optimizer: {lr: 1e-4}}\nname: from-file\n")
    config = resolve(
        recipes.get("demo"),
        {"train.batch": 16, "model.posterior": "LearnedVariance", "train.stages.0.steps": "2Ki"},
        file=file,
        data="pictures",
        name="mine",
    )
    assert (config.train.batch, config.train.log_every, config.train.optimizer.lr) == (16, 3, 1e-4)
    assert config.train.stages[0].steps == 2048
    assert config.model.posterior == LearnedVariance()
    assert (config.data.path, config.name) == ("pictures", "mine")
    assert config.model.prior == recipes.get("demo").model.prior


def test_steps_stretch_all_stages_and_their_warmups():
    stages = [StageConfig(steps=300, schedule=Constant(warmup=30)), StageConfig(steps=100, schedule=Cosine())]
    short = stretched(stages, 40)
    assert [stage.steps for stage in short] == [30, 10]
    assert [stage.schedule for stage in short] == [Constant(warmup=3), Cosine()]
    assert stretched(stages, 400) == tuple(stages)
    for steps in (7, 13, 401, 9999):
        assert sum(stage.steps for stage in stretched(stages, steps)) == steps
    assert stretched(stages[:1], 1)[0].schedule.warmup == 0


def test_a_run_of_another_length_is_that_of_the_command():
    run = recipes.get("demo")
    short = run.with_steps(6)
    assert total_steps(short.train.stages) == 6
    assert short == resolve(run, {}, steps="6")
    assert replace(short, train=replace(short.train, stages=run.train.stages)) == run


def test_too_few_steps_for_the_stages():
    with pytest.raises(ValueError, match="at least one step"):
        stretched([StageConfig(steps=300), StageConfig(steps=100)], 1)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"train.bach": 3}, r"unknown setting 'train\.bach'; did you mean 'train\.batch'"),
        ({"trian.batch": 3}, "unknown setting 'trian'; did you mean 'train'"),
        ({"train.batch": "many"}, r"'train\.batch' must be a whole number"),
        ({"train.batch": 0}, r"train\.batch must be at least 1"),
        ({"train.stages.1.steps": 3}, "there are 1, counted from 0"),
    ],
)
def test_settings_that_do_not_fit(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        resolve(recipes.get("demo"), settings)


def test_start_from_names_a_place_or_none():
    tuned = recipes.get("tuned-32")
    assert resolve(tuned, {}, start_from="null").start_from is None
    elsewhere = resolve(tuned, {"start_from.which": "model"}, start_from="runs/mine").start_from
    assert elsewhere == replace(tuned.start_from, path="runs/mine", which="model")
    assert resolve(recipes.get("demo"), {}, start_from="runs/mine").start_from == StartFrom(path="runs/mine")
