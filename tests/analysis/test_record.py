"""An analysis on disk, and what it holds of a real (tiny) model."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from simflow.analysis.latent_space import encoded
from simflow.analysis.origin import names_of
from simflow.analysis.picture import Picture, load_pictures, save_pictures
from simflow.analysis.record import FILE, Plan, load, save
from simflow.pipeline import Pipeline
from simflow.sample import sample
from tests.whole.tiny import CLASSES


@pytest.fixture(scope="module")
def folder(whole_run):
    return whole_run / "analysis"


def test_it_is_read_as_it_was_written(folder, tmp_path):
    found, pictures = load(folder)
    save(tmp_path / "again", found, pictures)
    again, shown = load(tmp_path / "again")
    assert again == found
    assert shown.keys() == pictures.keys()
    for name, picture in pictures.items():
        assert shown[name].captions == picture.captions
        assert torch.equal(shown[name].images, picture.images)


def test_all_parts_of_a_latent_flow_are_there(folder):
    found, pictures = load(folder)
    assert found.left_out == ()
    assert found.origin.step == 4
    assert found.images == 12
    assert found.latents.shape == (4, 2, 2)
    assert found.latents.noise_std == pytest.approx(0.5, rel=0.1)
    assert found.robustness.levels == (0.0, 1.0)
    assert found.robustness.own_level == pytest.approx(0.5 / found.robustness.scale, rel=0.1)
    assert found.noise.numbers == 16
    assert [sweep.gamma for sweep in found.sweeps] == [None, 0.1, 0.5]
    assert pictures["samples"].captions == CLASSES
    assert pictures["samples"].images.shape == (3, 10, 1, 16, 16)
    assert pictures["trajectory"].captions == ("noise", "block 2 (deep)", "block 1")
    assert pictures["interpolation"].images.shape == (6, 10, 1, 16, 16)
    steps = ["guidance", "guidance-score-step-0.1", "guidance-score-step-0.5"]
    assert [pictures[name].captions for name in steps] == [("weight 0", "weight 2")] * 3
    plain, *stepped = (pictures[name].images for name in steps)
    assert not any(torch.equal(images, plain) for images in stepped)


def test_the_noise_of_an_image_does_not_depend_on_the_batch(whole_run):
    model = Pipeline.from_pretrained(whole_run).model
    originals = torch.randint(0, 256, (5, 1, 16, 16), dtype=torch.uint8)
    (means, drawn), (same, alone) = (encoded(model, originals, seed=1, batch=batch) for batch in (5, 2))
    torch.testing.assert_close(same, means)
    torch.testing.assert_close(alone - same, drawn - means)
    noise = (drawn - means).flatten(1)
    assert (noise[0] - noise[1:]).abs().amax(dim=1).min() > 0.1, "of each image its own"


def test_png_files_stand_beside_it(folder, whole_run):
    names = {path.stem for path in folder.glob("*.png")}
    assert names >= {"latents", "robustness-curves", "normality", "guidance-curves", "samples", "trajectory"}
    with Image.open(folder / "samples.png") as sheet:
        assert sheet.height == 3 * (4 * 16 + 1) - 1


def test_samples_are_those_of_the_same_seeds(folder, whole_run):
    """Row and column tell the seed, as in simflow sample: the third boot is seed 1 + 3 * 2."""
    _, pictures = load(folder)
    pipe = Pipeline.from_pretrained(whole_run)
    made = next(sample(pipe.model, seeds=[7], labels=[1], config=pipe.config.sample)).images
    assert (pictures["samples"].images[1, 2].int() - made[0].int()).abs().max() <= 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 99}'])
def test_a_damaged_record_is_one_sentence(folder, tmp_path, content):
    shutil.copytree(folder, tmp_path / "broken")
    (tmp_path / "broken" / FILE).write_text(content)
    with pytest.raises(ValueError, match="run simflow analyze again"):
        load(tmp_path / "broken")


def test_another_version_is_one_sentence(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "older")
    file = tmp_path / "older" / FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 1}))
    with pytest.raises(ValueError, match="another version"):
        load(tmp_path / "older")


@pytest.mark.parametrize("version", [None, "unknown (not installed)"])
def test_an_analysis_from_source_is_read_whichever_version_wrote_it(folder, tmp_path, version):
    shutil.copytree(folder, tmp_path / "older")
    file = tmp_path / "older" / FILE
    record = json.loads(file.read_text())
    record["origin"]["software"]["simflow"] = version
    file.write_text(json.dumps(record))
    assert load(tmp_path / "older")[0].origin.software.simflow == version


@pytest.mark.parametrize("damage", [b"", b"PK but no archive"])
def test_damaged_pictures_are_one_sentence(tmp_path, damage):
    file = tmp_path / "pictures.npz"
    file.write_bytes(damage)
    with pytest.raises(ValueError, match="is damaged"):
        load_pictures(file)


def test_pickles_are_not_opened(tmp_path):
    file = tmp_path / "pictures.npz"
    with file.open("wb") as opened:
        np.savez(opened, **{"x.images": np.array([{}], dtype=object), "x.captions": np.array(["a"])})
    with pytest.raises(ValueError, match="is damaged"):
        load_pictures(file)


def test_captions_of_any_letters_survive(tmp_path):
    picture = Picture(captions=("<b>", "Größe ✓"), images=torch.zeros(2, 1, 1, 4, 4, dtype=torch.uint8))
    save_pictures(tmp_path / "p.npz", {"a.b": picture})
    assert load_pictures(tmp_path / "p.npz")["a.b"].captions == picture.captions


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": 1}, "at least 2 images"),
        ({"samples": 0}, "at least 1"),
        ({"levels": (0.5, 0.5)}, "levels of noise on latents must be given, each of them once"),
        ({"weights": (1.0, 1.0)}, "each of them once"),
        ({"weights": ()}, "needs weights"),
        ({"gammas": (0.25, 0.25)}, "each of them once"),
        ({"gammas": (-0.25,)}, "must be 0 or more"),
        ({"gammas": (float("nan"),)}, "must be 0 or more"),
    ],
)
def test_a_plan_is_checked(changes, said):
    with pytest.raises(ValueError, match=said):
        Plan(**changes)


def test_names_tell_runs_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert names_of(["."]) == [tmp_path.name]
    assert names_of(["owner/model", "a/run/"]) == ["model", "run"]
    assert len(set(names_of(["a/run", "b/run", "a/run", "run"]))) == 4
