"""Every config survives being written and read; every mistake is one sentence that names the setting."""

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from simflow import RunConfig, recipes
from simflow.explain import explained
from simflow.records import differences
from simflow.settings import (
    choice_of,
    from_dict,
    override,
    parse_count,
    to_dict,
)
from simflow.start import StartFrom
from simflow.yaml_text import dump_yaml, load_yaml, parse_yaml


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
    assert from_dict(Run, parse_yaml(dump_yaml(to_dict(run)))) == run
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


def test_a_part_may_be_named_shortly_beside_its_settings():
    run = override(FULL, {"train.schedule": "Cosine", "train.schedule.final": 0.25})
    assert run.train.schedule == Cosine(final=0.25)
    assert override(FULL, {"train.schedule.final": 0.25, "train": {"schedule": "Cosine"}}) == run


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
        ({"train": "PATH"}, "not 'PATH'; it has settings of its own, the first of them train."),
        ({"train.clip": "None"}, "must be a number or null, not 'None'; none is written null"),
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


def test_numbers_of_numpy_and_paths_are_stored_plain(tmp_path):
    given = {
        "name": Path("a/b"),
        "compiled": np.bool_(True),
        "data": "images",
        "train.batch": np.int64(8),
        "train.lr": np.float32(0.5),
        "train.clip": np.float64(8.0),
        "train.dtype": np.str_("bfloat16"),
        "train.betas": np.array([0.5, 0.25]),
        "train.sizes": np.arange(3),
    }
    changed = override(Run(name="run"), given)
    train = Train(batch=8, lr=0.5, clip=8.0, dtype="bfloat16", betas=(0.5, 0.25), sizes=(0, 1, 2), stages=())
    assert changed == Run(name=str(Path("a/b")), compiled=True, train=train)
    assert from_dict(Run, json.loads(json.dumps(to_dict(changed)))) == changed
    assert type(changed.train.batch) is int
    assert type(changed.name) is str
    (tmp_path / "run.yaml").write_text("name: other")
    assert load_yaml(str(tmp_path / "run.yaml")) == load_yaml(tmp_path / "run.yaml")
    for value, said in ((np.float64(8.0), "not 8.0"), (np.array([1.5]), r"not \[1.5\]")):
        with pytest.raises(ValueError, match=f"'train.batch' must be a whole number, {said}"):
            override(Run(name="run"), {"train.batch": value})


def test_paths_of_a_run_may_be_paths(unchecked):
    run = recipes.get("demo")
    kept = override(run, {"data.path": Path("x"), "start_from.path": Path("y")})
    assert (kept.data.path, kept.start_from.path) == ("x", "y")
    assert replace(run.data, path=Path("x")).path == StartFrom(path=Path("x")).path == "x"
    assert from_dict(RunConfig, to_dict(kept)) == kept


def test_differences_name_the_paths():
    other = override(FULL, {"train.lr": 1.0, "train.stages.0.schedule": "Cosine", "train.sizes": [1]})
    changed = differences(to_dict(FULL), to_dict(other))
    assert changed == ["train.lr", "train.stages.0.schedule.type", "train.sizes"]


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


@pytest.fixture
def nothing_offered(monkeypatch):
    """What a test offers is forgotten after it."""
    monkeypatch.setattr("simflow.settings._OFFERED", {})


@pytest.fixture
def step(nothing_offered) -> type:
    """A schedule of somebody's own."""

    @choice_of(Train, "schedule")
    @dataclass(frozen=True, kw_only=True)
    class Step:
        at: int = 7
        """Where it falls."""
        warmup: int = 0

    return Step


@pytest.fixture
def judge(nothing_offered) -> type:
    """A second choice where one config stood alone."""

    @choice_of(Alone, "given")
    @choice_of(Alone, "usual")
    @choice_of(Alone, "perhaps")
    @dataclass(frozen=True, kw_only=True)
    class Judge:
        weight: float = 0.9
        kind: str = "stern"

    return Judge


@dataclass(frozen=True, kw_only=True)
class Alone:
    given: Critic
    usual: Critic = Critic()
    perhaps: Critic | None = None


