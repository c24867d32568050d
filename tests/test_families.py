"""Classes called ``family/class``: a family stands for its classes, which take turns, and has one row of a sheet."""

import csv
import json
from dataclasses import replace

import pytest
import torch

from simflow import Pipeline, recipes
from simflow.cli import main
from simflow.cli.evaluate_run import real_sheet
from simflow.cli.pictures import chosen, sheet
from simflow.cli.sample import labels_for
from simflow.config import completed
from simflow.data import from_arrays
from simflow.export import labelled_grid
from simflow.fitting import facts_of, refuse_changes
from simflow.model import Facts
from simflow.shapes import NULL
from simflow.train import checkpoint
from simflow.turns import label_of
from tests.whole.tiny import trained

NAMES = ("boot", "pet/cat", "pet/dog")
FACTS = Facts(image_size=8, channels=1, class_names=NAMES)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved model with a family among its classes."""
    folder = tmp_path_factory.mktemp("families")
    Pipeline.from_pretrained(trained(folder)).save_pretrained(folder / "saved")
    record = json.loads((folder / "saved" / "config.json").read_text())
    assert record["facts"]["class_names"] == ["bag", "boot", "coat"]
    record["facts"]["class_names"] = list(NAMES)
    (folder / "saved" / "config.json").write_text(json.dumps(record))
    return folder / "saved"


def test_a_family_leaves_its_classes_open():
    assert FACTS.families == {"boot": (0,), "pet": (1, 2)}
    assert FACTS.choices_of(["pet", "pet/dog", "0"]) == [(1, 2), (2,), (0,)]
    assert FACTS.labels_of(["pet/dog", "boot"]) == [2, 0]
    with pytest.raises(
        ValueError, match="'pet' is a family of 2 classes, and one is wanted here, such as 'pet/cat'"
    ):
        FACTS.labels_of(["pet"])


def test_a_class_of_the_name_comes_before_the_family():
    facts = replace(FACTS, class_names=("pet", "pet/cat", "pet/dog"))
    assert facts.choices_of(["pet"]) == [(0,)]
    assert facts.families == {"pet": (0, 1, 2)}


def test_classes_of_a_family_are_as_often_as_their_images():
    facts = replace(FACTS, class_sizes=(7, 3, 1))
    turns = facts.turns_of("pet")
    assert facts.choices_of(["pet", "boot"]) == [turns, (0,)]
    assert (turns.count(1), turns.count(2)) == (75, 25)
    assert all(sorted(turns[i : i + 4]) == [1, 1, 1, 2] for i in range(0, 100, 4))
    with pytest.raises(ValueError, match="'pet' is a family of 2 classes"):
        facts.labels_of(["pet"])
    assert set(replace(FACTS, class_sizes=(1, 0, 5)).turns_of("pet")) == {2}
    assert replace(FACTS, class_sizes=(1, 0, 0)).turns_of("pet") == (1, 2)


@pytest.mark.parametrize("names", [NAMES, ("a", "b", "c")])
def test_a_run_knows_the_sizes_of_its_classes_where_there_are_families(names):
    labels = torch.tensor([0, 1, 2, 2, NULL, 1, 2])  # one has no class
    images = from_arrays(torch.zeros(7, 1, 8, 8, dtype=torch.uint8), labels, names)
    facts = facts_of(replace(recipes.get("small-32"), classes=None), images)
    assert facts.class_sizes == ((1, 2, 3) if names is NAMES else ())


def test_a_run_goes_on_with_more_images_of_its_classes(tmp_path):
    run = trained(tmp_path)
    record = completed(checkpoint.load_config(run))
    refuse_changes(run, record | {"facts": record["facts"] | {"class_sizes": [1, 2, 3]}})
    with pytest.raises(ValueError, match=r"facts\.class_names"):
        refuse_changes(run, record | {"facts": record["facts"] | {"class_names": ["a", "b", "c"]}})


@pytest.mark.parametrize("name", ["/", "a/", "/a"])
def test_a_slash_with_nothing_before_or_behind_it_makes_no_family(name):
    assert replace(FACTS, class_names=(name, "boot")).families == {name: (0,), "boot": (1,)}


def test_choices_take_turns_and_their_classes_too():
    assert [label_of([(1, 2), (0,)], seed) for seed in range(-2, 6)] == [2, 0, 1, 0, 2, 0, 1, 0]


def test_a_program_asks_for_a_family(saved):
    pipe = Pipeline.from_pretrained(saved)
    assert pipe("pet", seeds=range(4)).labels == [1, 2, 1, 2]
    assert pipe(["pet", "boot"], seeds=range(8)).labels == [1, 0, 2, 0, 1, 0, 2, 0]
    assert pipe(["pet", "boot"], seeds=[5, 6]).labels == [2, 0]
    generator = torch.Generator().manual_seed(0)
    assert set(pipe("pet", num_images=20, generator=generator).labels) == {1, 2}
    latents = pipe.encode(torch.zeros(2, 1, 16, 16))
    with pytest.raises(ValueError, match="'pet' is a family of 2 classes"):
        pipe.log_prob(latents, "pet")


def test_a_command_asks_for_a_family(saved, tmp_path):
    out = tmp_path / "out"
    asked = ["sample", str(saved), "--labels", "pet,boot", "--num", "6", "--out", str(out), "--device", "cpu"]
    assert main(asked) == 0
    with (out / "labels.csv").open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == [
            "pet/cat",
            "boot",
            "pet/dog",
            "boot",
            "pet/cat",
            "boot",
        ]


def test_all_families_take_turns():
    assert labels_for("families", FACTS, range(4)) == [0, 1, 0, 2]
    assert labels_for("all", FACTS, range(4)) == [0, 1, 2, 0]


def test_a_family_has_one_row_of_a_sheet():
    labels = [1, 2, 1, 0, NULL] + [2] * 20
    kept = chosen(labels, FACTS)
    assert kept == [*range(5), *range(5, 12)]
    images = torch.arange(12, dtype=torch.uint8).reshape(12, 1, 1, 1).expand(12, 1, 8, 8).contiguous()
    rows = {"no class": images[4:5], "boot": images[3:4], "pet": images[[0, 1, 2, *range(5, 12)]]}
    expected = labelled_grid(rows, scale=sheet_scale(images, FACTS))
    assert sheet(images, [labels[i] for i in kept], FACTS).tobytes() == expected.tobytes()


def sheet_scale(images, facts):
    """The enlargement of a sheet: its height over that of the same rows as they are."""
    one = sheet(images[:1], [0], facts)
    return next(s for s in range(1, 20) if labelled_grid({"boot": images[:1]}, scale=s).size == one.size)


def test_held_out_images_lie_in_the_same_rows():
    pixels = torch.arange(6, dtype=torch.uint8).reshape(6, 1, 1, 1).expand(6, 1, 8, 8).contiguous()
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    unseen = from_arrays(pixels, labels, NAMES)
    order = [0, 5, 1, 2, 3, 4]
    expected = sheet(pixels[order], labels[order].tolist(), FACTS)
    assert real_sheet(unseen, FACTS).tobytes() == expected.tobytes()
