"""Every row of the paper's Tables 3 to 7 and 10 and of its Figures 3, 5 and 8, and other systems, at two scales.

A row is a change (:mod:`simflow.recipes.variants`) of one run. Its name alone is the row at the paper's scale:
SimFlow-XXL on ImageNet at 256 px, 80 epochs. With ``-demo`` behind it, it is the same change of the demo's system:
Fashion-MNIST at 32 px, 16 tokens of 16 numbers, minutes on two cores. Data, length and seed are settings.

Rows on a trained autoencoder say whose: first ``simflow train vae-learned-demo --out runs/vae``, then
``simflow train table10-frozen-learned-demo --start_from runs/vae``.

What the paper does not say, and is chosen here: which size of flow the rows of Tables 6 and 10 and Figure 8 have (XXL);
that "Fixed var" in Table 10 is without LayerNorm, since "Fixed var + LN" is another row; that "Noise" is STARFlow's 0.3
on top of a predicted variance; how ``t`` is drawn in Table 6 (:mod:`simflow.posterior`); how long the last stages are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from simflow.config import RunConfig
from simflow.flow.stack import FlowConfig
from simflow.posterior import FixedVariance, LearnedVariance, Linear, NoNoise, Slerp
from simflow.recipes import demo, starflow, tarflow
from simflow.recipes import variants as v
from simflow.recipes.simflow import EPOCHS_80, simflow_xxl
from simflow.recipes.stages import AUTOENCODER, decoder_only, prior_and_decoder, prior_only
from simflow.sit.prior import SiTConfig
from simflow.sit.solver import Heun
from simflow.train import optim
from simflow.train.optim import StageConfig


class Row(NamedTuple):
    """A run, and what is said of it."""

    says: str
    run: RunConfig


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What the tables need to know of the size at which they are made."""

    suffix: str
    """What the names of the rows end in."""
    base: RunConfig
    """The run that the rows change."""
    dims: tuple[int, ...]
    """Latent channels of Table 3."""
    sizes: dict[str, tuple[int, int, tuple[int, ...]]]
    """Width, heads and depths of the flows of Table 5."""
    sit: SiTConfig
    """The SiT of Table 7."""
    sit_runs: tuple[tuple[int, int | None], ...]
    """Latent channels and epochs of Table 7's joint rows; None for as long as the base."""
    perturbed: int | None
    """Steps of Table 6; None for as long as the base."""
    last: tuple[StageConfig, ...]
    """A stage after joint training."""
    tarflow: FlowConfig
    """The flow on pixels beside which the others stand."""
    starflow: FlowConfig
    """The flow on the latents of a frozen autoencoder."""
    side: int | None
    """Side at which the network of Figure 8 sees images; None for a patch a token."""