def test_an_offered_choice_is_one_like_the_others(step):
    run = override(Run(name="a"), {"train.schedule.type": "Step", "train.schedule.at": 3})
    assert run.train.schedule == step(at=3)
    assert override(Run(name="a"), {"train.schedule": "Step"}).train.schedule == step()
    assert override(run, {"train.schedule.warmup": 2}).train.schedule == step(at=3, warmup=2)
    assert to_dict(run)["train"]["schedule"] == {"type": "Step", "at": 3, "warmup": 0}
    assert from_dict(Run, to_dict(run)) == from_dict(Run, parse_yaml(dump_yaml(to_dict(run)))) == run
    assert differences(to_dict(run), to_dict(Run(name="a"))) == ["train.schedule.type"]
    later = override(run, {"train.schedule.at": 4})
    assert differences(to_dict(run), to_dict(later)) == ["train.schedule.at"]
    found = {setting.path: setting for setting in explained(run)}
    assert found["train.schedule.type"][1:3] == ("Step", ("Constant", "Cosine", "Step"))
    assert found["train.schedule.at"][1:4] == (3, (), "Where it falls.")


def test_a_choice_is_offered_for_one_slot_only(step):
    with pytest.raises(
        ValueError, match=r"'train\.stages\.0\.schedule\.type' must be 'Constant' or 'Cosine', not"
    ):
        override(FULL, {"train.stages.0.schedule.type": "Step"})


def test_mistakes_in_an_offered_choice_name_it(step):
    run = override(Run(name="a"), {"train.schedule.type": "Step"})
    with pytest.raises(ValueError, match=r"'train\.schedule\.att'; did you mean 'train\.schedule\.at'"):
        override(run, {"train.schedule.att": 1})
    with pytest.raises(ValueError, match=r"unknown setting 'train\.at'; did you mean 'train\.schedule\.at'"):
        override(run, {"train.at": 1})


@pytest.mark.parametrize("mapping", [{"train.schedule.type": "Step"}, {"train.schedule": "Step"}])
def test_an_unknown_choice_may_be_of_a_file_that_was_not_imported(mapping):
    with pytest.raises(ValueError, match=r"not 'Step'; if it is your own, .* SIMFLOW_IMPORT$"):
        override(Run(name="a"), mapping)


def test_a_config_that_stood_alone_becomes_a_slot(judge):
    alone = Alone(given=judge(weight=0.1), perhaps=judge())
    written = to_dict(alone)
    assert written["given"] == {"type": "Judge", "weight": 0.1, "kind": "stern"}
    assert written["usual"] == {"type": "Critic", "weight": 0.1}
    assert from_dict(Alone, written) == alone
    assert override(alone, {"given.kind": "mild"}).given == judge(weight=0.1, kind="mild")
    assert [setting.path for setting in explained(alone)][:2] == ["given.type", "given.weight"]


def test_an_offer_changes_nothing_of_what_was_written_or_said_before(request):
    record = {"given": {"weight": 0.2}, "usual": {"weight": 0.3}, "perhaps": {"weight": 0.4}}
    before = from_dict(Alone, record)
    flags = {"perhaps.weight": 0.5}
    switched_on = override(Alone(given=Critic()), flags)
    request.getfixturevalue("judge")
    assert from_dict(Alone, record) == before == override(before, record)
    assert override(Alone(given=Critic()), flags) == switched_on
    assert differences(record, to_dict(before)) == differences({}, {"perhaps.type": None}) == []


def test_what_was_written_with_an_offer_is_read_without(judge, monkeypatch):
    alone = Alone(given=Critic(weight=0.2), perhaps=Critic())
    written = to_dict(alone)
    monkeypatch.setattr("simflow.settings._OFFERED", {})
    assert from_dict(Alone, written) == alone
    with pytest.raises(ValueError, match=r"'given\.type' must be 'Critic', not 'Judge'; if it is your own"):
        from_dict(Alone, {"given": {"type": "Judge", "weight": 0.2}})


def test_an_offer_does_not_choose_among_several(step):
    @dataclass(frozen=True, kw_only=True)
    class Bare:
        schedule: Constant | Cosine

    choice_of(Bare, "schedule")(step)
    with pytest.raises(ValueError, match=r"must be given: 'Constant' or 'Cosine' or 'Step'"):
        from_dict(Bare, {"schedule": {"warmup": 2}})


def test_an_offered_part_that_stands_alone_elsewhere_needs_no_name(step):
    @choice_of(Train, "schedule")
    @dataclass(frozen=True, kw_only=True)
    class Late:
        after: step

    run = override(Run(name="a"), {"train.schedule": {"type": "Late", "after": {"at": 2}}})
    assert run.train.schedule == Late(after=step(at=2))
    assert to_dict(run)["train"]["schedule"]["after"] == {"at": 2, "warmup": 0}


