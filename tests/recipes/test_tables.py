"""The paper's rows: all are there, each changes what it says and nothing else, and every small one takes a step."""

from dataclasses import replace

import pytest
import torch

from simflow import recipes
from simflow.cli.describe import lines_of, on_meta
from simflow.fitting import initial
from simflow.flow.stack import FlowConfig
from simflow.model import Facts
from simflow.recipes import tables
from simflow.records import differences
from simflow.seeding import generator
from simflow.settings import to_dict
from simflow.train.loop import adversary_of, begin
from simflow.train.step import train_step
from tests.laws.cases import normal
from tests.losses.tiny_vit import tiny_file

SMALL, PAPER = tables.small(), tables.paper()
ROWS = {name: recipe() for name, recipe in tables.recipes().items()}
DEMO = {name: run for name, run in ROWS.items() if name.endswith("-demo")}
FULL = {name: run for name, run in ROWS.items() if not name.endswith("-demo")}


def test_every_row_of_the_paper_is_there():
    """Tables 3, 4, 5, 6, 7 and 10 have 4, 5, 5, 4, 5 and 6 rows; ours add Eq. 5 and SimFlow's own to Table 10."""
    counts = {f"table{number}": 0 for number in (3, 4, 5, 6, 7, 10)} | {"figure8": 0}
    for name in FULL:
        table = name.partition("-")[0]
        if table in counts:
            counts[table] += 1
    assert counts == {
        "table3": 4,
        "table4": 5,
        "table5": 5,
        "table6": 4,
        "table7": 5,
        "table10": 8,
        "figure8": 3,
    }
    assert set(ROWS) <= set(recipes.recipes())
    assert all(run.name == name for name, run in ROWS.items())


@pytest.mark.parametrize("name", FULL)
def test_every_row_builds_on_meta(name):
    """With a shallow deep block, for 46 layers take their time even without numbers."""
    run = FULL[name]
    prior = run.model.prior
    if isinstance(prior, FlowConfig) and len(prior.depths) > 1:
        prior = replace(prior, depths=(*prior.depths[:-1], 2))
    model = on_meta(replace(run, model=replace(run.model, prior=prior)), run.expected_facts())
    assert all(parameter.is_meta for parameter in model.parameters())
    assert name in (recipes.recipes()[name].__doc__ or "")


def test_sit_has_the_published_size():
    """SiT-XL: 675 M, Table 1."""
    run = FULL["table7-joint-32"]
    with torch.device("meta"):
        prior = run.model.prior.build(latent_shape=(32, 16, 16), classes=1000)
    assert sum(p.numel() for p in prior.parameters()) / 1e6 == pytest.approx(675, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("vae-learned-demo", "(no blocks: latents are standard normal)"),
        ("table7-joint-16-demo", "(6 layers, width 128)"),
        ("table5-l-demo", "(blocks of 2, 2, 6 layers, width 128; deep block 6 layers)"),
    ],
)
def test_what_info_says_of_priors(name, line):
    assert any(line in text for text in lines_of(DEMO[name], DEMO[name].expected_facts()))


