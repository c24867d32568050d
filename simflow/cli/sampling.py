"""From the flags of ``simflow sample`` to a way of sampling: the run's own, with what they change."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from tyro.conf import arg

from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.flow.score import GuidedScoreStep, ScoreDenoise
from simflow.model import Model
from simflow.sample import Rule, SampleConfig, guided

RULES = {"gaussian-product": GaussianProduct, "log-scale": LogScale}


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What is not said is as the run's recipe says."""

    guidance: float | None = None
    """Strength of guidance; 0 is none."""
    rule: Literal["gaussian-product", "log-scale"] | None = None
    """Guidance of STARFlow (the deep block) or of TarFlow (all blocks)."""
    attention_temperature: float | None = None
    """Attention temperature of the unconditional pass that guidance moves away from; other than 1, it guides models
    without classes."""
    what: Literal["both", "scale", "shift"] | None = None
    """What TarFlow's guidance acts on."""
    annealed: Literal["yes", "no"] | None = None
    """Whether TarFlow's guidance grows along the tokens."""
    denoise: Annotated[tuple[float, ...] | None, arg(metavar="[MULTIPLIER]")] = None
    """Clean samples by a score step of the run's own noise, times a multiplier (1 if not said); 0 is none."""
    gamma: float | None = None
    """Step size of SimFlow's guided score step after sampling (Eq. 6); 0 is none."""
    temperature: float | None = None
    """Standard deviation of the noise."""
    batch: int | None = None
    """Images at once, on each process."""


def changed(config: SampleConfig, flags: Flags, model: Model) -> SampleConfig:
    """The run's own way of sampling ``model`` with what the flags change.

    Raises:
        ValueError: flags that contradict each other or the model.
    """
    config = replace(
        config, guidance=guidance_of(config, flags, model), refinement=refinement_of(config, flags, model)
    )
    if flags.temperature is not None:
        config = replace(config, temperature=flags.temperature)
    return config if flags.batch is None else replace(config, batch=flags.batch)


def guidance_of(config: SampleConfig, flags: Flags, model: Model) -> Rule | None:
    """The run's rule of guidance, changed or swapped.

    Raises:
        ValueError: a flag does not belong to the rule, guidance would be by classes of a model without any, or the
            prior follows no rule.
    """
    rule = config.guidance
    if flags.rule is not None and not isinstance(rule, RULES[flags.rule]):
        rule = RULES[flags.rule]() if rule is None else RULES[flags.rule](weight=rule.weight)
    if flags.guidance is not None or flags.attention_temperature is not None:
        rule = guided(rule, model, weight=flags.guidance, attention_temperature=flags.attention_temperature)
    if flags.what is not None or flags.annealed is not None:
        if not isinstance(rule, LogScale):
            raise ValueError("--what and --annealed belong to TarFlow's guidance: add --rule log-scale")
        rule = replace(rule, what=flags.what or rule.what)
        rule = rule if flags.annealed is None else replace(rule, annealed=flags.annealed == "yes")
    return rule


def refinement_of(config: SampleConfig, flags: Flags, model: Model) -> GuidedScoreStep | ScoreDenoise | None:
    """The run's score step after sampling, changed or swapped; a step of size 0 is none.

    Raises:
        ValueError: two steps are asked for, one by classes of a model without any, or the standard deviation of the
            noise is not known.
    """
    if flags.denoise is not None and flags.gamma is not None:
        raise ValueError("give either --denoise or --gamma: each is the one score step after sampling")
    if flags.gamma and not model.facts.class_names:
        raise ValueError(
            "--gamma needs classes, for it follows the difference that the class makes, and this model was trained "
            "without any"
        )
    if flags.gamma is not None:
        return GuidedScoreStep(gamma=flags.gamma) if flags.gamma else None
    if flags.denoise is None:
        return config.refinement
    if len(flags.denoise) > 1:
        raise ValueError("--denoise takes one multiplier, such as 1.1, or none")
    multiplier = flags.denoise[0] if flags.denoise else 1.0
    if multiplier == 0:
        return None
    if isinstance(config.refinement, ScoreDenoise):
        return replace(config.refinement, multiplier=multiplier)
    std = model.posterior.noise_std
    if std is None:
        raise ValueError(
            "--denoise is for a run whose noise has one standard deviation, and this one's has not "
            f"({type(model.posterior).__name__})"
        )
    return ScoreDenoise(std=std, multiplier=multiplier)
