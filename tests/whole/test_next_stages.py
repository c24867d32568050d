"""``simflow train --next``: what follows a run, by its settings; each stage teaches its part and leaves the others."""

import json

import pytest
import torch
from safetensors.torch import load_file

from simflow.cli import main
from simflow.recipes import get
from simflow.recipes.after import DECODED, after
from simflow.recipes.shipped import JUDGE
from simflow.settings import override
from simflow.train.optim import total_steps
from tests.cli.test_mistakes import complaint
from tests.whole.tiny import trained, words

ENDS = ("autoencoder.encoder", "autoencoder.decoder", "prior")


def weights_of(run):
    (newest,) = sorted((run / "checkpoints").iterdir())[-1:]
    return load_file(newest / "ema.safetensors")


def changed(one, other):
    """Which of the three ends have other weights than before."""
    before, now = weights_of(one), weights_of(other)
    assert before.keys() == now.keys()
    moved = {name for name in now if not torch.equal(before[name], now[name])}
    return {end for end in ENDS if any(name.startswith(end) for name in moved)}


NO_JUDGE = ["--objective.adversarial", "null", "--objective.perceptual", "null"]
"""Images of 16 px are too small for its network."""


def follow(stage, run, out, *more):
    few = ["--train.batch", "4", "--steps", "2", "--train.log_every", "1", "--device", "cpu"]
    assert main(["train", "--next", stage, "--start_from", str(run), "--out", str(out), *few, *more]) == 0
    return out


def test_each_teaches_its_part_and_the_next_follows(tmp_path):
    run = trained(tmp_path)
    decoder = follow("decoder", run, tmp_path / "decoder", *NO_JUDGE)
    assert changed(run, decoder) == {"autoencoder.decoder"}
    prior = follow("prior", decoder, tmp_path / "prior")
    assert changed(decoder, prior) == {"prior"}
    few = ["--objective.frechet.size", "32", "--objective.frechet.memory", "1"]
    frechet = follow("frechet", prior, tmp_path / "frechet", *few)
    assert changed(prior, frechet) == {"prior"}
    lines = [json.loads(line) for line in (frechet / "metrics.jsonl").read_text().splitlines()]
    assert any("loss/frechet" in line for line in lines)
    record = json.loads((frechet / "config.json").read_text())
    assert record["config"]["name"] == "demo-decoder-prior-frechet"
    assert record["config"]["data"]["path"] == str(tmp_path / "pictures")
    again = follow("decoder", frechet, tmp_path / "again", *NO_JUDGE)
    assert changed(frechet, again) == {"autoencoder.decoder"}


def test_the_same_command_goes_on(tmp_path, capsys):
    run = trained(tmp_path)
    out = follow("prior", run, tmp_path / "prior")
    follow("prior", run, out, "--steps", "3")
    assert "going on from" in capsys.readouterr().err


def test_a_model_of_the_package_can_be_followed(tmp_path, capsys):
    words(tmp_path)
    given = ["train", "--next", "frechet", "--start_from", "fashion-32", "--dry-run"]
    assert main([*given, "--data", "embedded:fashion-mnist"]) == 0
    said = capsys.readouterr().out
    assert "weight: 0.7" in said
    assert "FrechetConfig" in said or "memory: 10" in said


def test_settings_of_the_run_hold_but_for_what_the_stage_is_about():
    for run in (get("demo"), get("emoji-32-prior")):
        for stage in ("decoder", "prior", "frechet"):
            made = after(run, stage)
            assert (made.model, made.data, made.classes) == (run.model, run.data, run.classes)
            assert made.sample == run.sample
        assert after(run, "decoder").objective.adversarial.weight < JUDGE.weight
    run = get("demo")
    assert total_steps(after(run, "prior").train.stages) == total_steps(run.train.stages)
    assert (
        after(run, "prior").train.batch
        == 2 * run.train.batch
        == after(after(run, "prior"), "prior").train.batch
    )
    assert after(run, "frechet").objective.frechet.size == 96


def test_a_decoder_goes_on_by_the_losses_of_the_run_or_of_our_joint_runs():
    own = get("demo").objective
    found = after(get("demo"), "decoder").objective
    assert (found.reconstruction, found.perceptual) == (own.reconstruction, own.perceptual)
    assert (found.prior_weight, found.routing.encoder, found.routing.prior) == (0.0, "frozen", "frozen")
    both = override(get("demo"), {"objective.frechet.type": "FrechetConfig"})  # and the flow from its samples
    assert after(both, "decoder").objective == found
    joint = get("emoji-32").objective
    found = after(get("emoji-32-prior"), "decoder").objective  # a run that decoded nothing
    assert (found.reconstruction, found.perceptual) == (joint.reconstruction, joint.perceptual)


def test_a_decoder_does_not_take_the_large_batches_of_a_run_that_decoded_nothing():
    joint = get("emoji-32")
    assert after(joint, "decoder").train.batch == joint.train.batch
    samples = after(after(joint, "prior"), "frechet")
    assert after(samples, "decoder").train.batch == DECODED < samples.train.batch
    few = override(samples, {"train.batch": 8})
    assert after(few, "decoder").train.batch == 8


def test_a_model_that_was_told_of_no_class_is_told_of_none_later():
    """Its images may lie in class folders; a stage that dropped fewer labels would want another model."""
    run = override(get("emoji-32-prior"), {"objective.label_drop": 1.0})
    for stage in ("decoder", "prior", "frechet"):
        assert after(run, stage).classes_of(("cat", "dog")) == ()


def test_a_flow_on_pixels_learns_from_its_samples_and_has_no_decoder():
    run = get("tarflow-fashion")
    assert after(run, "frechet").train.codes == "fresh"
    assert after(run, "prior").train.batch == run.train.batch  # nothing becomes cheaper
    assert after(get("starflow-fashion"), "prior").train.batch == get("starflow-fashion").train.batch
    with pytest.raises(ValueError, match="'tarflow-fashion' is a flow on pixels: it has no decoder"):
        after(run, "decoder")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--next", "prior"], "say with --start_from which run or model --next prior follows"),
        (["demo", "--next", "prior", "--start_from", "fashion-32"], "give either a recipe or --next"),
        (["--resume", "OUT", "--next", "prior"], "give either --resume or --next"),
        (["--next", "prior", "--start_from", "nowhere"], "there is nothing at 'nowhere' to start from"),
        (
            ["--next", "prior", "--start_from", "FILE"],
            "holds an autoencoder only: --next prior follows a run",
        ),
    ],
)
def test_what_cannot_be_followed(tmp_path, capsys, given, sentence):
    (tmp_path / "vae.safetensors").write_bytes(b"")
    places = {"OUT": str(tmp_path / "out"), "FILE": str(tmp_path / "vae.safetensors")}
    assert sentence in complaint(capsys, 2, ["train", *(places.get(word, word) for word in given)])
