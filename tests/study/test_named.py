"""The named studies: their rows are recipes, their claims are of their rows, and the paper's numbers bear them out."""

import pytest

from simflow import recipes
from simflow.settings import override
from simflow.study.claim import printed
from simflow.study.columns import FIGURES, TRAINING, column
from simflow.study.named import get, studies

CASES = [
    pytest.param(study, scale, id=f"{name}-{scale}")
    for scale in ("small", "paper")
    for name, study in studies(scale).items()
]


@pytest.fixture(scope="module")
def known():
    return recipes.recipes()


@pytest.mark.parametrize(("study", "scale"), CASES)
def test_rows_are_recipes_of_their_scale(study, scale, known):
    names = [row.name for row in study.rows]
    assert len(set(names)) == len(names)
    assert len({row.label for row in study.rows}) == len(names)
    for row in study.rows:
        run = known[row.recipe]()
        assert row.recipe.endswith("-demo") == (scale == "small")
        assert (run.start_from is not None) == (row.after is not None), row.name
        assert set(row.paper) <= {each.key for each in (*FIGURES, *TRAINING)}
        if row.after is None:
            continue
        before = override(known[row.after.recipe](), row.after.settings)
        assert run.start_from.parts == "autoencoder"
        assert before.model.autoencoder == run.model.autoencoder, row.name
        assert before.start_from is None
        if run.model.posterior.moments == 2:
            assert before.model.posterior.moments == 2, row.name


@pytest.mark.parametrize(("study", "scale"), CASES)
def test_claims_are_of_rows_and_the_paper_bears_them_out(study, scale):
    assert study.claims
    for claim in study.claims:
        better, worse = study.row(claim.better), study.row(claim.worse)
        assert better is not worse
        assert column(claim.figure).better is not None
        difference = printed(study, claim)
        if difference is None:
            assert "words" in claim.source or claim.source == "our own finding", claim
        else:
            same = {"ssim": 0, "lpips": 0}.get(claim.figure, 1e-9)
            assert difference >= same, claim


def test_what_the_paper_prints_for_the_default_row():
    default = {"rfd": 1.49, "psnr": 23.01, "fd": 21.44, "fd_guided": 2.53}
    for name, row in (
        ("table3", "dim-64"),
        ("table4", "std-0.5"),
        ("table5", "xxl"),
        ("table10", "fixed-ln"),
    ):
        numbers = get(name, "paper").row(row).paper
        assert {key: numbers[key] for key in default} == default


def test_small_rows_stand_for_the_papers():
    assert [row.name for row in get("table3").rows] == ["dim-4", "dim-8", "dim-16", "dim-32"]
    assert get("table3").row("dim-16").paper == get("table3", "paper").row("dim-64").paper
    assert [row.name for row in get("table5").rows] == ["s", "b", "l", "xl"]


def test_unknown_names():
    with pytest.raises(ValueError, match="there is no study 'table33'; did you mean table3"):
        get("table33")
    with pytest.raises(ValueError, match="has no row 'x'; it has pixels, perceptual, calibrated"):
        get("balance").row("x")