def test_a_part_may_hold_another_of_its_slot(step):
    @choice_of(Train, "schedule")
    @dataclass(frozen=True, kw_only=True)
    class Twice:
        inner: Constant | Cosine = Constant()

    choice_of(Twice, "inner")(Twice)
    run = override(Run(name="a"), {"train.schedule": {"type": "Twice", "inner": {"type": "Twice"}}})
    assert from_dict(Run, to_dict(run)) == run
    with pytest.raises(ValueError, match="unknown setting 'innner'; the settings here are"):
        override(run, {"innner": 1})


def test_a_subclass_of_a_config_has_its_slots(step):
    @dataclass(frozen=True, kw_only=True)
    class Longer(Train):
        more: int = 1

    assert from_dict(Longer, {"schedule": {"type": "Step"}}).schedule == step()


def test_the_same_class_again_takes_the_place_of_the_first(step):
    @dataclass(frozen=True, kw_only=True)
    class Step:
        at: int = 8

    Step.__qualname__ = step.__qualname__
    assert choice_of(Train, "schedule")(Step) is Step
    assert type(override(Run(name="a"), {"train.schedule": "Step"}).train.schedule) is Step


def test_what_cannot_be_offered(step):
    class Plain:
        pass

    @dataclass(kw_only=True)
    class Thawed:
        at: int = 1

    class Undecorated(Constant):
        pass

    @dataclass(frozen=True, kw_only=True)
    class Step:
        at: int = 1

    for part in (Plain, Thawed, Undecorated):
        with pytest.raises(ValueError, match=f"{part.__name__} is not a frozen dataclass: write @dataclass"):
            choice_of(Train, "schedule")(part)
    with pytest.raises(
        ValueError, match=r"'Train\.schedule' has a choice 'Step' already, .*test_settings\.step\."
    ):
        choice_of(Train, "schedule")(Step)
    Step.__name__ = "Cosine"
    with pytest.raises(ValueError, match=r"'Train\.schedule' has a choice 'Cosine' already"):
        choice_of(Train, "schedule")(Step)
    with pytest.raises(ValueError, match=r"unknown setting 'Train\.scedule'; did you mean 'Train\.schedule'"):
        choice_of(Train, "scedule")
    for name in ("lr", "stages", "dtype"):
        with pytest.raises(ValueError, match=rf"'Train\.{name}' is not a slot"):
            choice_of(Train, name)


EVERY = """
from dataclasses import MISSING, dataclass, fields
from typing import get_args
from simflow.config import RunConfig
from simflow.explain import explained
from simflow.records import differences
from simflow.settings import choice_of, classes_of, from_dict, hints_of, to_dict

GIVEN = {"name": "a", "data": {"path": "b", "image_size": 32, "channels": 3}, "steps": 9}

def slots(config, found):
    for name, hint in hints_of(config).items():
        if classes_of(hint):
            found[config, name] = None
        for part in classes_of(hint) or [part for each in get_args(hint) for part in classes_of(each)]:
            slots(part, found)
    return found

@dataclass(frozen=True, kw_only=True)
class Mine:
    warmup: int = 0
    size: int = 3

for owner, slot in slots(RunConfig, {}):
    needed = {f.name: GIVEN[f.name] for f in fields(owner) if f.default is f.default_factory is MISSING}
    before = to_dict(from_dict(owner, needed))
    choice_of(owner, slot)(Mine)
    config = from_dict(owner, needed | {slot: {"type": "Mine", "size": 4}})
    written = to_dict(config)
    assert written[slot] == {"type": "Mine", "warmup": 0, "size": 4}
    assert from_dict(owner, written) == config
    assert {setting.path: setting.value for setting in explained(config)}[f"{slot}.size"] == 4
    swapped = slot if before[slot] is None else f"{slot}.type"
    assert differences(to_dict(from_dict(owner, before)), written) == [swapped]
    assert differences(to_dict(from_dict(owner, before)), before) == []
    print(f"{owner.__name__}.{slot}")
"""


def test_every_slot_of_a_run_is_open():
    """In a process of its own: here beartype holds the configs to their annotations."""
    done = subprocess.run([sys.executable, "-c", EVERY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    known = {"ModelConfig.posterior", "SampleConfig.guidance", "StageConfig.schedule", "FlowConfig.block"}
    known |= {"ObjectiveConfig.perceptual", "SiTConfig.solver", "RunConfig.data", "BlockConfig.positions"}
    assert known <= set(done.stdout.split())