CHANGES = {
    "table3-dim-32": ["model.autoencoder.latent_channels"],
    "table4-std-0.25": ["model.posterior.std"],
    "table5-l": ["model.prior.depths.5", "model.prior.block.width", "model.prior.block.heads"],
    "table6-slerp": ["model.posterior.type", "train.stages.0.steps"],
    "table10-learned": ["model.autoencoder.normalize", "model.posterior.type"],
    "table10-noise": ["model.autoencoder.normalize", "model.posterior.type"],
    "table10-fixed": ["model.autoencoder.normalize"],
    "table10-fixed-ln": [],
    "figure8-last": ["objective.alignment"],
    "balance-calibrated": ["objective.reconstruction.type", "objective.perceptual", "objective.adversarial"],
    "prior-weight-0.3": ["objective.prior_weight"],
    "vae-fixed-ln": [
        "model.prior.depths",
        "model.prior.block",
        "objective.prior_weight",
        "objective.label_drop",
        "sample.guidance",
        "sample.refinement",
    ],
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_row_changes_what_it_says(name):
    changed = differences(to_dict(PAPER.base), to_dict(FULL[name]))
    assert [path for path in changed if not path.startswith("model.prior.block.")] == [
        "name",
        *[path for path in CHANGES[name] if not path.startswith("model.prior.block")],
    ]


@pytest.mark.parametrize("suffix", ["", "-demo"])
def test_the_default_rows_are_the_base(suffix):
    base = PAPER.base if suffix == "" else SMALL.base
    same = ["table3-dim-64" if suffix == "" else "table3-dim-16", "table4-std-0.5", "table10-fixed-ln"]
    same += ["table5-xxl" if suffix == "" else "table5-b"]
    for name in same:
        assert differences(to_dict(base), to_dict(ROWS[name + suffix])) == ["name"], name


def test_frozen_rows_freeze_and_ask_whose_autoencoder():
    for name, run in FULL.items():
        routing = run.objective.routing
        if name.startswith(("table10-frozen", "table7-frozen", "systems-starflow")):
            assert run.start_from is not None
            assert run.start_from.parts == "autoencoder"
            assert routing.encoder == "frozen"
            assert routing.decoder == ("reconstruction" if "encoder" in name else "frozen")
        elif not name.startswith("last-"):
            assert run.start_from is None
            assert (routing.encoder, routing.decoder, routing.prior) == ("all", "reconstruction", "prior")
    decoder, prior = (FULL[name].objective.routing for name in ("last-decoder", "last-prior"))
    assert (decoder.encoder, decoder.decoder, decoder.prior) == ("frozen", "reconstruction", "frozen")
    assert (prior.encoder, prior.decoder, prior.prior) == ("frozen", "frozen", "prior")


@pytest.mark.parametrize(
    ("frozen", "alone"),
    [
        ("table10-frozen-learned", "vae-learned"),
        ("table10-frozen-fixed", "vae-fixed"),
        ("table10-frozen-fixed-ln", "vae-fixed-ln"),
        ("table10-frozen-encoder-noise", "vae-learned"),
        ("table7-frozen-64", "vae-learned"),
    ],
)
def test_a_frozen_row_fits_the_autoencoder_that_it_names(frozen, alone):
    assert FULL[frozen].model.autoencoder == FULL[alone].model.autoencoder
    assert FULL[frozen].model.posterior.moments == FULL[alone].model.posterior.moments


def test_the_aligned_blocks():
    assert [FULL[f"figure8-{at}"].objective.alignment.block for at in ("first", "middle", "last")] == [
        1,
        3,
        6,
    ]
    assert [DEMO[f"figure8-{at}-demo"].objective.alignment.block for at in ("first", "middle", "last")] == [
        1,
        2,
        3,
    ]
    assert recipes.get("simflow-b-repa").objective.alignment.where == (3, 1)


def parts(objective):
    """The parts of a model, and the parameters of each."""
    autoencoder = objective.model.autoencoder
    named = {
        "encoder": autoencoder.encoder_parts(),
        "decoder": autoencoder.decoder_parts(),
        "prior": (objective.model.prior,),
    }
    return {name: [p for m in modules for p in m.parameters()] for name, modules in named.items()}


@pytest.mark.parametrize("name", DEMO)
def test_a_small_row_takes_a_step_and_moves_what_its_routing_says(name, tmp_path):
    run = DEMO[name]
    if run.objective.alignment is not None:
        encoder = replace(run.objective.alignment.encoder, source=tiny_file(tmp_path), side=None)
        alignment = replace(run.objective.alignment, encoder=encoder, hidden=16)
        run = replace(run, objective=replace(run.objective, alignment=alignment))
    images = normal(2, 1, 32, 32, dtype=torch.float32).clamp(-1, 1)
    names = run.classes_of(tuple("abcdefghij"))
    facts = Facts(image_size=32, channels=1, class_names=names)
    objective = initial(run, facts, torch.device("cpu"))
    state = begin(objective, run.train)
    before = {part: [p.detach().clone() for p in ps] for part, ps in parts(objective).items()}
    for _ in range(2):  # heads and gates are zero at first: some parts move from the second step on
        said = train_step(
            state,
            objective.train(),
            images,
            torch.tensor([0, 1] if names else [-1, -1]),
            microbatch=2,
            clip=1.0,
            generator=generator(0, state.step),
            adversary=adversary_of(objective, state, world=1),
        )
    assert all(value.isfinite() for value in said.losses.values())
    assert said.skipped.item() == 0
    moved = {
        part: any(not torch.equal(old, new) for old, new in zip(before[part], now, strict=True))
        for part, now in parts(objective).items()
    }
    routing = run.objective.routing
    assert moved == {
        "encoder": routing.encoder != "frozen"
        and bool(parts(objective)["encoder"]),  # pixels have nothing to learn
        "decoder": routing.decoder != "frozen" and bool(parts(objective)["decoder"]),
        "prior": routing.prior != "frozen" and bool(parts(objective)["prior"]),
    }


@pytest.mark.parametrize("name", ["table6-linear-demo", "table7-joint-16-demo", "vae-learned-demo"])
def test_a_small_row_samples(name):
    run = DEMO[name]
    names = run.classes_of(tuple("abcdefghij"))
    model = run.model.build(Facts(image_size=32, channels=1, class_names=names)).eval()
    noise = normal(2, *model.prior.noise_shape, dtype=torch.float32)
    labels = torch.tensor([0, 1] if names else [-1, -1])
    images = model.generate(noise, labels, guidance=run.sample.guidance, refinement=run.sample.refinement)
    assert images.shape == (2, 1, 32, 32)


def test_only_a_perturbation_without_noise_is_watched_for_a_fall_without_end():
    watched = {}
    for name in ("table6-none-demo", "table6-linear-demo", "table10-learned-demo", "vae-learned-demo"):
        run = DEMO[name]
        objective = initial(run, replace(run.expected_facts(), image_size=32), torch.device("cpu"))
        watched[name] = (objective.floor is not None, objective.bottom)
    assert watched == {
        "table6-none-demo": (False, -2.5),
        "table6-linear-demo": (True, None),
        "table10-learned-demo": (False, None),
        "vae-learned-demo": (False, None),
    }
