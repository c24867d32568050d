"""Every config survives being written and read; every mistake is one sentence that names the setting."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from simflow.settings import (
    differences,
    dump_yaml,
    from_dict,
    load_yaml,
    override,
    parse_count,
    parse_yaml,
    to_dict,
)


@dataclass(frozen=True, kw_only=True)
class Constant:
    warmup: int = 0
    """Steps of
    rising rate."""


@dataclass(frozen=True, kw_only=True)
class Cosine:
    final: float = 0.01
    """Where it ends."""
    warmup: int = 5
    """Steps of rising rate."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    steps: int
    schedule: Constant | Cosine = Constant()
    """How the rate moves."""


@dataclass(frozen=True, kw_only=True)
class Critic:
    weight: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Train:
    lr: float = 1e-4
    """Learning rate."""
    batch: int = 256
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = 1.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    stages: tuple[Stage, ...] = ()
    """One after the other."""
    critic: Critic | None = None
    schedule: Constant | Cosine = Cosine(final=0.5)
    sizes: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    name: str
    compiled: bool = False
    data: Path = Path("images")
    train: Train = field(default_factory=Train)


STAGES = (Stage(steps=10), Stage(steps=20, schedule=Cosine(final=0.0)))
FULL = Run(name="a", data=Path("b"), train=Train(stages=STAGES, critic=Critic(), clip=None, sizes=(1, 2)))


@pytest.mark.parametrize("run", [Run(name="a"), FULL], ids=["defaults", "full"])
def test_writing_and_reading_are_inverse(run):
    assert from_dict(Run, json.loads(json.dumps(to_dict(run)))) == run
    assert from_dict(Run, parse_yaml(dump_yaml(run))) == run
    assert override(Run(name="other", train=Train(clip=7.0)), to_dict(run)) == run


def test_only_unions_are_tagged():
    written = to_dict(FULL)
    assert written["train"]["stages"][1]["schedule"] == {"type": "Cosine", "final": 0.0, "warmup": 5}
    assert written["train"]["critic"] == {"type": "Critic", "weight": 0.1}
    assert "type" not in written["train"]
    assert written["train"]["betas"] == [0.9, 0.999]


def test_a_partial_mapping_changes_the_default_of_its_place():
    run = from_dict(Run, {"name": "a", "train": {"schedule": {"warmup": 9}}})
    assert run.train.schedule == Cosine(final=0.5, warmup=9)


def test_an_int_becomes_a_float_and_a_count_an_int():
    run = override(Run(name="a"), {"train": {"lr": 1, "batch": "2Ki"}})
    assert type(run.train.lr) is float
    assert run.train.batch == 2048


def test_override_reads_nested_and_dotted_names():
    run = override(
        FULL, {"train.lr": 1e-3, "train": {"batch": 4, "stages.1.steps": 7}, "train.critic.weight": 2}
    )
    assert (run.train.lr, run.train.batch, run.train.critic) == (1e-3, 4, Critic(weight=2.0))
    assert run.train.stages == (Stage(steps=10), Stage(steps=7, schedule=Cosine(final=0.0)))
    assert run.train.clip is None
    assert FULL.train.lr == 1e-4


def test_override_swaps_a_slot_by_type_and_starts_from_the_new_defaults():
    run = Run(name="a", train=Train(schedule=Constant(warmup=3)))
    assert override(run, {"train.schedule.type": "Cosine"}).train.schedule == Cosine()
    assert override(run, {"train.schedule": "Cosine"}).train.schedule == Cosine()
    assert override(run, {"train.schedule": {"type": "Constant"}}).train.schedule == Constant(warmup=3)


def test_override_fills_and_empties_an_optional_slot():
    run = override(Run(name="a"), {"train.critic.weight": 0.3})
    assert run.train.critic == Critic(weight=0.3)
    assert override(run, {"train.critic": None}).train.critic is None


