"""The report as HTML: whole, well-formed, self-contained, and deaf to hostile names."""

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch

from simflow import pretrained
from simflow.analysis.distances import Distances
from simflow.analysis.origin import Software
from simflow.analysis.picture import Picture
from simflow.analysis.record import NONE_HELD_OUT
from simflow.evaluate import called as evaluation
from simflow.report.gather import gather
from simflow.report.markup import VOID
from simflow.report.page import POLICY, page, write
from simflow.report.summary import results_of
from tests.analysis.network import Squares
from tests.whole.tiny import CLASSES

HOSTILE = "\"><script>alert('x')</script><img src=http://evil.example/x.png>"

ADDRESSES = {"src", "href", "srcset", "action", "data", "poster", "xlink:href", "style"}


class Reader(HTMLParser):
    """Notes what a browser would see, and complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.figures: list[list[str]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        attributes = {key: value or "" for key, value in attrs}
        self.tags.append((tag, attributes))
        if tag == "figure":
            self.figures.append([])
        if self.figures and "figure" in self.stack:
            self.figures[-1].append(attributes.get("alt", "") or attributes.get("aria-label", ""))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] != "style":
            self.text.append(data)

    def named(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def rendered(*runs) -> tuple[str, Reader]:
    text = page(
        runs,
        date="1 May 2026, 12:00",
        software=Software(simflow="0.1", torch="2.13", python="3.11", git="f" * 40),
    )
    return text, Reader(text)


@pytest.fixture(scope="module")
def run(whole_run):
    return gather(whole_run, "tiny")


@pytest.fixture(scope="module")
def whole(run):
    return rendered(run)


def test_all_sections_are_there_and_linked(whole):
    _, reader = whole
    expected = [
        "figures",
        "samples",
        "guidance",
        "reconstructions",
        "latents",
        "noise",
        "blocks",
        "neighbours",
        "likelihood",
        "losses",
        "configuration",
        "left-out",
        "origin",
    ]
    assert [each["id"] for each in reader.named("section")] == expected
    assert [each["href"] for each in reader.named("a")] == [f"#{key}" for key in expected]


def test_real_images_stand_beside_the_samples(whole):
    text, _ = whole
    section = text[text.index('id="samples"') : text.index('id="guidance"')]
    assert "Real images." in section


def test_nothing_comes_from_outside(whole):
    text, reader = whole
    for _, attributes in reader.tags:
        for key in attributes.keys() & ADDRESSES:
            assert attributes[key].startswith(("#", "data:image/"))
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert not reader.named("script")
    assert not reader.named("link")
    assert not re.search(r"https?://|//[a-z]", re.sub(r"data:image/\w+;base64,[^\"]*", "", text))
    assert {"http-equiv": "Content-Security-Policy", "content": POLICY} in reader.named("meta")


def test_every_figure_can_be_read_aloud(whole):
    _, reader = whole
    assert len(reader.figures) > 15
    assert all(any(said) for said in reader.figures)
    assert all(image["alt"] for image in reader.named("img"))
    charts = [svg for svg in reader.named("svg") if svg.get("class") == "chart"]
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)


def test_it_holds_what_the_files_say(whole, run):
    _, reader = whole
    said = " ".join(reader.text)
    for expected in (
        "tiny",
        "1 May 2026, 12:00",
        "FD-Test",
        "123.5",
        "± 2.3",
        "300 samples, seeds 0-299, guidance 2.0, against 600 images of some images, features of A network",
        "Note: classes are not as frequent.",
        "FixedVariance",
        "block 2 (deep)",
        "2.0% of samples are as near",
        "FID: there are no weights",
        "Fewer images than numbers in a feature",
        *CLASSES,
    ):
        assert expected in said
    assert "passwd" not in "".join(str(attributes) for _, attributes in reader.tags)


def test_a_page_is_one_file_of_moderate_size(whole, run, tmp_path):
    software = Software(simflow="0.1", torch="2.13", python="3.11", git=None)
    write(tmp_path / "new" / "report.html", [run], date="today", software=software)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]
    assert (tmp_path / "new" / "report.html").stat().st_size < 500_000
    assert Reader((tmp_path / "new" / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("written", "said"), [(None, "from source"), ("not installed", "from source"), ("0.1.0", "0.1.0")]
)
def test_what_is_not_installed_runs_from_source(run, written, said):
    """``not installed`` is what earlier versions wrote."""
    own = dataclasses.replace(run, state=run.state | {"simflow": written, "torch": "2.11"})
    software = Software(simflow=None, torch="2.13", python="3.11", git=None)
    text = page([own], date="today", software=software)
    assert f"simflow {said}, torch 2.11" in text
    assert "with simflow from source, torch 2.13, Python 3.11." in text


def test_hostile_names_are_only_text(run):
    picture = Picture(captions=(HOSTILE,), images=torch.zeros(1, 2, 1, 8, 8, dtype=torch.uint8))
    hostile = dataclasses.replace(
        run,
        name=HOSTILE,
        facts=run.facts | {"class_names": [HOSTILE]},
        settings={HOSTILE: HOSTILE, "data": {"path": HOSTILE}},
        state={HOSTILE: HOSTILE, "git": HOSTILE, "simflow": HOSTILE},
        evaluations={
            HOSTILE: {
                "figures": [{"name": HOSTILE, "value": 1.0, "better": HOSTILE}],
                "classes": {"by_class": {HOSTILE: 0.5}, "diversity": 1.0},
            }
        },
        curves={HOSTILE: next(iter(run.curves.values()))},
        pictures=dict.fromkeys(run.pictures, picture),
        left_out=(HOSTILE,),
    )
    clean, seen = rendered(run, run)[1], rendered(hostile, hostile)[1]
    assert not seen.named("script")
    assert all(image["src"].startswith("data:") for image in seen.named("img"))
    assert {tag for tag, _ in seen.tags} <= {tag for tag, _ in clean.tags} | {"code"}
    assert not any(key.startswith("on") for _, attributes in seen.tags for key in attributes)
    assert "alert('x')" in " ".join(seen.text)


def test_several_runs_stand_side_by_side(run):
    other = dataclasses.replace(
        run,
        name="other",
        settings=json.loads(json.dumps(run.settings).replace('"std": 0.5', '"std": 0.25')),
        evaluations={
            "results": {"figures": [{"name": "FD-Test", "value": 99.0, "better": "lower"}]},
        },
    )
    text, reader = rendered(run, other, dataclasses.replace(run, name="third", analysis=None, pictures={}))
    said = " ".join(reader.text)
    assert "3 runs" in said
    assert "Settings that differ" in said
    assert "model.posterior.std" in said
    assert "train.batch" not in said.split("Settings that differ")[1].split("All settings")[0]
    assert "<strong>99.00</strong>" in text
    assert "<strong>123.5 ± 2.3</strong>" not in text
    assert "stroke c2" in text  # the third run has losses, and its colour is its place


def test_figure_7_is_drawn_told_and_tabled(run):
    far = Distances(
        extractor=Squares().identity,
        values=(123.25, 45.5),
        rank_deficient=True,
        real=80,
        floor=7.5,
        floor_images=40,
    )
    sweeps = tuple(dataclasses.replace(sweep, distances=(far,)) for sweep in run.analysis.sweeps)
    seen = dataclasses.replace(run, analysis=dataclasses.replace(run.analysis, sweeps=sweeps))
    text, reader = rendered(seen)
    said = " ".join(reader.text).split("Guidance sweep")[-1]
    for expected in ("FD-Squares †, score step 0.5", "123.2", "45.50", "No more images than numbers"):
        assert expected in said
    charts = [svg["aria-label"] for svg in reader.named("svg") if svg.get("class") == "chart"]
    assert any(label.startswith("Fréchet distance, FD-Squares. tiny: from 123 at 0") for label in charts)
    assert "real images 7.5" in said
    assert all(item in said for item in ("without Eq. 6", "score step 0.1", "score step 0.5"))
    assert text.count('class="key"') == 3
    without = " ".join(rendered(run)[1].text)
    assert "No more images than numbers" not in without
    assert "Fréchet distances (SimFlow, Figure 7)" not in without


def test_of_a_thousand_classes_the_ends_are_shown(run):
    shares = {f"class {number}": number / 1000 for number in range(1000)}
    many = dataclasses.replace(
        run, evaluations={"figures": {"classes": {"by_class": shares, "diversity": 1.0}}}
    )
    said = " ".join(rendered(many)[1].text).split("Samples by class")[1]  # after the contents
    assert "The 10 least and the 10 most recognised of 1000 classes" in said
    assert all(name in said for name in ("class 0", "class 9", "class 990", "class 999"))
    assert "class 500" not in said


def test_the_figures_of_a_demo_are_one_more_evaluation(whole_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(whole_run, copy)
    own = {"run": {"step": 4}, "classes": {"accuracy": 0.87}, "left_out": ["likelihood: no density"]}
    (copy / "figures.json").write_text(json.dumps(own))
    both = gather(copy, "run")
    assert list(both.evaluations) == ["results", "figures"]
    assert "Evaluation figures: likelihood: no density." in both.left_out
    accuracies = {each.source: each.value for each in results_of(both) if each.name == "Class accuracy"}
    assert accuracies == {"results": 0.84, "figures": 0.87}
    assert "evaluation, figures.json" in rendered(both)[1].text
    shutil.rmtree(copy / "evaluation")
    assert any(line.startswith("Figures of generation: ") for line in gather(copy, "run").left_out)


def test_a_bare_run_says_what_it_lacks(whole_run, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    newest = next((whole_run / "checkpoints").iterdir())
    shutil.copy(newest / "config.json", bare / "config.json")
    run = gather(bare, "bare")
    assert [line.split(":")[0] for line in run.left_out] == [
        "Step and versions",
        "Loss curves",
        "Latents and guidance",
        "Figures of generation",
    ]
    _, reader = rendered(run)
    assert [each["id"] for each in reader.named("section")] == ["configuration", "left-out", "origin"]
    assert "simflow analyze" in " ".join(reader.text)


def test_a_run_that_was_stopped_at_once_has_no_losses_yet(whole_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(whole_run, copy)
    (copy / "metrics.jsonl").write_text("")
    assert "Loss curves: nothing stands in metrics.jsonl." in gather(copy, "run").left_out


def test_a_run_that_diverged_at_once_has_no_losses(whole_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(whole_run, copy)
    (copy / "metrics.jsonl").write_text('{"step": 1, "loss/total": null, "loss/prior": null}\n')
    found = gather(copy, "run")
    assert "Loss curves: no loss in metrics.jsonl is a number." in found.left_out
    assert found.curves == {}


def test_an_analysis_of_other_weights_is_remarked(whole_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(whole_run, copy)
    state = next((copy / "checkpoints").iterdir()) / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"step": 9}))
    assert (
        "The analysis is of step 4, and the newest checkpoint is of step 9." in gather(copy, "run").left_out
    )


def test_the_newest_evaluation_comes_first_and_an_older_one_is_remarked(whole_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(whole_run, copy)
    state = next((copy / "checkpoints").iterdir()) / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"step": 9}))

    def evaluated(name: str, step: int, day: int, value: float) -> None:
        found = {"name": "FD-Test", "value": value, "better": "lower"}
        record = {
            "run": {"step": step},
            "made_by": {"date": f"2026-02-{day:02d}T00:00:00+00:00"},
            "figures": [found],
        }
        (copy / "evaluation" / f"{name}.json").write_text(json.dumps(record))

    evaluated("a-old", 9, 1, 70.5)
    evaluated("two", 9, 2, 60.5)
    evaluated("late", 3, 3, 80.5)
    run = gather(copy, "run")
    assert list(run.evaluations) == ["two", "a-old", "results", "late"]
    assert "Evaluation results is of step 4, and the newest checkpoint is of step 9." in run.left_out
    text, reader = rendered(run)
    tiles = text[text.index('class="tiles"') :]
    tile = tiles[tiles.index("FD-Test") : tiles.index("</li>")]
    assert "60.50" in tile
    assert "from two" in tile
    said = " ".join(reader.text)
    assert "Figures from results are of step 4, and the newest checkpoint is of step 9." in said
    assert "Figures from late" not in said
    assert "Figures from" not in " ".join(rendered(gather(whole_run, "tiny"))[1].text)


def test_training_images_are_not_called_held_out(run):
    seen = {name: tree | {"left_out": [evaluation.NONE_HELD_OUT]} for name, tree in run.evaluations.items()}
    analysed = dataclasses.replace(run.analysis, left_out=(NONE_HELD_OUT,))
    text, reader = rendered(dataclasses.replace(run, evaluations=seen, analysis=analysed, left_out=()))
    said = " ".join(reader.text).split("All settings")[0]
    assert "Training images, evenly spread: " in said
    assert "latents of training images into noise" in said
    assert "held-out images" not in said.lower()
    assert "Training images, a sheet" in text
    assert "Held-out images, evenly spread: " in " ".join(rendered(run)[1].text)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", None, "there is no run in"),
        ("figures.json", "{", "is damaged"),
        ("evaluation/results.json", "[]", "is not a record"),
        ("analysis/analysis.json", "{}", "run simflow analyze again"),
        ("metrics.jsonl", "nonsense\n", "line 1"),
    ],
)
def test_damage_is_one_sentence(whole_run, tmp_path, file, content, said):
    copy = tmp_path / "run"
    shutil.copytree(whole_run, copy)
    if content is None:
        (copy / file).unlink()
    else:
        (copy / file).write_text(content)
    with pytest.raises(ValueError, match=said):
        gather(copy, "run")


def test_settings_of_another_version_leave_the_sizes_out(whole_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(whole_run, copy)
    file = next((copy / "checkpoints").iterdir()) / "config.json"
    record = json.loads(file.read_text())
    record["config"]["model"]["new_setting"] = 1
    file.write_text(json.dumps(record))
    run = gather(copy, "run")
    assert run.sizes == {}
    assert any("cannot read the settings" in line for line in run.left_out)
    assert rendered(run)


def test_an_analysis_of_a_model_of_the_package_is_to_be_written_elsewhere():
    name = pretrained.names()[0]
    folder = pretrained.find(name)
    said = gather(folder, name).left_out
    assert any(
        f"simflow analyze {name} --out FOLDER, and say --analysis FOLDER here" in line for line in said
    )
    assert not any(str(folder) in line for line in said)