def paper() -> Scale:
    """SimFlow-XXL, stage I."""
    full = simflow_xxl()
    return Scale(
        suffix="",
        base=replace(full, train=replace(full.train, stages=full.train.stages[:1])),
        dims=(16, 32, 64, 128),
        sizes={
            "s": (384, 6, (2, 2, 2, 2, 2, 2)),
            "b": (768, 12, (2, 2, 2, 2, 2, 2)),
            "l": (1024, 16, (2, 2, 2, 2, 2, 14)),
            "xl": (1152, 16, (2, 2, 2, 2, 2, 18)),
            "xxl": (1152, 16, (2, 2, 2, 2, 2, 46)),
        },
        sit=SiTConfig(),
        sit_runs=((32, 50), (64, 50), (64, 80)),
        perturbed=100_000,
        last=(StageConfig(steps=EPOCHS_80 // 5, schedule=optim.Cosine(final=0.01)),),
        tarflow=tarflow.shape(8, 1152, 8, 11),
        starflow=starflow.deep_shallow(width=2048, heads=32, shallow=5, deep=18, still=16),
        side=None,
    )


def small() -> Scale:
    """The demo's system."""
    return Scale(
        suffix="-demo",
        base=demo.small(),
        dims=(4, 8, 16, 32),
        sizes={
            "s": (64, 2, (2, 2, 2)),
            "b": (128, 4, (2, 2, 2)),
            "l": (128, 4, (2, 2, 6)),
            "xl": (192, 6, (2, 2, 6)),
            "xxl": (192, 6, (2, 2, 12)),
        },
        sit=SiTConfig(width=128, depth=6, heads=4, solver=Heun(steps=25)),
        sit_runs=((16, None),),
        perturbed=None,
        last=(StageConfig(steps=600, schedule=optim.Linear(final=0.0)),),
        tarflow=tarflow.shape(4, 128, 7, 2, head=32),
        starflow=starflow.deep_shallow(width=128, heads=4, shallow=2, deep=6, still=8),
        side=112,
    )


def recipes() -> dict[str, Callable[[], RunConfig]]:
    """All rows at both scales as recipes by name, the small ones first."""
    tables = (
        autoencoders,
        table3,
        table4,
        table5,
        table6,
        table7,
        table10,
        figure8,
        balance,
        systems,
        last_stages,
    )
    found: dict[str, Callable[[], RunConfig]] = {}
    for scale in (small(), paper()):
        for table in tables:
            for name, row in table(scale).items():
                found[name + scale.suffix] = recipe(name + scale.suffix, row)
    return found


def recipe(name: str, row: Row) -> Callable[[], RunConfig]:
    """A row as a function with a text, like the recipes that are written by hand."""

    def made() -> RunConfig:
        return replace(row.run, name=name)

    taken = "" if row.run.start_from is None else " --start_from RUN"
    made.__doc__ = f"{row.says}: ``simflow train {name}{taken}``."
    return made


def autoencoders(s: Scale) -> dict[str, Row]:
    """Autoencoders alone, for the rows that freeze one, and of several strengths of noise for Figure 3."""
    plain = v.alone(s.base)
    learned = v.unnormalised(v.posterior(plain, LearnedVariance()))
    found = {
        "vae-learned": Row("An autoencoder alone, its variance predicted", learned),
        "vae-fixed": Row("An autoencoder alone, its variance fixed", v.unnormalised(plain)),
        "vae-fixed-ln": Row("An autoencoder alone, its variance fixed, LayerNorm", plain),
    }
    for std in (0.1, 0.25, 0.75, 1.0):
        changed = v.posterior(plain, FixedVariance(std=std))
        found[f"figure3-std-{std}"] = Row(f"Figure 3: an autoencoder alone with noise of {std}", changed)
    return found


def table3(s: Scale) -> dict[str, Row]:
    """Latent channels."""
    return {
        f"table3-dim-{dim}": Row(f"Table 3: {dim} latent channels", v.latent_dim(s.base, dim))
        for dim in s.dims
    }


def table4(s: Scale) -> dict[str, Row]:
    """Standard deviations; the paper lists their squares."""
    return {
        f"table4-std-{std}": Row(
            f"Table 4: standard deviation {std}", v.posterior(s.base, FixedVariance(std=std))
        )
        for std in (0.1, 0.25, 0.5, 0.75, 1.0)
    }


def table5(s: Scale) -> dict[str, Row]:
    """Sizes of the flow."""
    return {
        f"table5-{size}": Row(
            f"Table 5: a flow of size {size.upper()}",
            v.flow_size(s.base, width=width, heads=heads, depths=depths),
        )
        for size, (width, heads, depths) in s.sizes.items()
    }


def table6(s: Scale) -> dict[str, Row]:
    """Perturbations."""
    rules = {
        "none": ("no noise, which collapses", NoNoise()),
        "linear": ("t x + (1 - t) noise", Linear()),
        "slerp": ("t x + sqrt(1 - t^2) noise", Slerp()),
        "additive": ("x + noise", FixedVariance()),
    }
    base = s.base if s.perturbed is None else v.lasting(s.base, s.perturbed)
    return {
        f"table6-{name}": Row(f"Table 6: {text}", v.posterior(base, rule))
        for name, (text, rule) in rules.items()
    }


def table7(s: Scale) -> dict[str, Row]:
    """SiT on a frozen autoencoder and trained with one."""
    found = {}
    for dim, epochs in s.sit_runs:
        run = v.by_sit(v.latent_dim(s.base, dim), s.sit)
        run = run if epochs is None else v.lasting(run, epochs * EPOCHS_80 // 80)
        name = f"{dim}" if epochs in (None, 50) else f"{dim}-{epochs}"
        found[f"table7-joint-{name}"] = Row(f"Table 7: SiT with a new autoencoder, {dim} channels", run)
        if epochs in (None, 50):
            frozen = prior_only(v.unnormalised(v.posterior(run, LearnedVariance())), AUTOENCODER)
            found[f"table7-frozen-{name}"] = Row(
                f"Table 7: SiT on a frozen autoencoder, {dim} channels", frozen
            )
    return found


def table10(s: Scale) -> dict[str, Row]:
    """What is frozen, and where the variance comes from (also Figure 5)."""
    raw = v.unnormalised(s.base)
    learned = v.posterior(raw, LearnedVariance())
    noisy = v.posterior(raw, LearnedVariance(added=starflow.STD))
    return {
        "table10-frozen-learned": Row("Table 10: frozen vae-learned", prior_only(learned, AUTOENCODER)),
        "table10-frozen-fixed": Row("Table 10: frozen vae-fixed", prior_only(raw, AUTOENCODER)),
        "table10-frozen-fixed-ln": Row("Table 10: frozen vae-fixed-ln", prior_only(s.base, AUTOENCODER)),
        "table10-frozen-encoder-noise": Row(
            "Table 10: noise on a frozen encoder of vae-learned, the decoder trained",
            prior_and_decoder(noisy),
        ),
        "table10-noise": Row("Table 10: end to end, noise on a predicted variance", noisy),
        "table10-fixed": Row("Table 10: end to end, fixed variance", raw),
        "table10-fixed-ln": Row("Figure 5: end to end, fixed variance and LayerNorm (SimFlow)", s.base),
        "table10-learned": Row("Eq. 5: end to end, predicted variance and its entropy", learned),
    }


def figure8(s: Scale) -> dict[str, Row]:
    """Which block is aligned."""
    return {
        f"figure8-{place}": Row(
            f"Figure 8: the {place} block aligned with DINOv2", v.aligned(s.base, at=place, side=s.side)
        )
        for place in ("first", "middle", "last")
    }


def balance(s: Scale) -> dict[str, Row]:
    """What stands against the prior's term, and how heavy that is."""
    found = {
        "balance-pixels": Row("Balance: 1:1 with the squared error alone", v.pixels_alone(s.base)),
        "balance-perceptual": Row(
            "Balance: 1:1 with squared error and perceptual distance", v.perceptual(s.base)
        ),
        "balance-calibrated": Row("Balance: a calibrated likelihood, the ELBO", v.calibrated(s.base)),
    }
    for weight in (0.1, 0.3, 3.0):
        found[f"prior-weight-{weight}"] = Row(
            f"Balance: the prior's term weighs {weight}", v.prior_weight(s.base, weight)
        )
    return found


def systems(s: Scale) -> dict[str, Row]:
    """Other systems than the paper's, of about as many parameters; those of its tables are there already."""
    return {
        "systems-tarflow": Row("TarFlow on the pixels", v.by_tarflow(s.base, s.tarflow)),
        "systems-starflow": Row("STARFlow on frozen vae-learned", v.by_starflow(s.base, s.starflow)),
    }


def last_stages(s: Scale) -> dict[str, Row]:
    """What may follow joint training."""
    run = replace(s.base, train=replace(s.base.train, stages=s.last))
    return {
        "last-decoder": Row("After joint training: the decoder alone", decoder_only(run)),
        "last-prior": Row("After joint training: the prior alone", prior_only(run)),
    }