def test_override_replaces_a_tuple_by_a_list():
    run = override(FULL, {"train.stages": [{"steps": 1}], "train.sizes": [3]})
    assert run.train.stages == (Stage(steps=1),)
    assert run.train.sizes == (3,)


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({"train.bacth": 1}, "unknown setting 'train.bacth'; did you mean 'train.batch'?"),
        ({"clip": 1}, "unknown setting 'clip'; did you mean 'train.clip'?"),
        ({"train.critic.zzz": 1}, "unknown setting 'train.critic.zzz'; the settings here are weight"),
        ({"train.lr": "fast"}, "setting 'train.lr' must be a number, not 'fast'"),
        ({"train.lr": True}, "setting 'train.lr' must be a number, not True"),
        ({"train.batch": 1.5}, "setting 'train.batch' must be a whole number, not 1.5"),
        ({"compiled": 1}, "setting 'compiled' must be true or false, not 1"),
        ({"train.clip": "no"}, "setting 'train.clip' must be a number or null, not 'no'"),
        ({"train.dtype": "fp16"}, "setting 'train.dtype' must be 'float32' or 'bfloat16', not 'fp16'"),
        ({"train.betas": [0.9]}, "setting 'train.betas' must be a list of 2, not [0.9]"),
        ({"train": None}, "setting 'train' must be the settings of Train, not None"),
        ({"train.schedule.type": "Cos"}, "'train.schedule.type' must be 'Constant' or 'Cosine', not 'Cos'"),
        ({"train.stages": [{}]}, "setting 'train.stages.0.steps' must be given: it has no default"),
        ({"train.stages.2.steps": 1}, "unknown setting 'train.stages.2': there are 2, counted from 0"),
        ({"train.lr": 1.0, "train": {"lr": 2.0}}, "setting 'train.lr' is given twice"),
        ({"train": 3, "train.lr": 2.0}, "is given twice"),
    ],
)
def test_mistakes_are_one_sentence(mapping, sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        override(FULL, mapping)
    assert sentence in str(caught.value)


def test_a_required_setting_and_a_union_without_default_must_be_given():
    @dataclass(frozen=True, kw_only=True)
    class Bare:
        schedule: Constant | Cosine

    with pytest.raises(ValueError, match="'name' must be given"):
        from_dict(Run, {})
    with pytest.raises(ValueError, match=r"'schedule\.type' must be given: 'Constant' or 'Cosine'"):
        from_dict(Bare, {"schedule": {"warmup": 2}})


def test_differences_name_the_paths():
    other = override(FULL, {"train.lr": 1.0, "train.stages.0.schedule": "Cosine", "train.sizes": [1]})
    assert differences(FULL, other) == ["train.lr", "train.stages.0.schedule.type", "train.sizes"]
    assert differences(FULL, to_dict(FULL)) == []
    assert differences({"a": 1}, {"b": 1}) == ["a", "b"]


@pytest.mark.parametrize(("text", "count"), [("7", 7), ("64Ki", 65536), ("1.5Mi", 1572864), ("0.5Ki", 512)])
def test_counts(text, count):
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["20k", "-1", "1.5", "1.0001Ki", "", "Ki"])
def test_bad_counts(text):
    with pytest.raises(ValueError, match="is not a count"):
        parse_count(text)


def test_yaml_reads_exponents_as_numbers(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("train:\n  lr: 1e-3\n  clip: 2E+1\n  dtype: bf16\n")
    run = override(Run(name="a"), load_yaml(file))
    assert (run.train.lr, run.train.clip, run.train.dtype) == (1e-3, 20.0, "bfloat16")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"- 1\n", "must hold settings"),
        (b"a: [1", "a.yaml' is not YAML"),
        (b"\xff\xfe\x00", "a.yaml' is not YAML"),
        (b"a: 2026-06-31", "a.yaml' is not YAML"),
        (None, "there is no settings file"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, text, sentence):
    file = tmp_path / "a.yaml"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(ValueError, match=sentence) as caught:
        load_yaml(file)
    assert "\n" not in str(caught.value)
