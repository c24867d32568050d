"""What is plotted of analyses and losses: the charts of one run, or of several in the same axes.

Every function takes the names of the runs and their records in the same order; a run's colour is its place. A run
that lacks a record has None, and leaves its colour out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simflow.analysis.gaussianity import REACH, Gaussianity
from simflow.analysis.latent_space import LatentSpace
from simflow.analysis.record import Analysis
from simflow.analysis.robustness import Robustness
from simflow.analysis.sweep import Sweep
from simflow.evaluate.extractors import Identity
from simflow.evaluate.latents import LatentStatistics
from simflow.objective import comparable
from simflow.report.chart import Bar, Bars, Chart, Line, Series, limits, thinned
from simflow.train.metrics import Curve

STATISTICS = {
    "spectral_entropy": ("Spectral entropy", "Lower means that fewer frequencies matter"),
    "high_frequency_ratio": ("High-frequency ratio", "Lower means less fine structure"),
    "total_variation": ("Total variation", "Lower means smoother"),
    "autocorrelation": ("Autocorrelation", "Higher means that tokens tell of their neighbours"),
}
"""Fields of :class:`LatentStatistics`: what they are called, and what is easier for a flow."""

HEADINGS = {
    "total": ("Total", "sum of the terms"),
    "reconstruction": ("Reconstruction", "loss"),
    "prior": ("Flow (negative log likelihood)", "nats per latent number"),
    "entropy": ("Posterior entropy, negative", "nats per latent number"),
    "mse": ("Mean squared error", "on [-1, 1]"),
}
"""Heading and unit of the terms of the loss that have a better one than their own name."""


def of_analyses(names: Sequence[str], found: Sequence[Analysis]) -> dict[str, Sequence[Chart | Bars]]:
    """All charts of analyses by what they show; groups without charts are left out."""
    groups: dict[str, Sequence[Chart | Bars]] = {
        "latents": latents(names, [each.latents for each in found]),
        "robustness-curves": robustness(names, [each.robustness for each in found]),
        "normality": normality(names, [each.noise for each in found]),
        "guidance-curves": sweeps(names, [each.sweeps for each in found]),
    }
    return {name: charts for name, charts in groups.items() if charts}


def latents(names: Sequence[str], spaces: Sequence[LatentSpace | None]) -> list[Bars]:
    """Figure 4: a chart a statistic, two bars a run, and white noise to hold them against, if it is the same for
    all runs."""
    known = [(i, name, space) for i, (name, space) in enumerate(zip(names, spaces, strict=True)) if space]
    if not known:
        return []
    one, charts = len(names) == 1, []
    for field, (title, meaning) in STATISTICS.items():
        bars = []
        for colour, name, space in known:
            drawn, mean = _value(space.drawn, field), _value(space.means, field)
            bars.append(Bar(label="with noise" if one else name, value=drawn, colour=colour))
            bars.append(Bar(label="means" if one else "its means", value=mean, colour=colour, pale=True))
        white = _value(known[0][2].white, field) if len({space.shape for *_, space in known}) == 1 else None
        said = [f"{bar.label} {bar.value:.3f}" for bar in bars]
        charts.append(
            Bars(
                title=title,
                bars=tuple(bars),
                line=None if white is None else Line(label="white noise", at=white),
                says=f"{meaning}: {'; '.join(said)}.",
            )
        )
    return charts


def robustness(names: Sequence[str], curves: Sequence[Robustness | None]) -> list[Chart]:
    """Figure 3a: PSNR and SSIM over the noise on the latents; upright lines show the posterior's own noise."""
    charts = []
    for title, y, field in (("PSNR under latent noise", "decibels", "psnr"), ("SSIM", "", "ssim")):
        series, lines = [], []
        for colour, (name, curve) in enumerate(zip(names, curves, strict=True)):
            values = () if curve is None else {"psnr": curve.psnr, "ssim": curve.ssim}[field]
            if curve is None or None in values:
                continue
            ys = tuple(value for value in values if value is not None)
            series.append(Series(label=name, xs=curve.levels, ys=ys, colour=colour, points=True))
            if curve.own_level is not None and curve.own_level <= max(curve.levels):
                said = "trained with" if len(names) == 1 else ""
                lines.append(Line(label=said, at=curve.own_level, upright=True, colour=colour))
        if series:
            charts.append(
                Chart(
                    title=title if field == "psnr" else "SSIM under latent noise",
                    x="noise, in standard deviations of the latents",
                    y=y or "SSIM",
                    series=tuple(series),
                    lines=tuple(lines),
                    says=_ends(series),
                )
            )
    return charts


def normality(names: Sequence[str], noises: Sequence[Gaussianity | None]) -> list[Chart]:
    """Normality plots of the noise: all numbers together, then moments of each number in standard errors."""
    charts = []
    for title, field, y in (
        ("All numbers of the noise", "pooled", "quantiles of the noise"),
        ("Mean of each number", "means", "quantiles, in standard errors"),
        ("Variance of each number", "variances", "quantiles, in standard errors"),
        ("Excess kurtosis of each number", "kurtoses", "quantiles, in standard errors"),
    ):
        series = [
            Series(label=name, xs=noise.expected, ys=_quantiles(noise, field), colour=colour)
            for colour, (name, noise) in enumerate(zip(names, noises, strict=True))
            if noise is not None
        ]
        if series:
            diagonal = Series(label="", xs=(-REACH, REACH), ys=(-REACH, REACH), colour=None, dashes=1)
            charts.append(
                Chart(
                    title=title,
                    x="quantiles of a standard normal",
                    y=y,
                    series=(diagonal, *series),
                    says="On the dashed diagonal if the noise is standard normal.",
                )
            )
    return charts


def sweeps(names: Sequence[str], found: Sequence[Sequence[Sweep]]) -> list[Chart]:
    """Fréchet distances (Figure 7), recognition and diversity over the guidance weight, and these two against each
    other; a run's lines have its colour, and their dashes say which score step (:func:`score_steps`)."""
    charts = distances(names, found)
    accuracy, spread, both, real = [], [], [], set()
    for line in lines(names, found):
        real.add(line.sweep.real_accuracy)
        accuracy.append(line.over(line.sweep.weights, line.sweep.accuracy))
        spread.append(line.over(line.sweep.weights, line.sweep.diversity))
        both.append(line.over(line.sweep.diversity, line.sweep.accuracy))
    if not accuracy:
        return charts
    judged = tuple(Line(label=f"real images {value:.3f}", at=value) for value in sorted(real))
    return [
        *charts,
        Chart(
            title="Class accuracy",
            x="guidance weight",
            y="share recognised",
            series=tuple(accuracy),
            lines=judged,
            says=_ends(accuracy),
        ),
        Chart(
            title="Diversity within a class",
            x="guidance weight",
            y="relative to real images",
            series=tuple(spread),
            says=_ends(spread),
        ),
        Chart(
            title="Accuracy against diversity",
            x="diversity",
            y="class accuracy",
            series=tuple(both),
            says="Guidance moves along the curve; further up and right is better.",
        ),
    ]


def distances(names: Sequence[str], found: Sequence[Sequence[Sweep]]) -> list[Chart]:
    """Figure 7: a chart a network, the Fréchet distance over the guidance weight, logarithmic where the largest is
    more than ten times the least."""
    series: dict[Identity, list[Series]] = {}
    floors: dict[Identity, set[float]] = {}
    for line in lines(names, found):
        for each in line.sweep.distances:
            series.setdefault(each.extractor, []).append(line.over(line.sweep.weights, each.values))
            floors.setdefault(each.extractor, set()).update([] if each.floor is None else [each.floor])
    charts = []
    for network, curves in series.items():
        values = [y for each in curves for y in each.ys]
        least = min((y, x, each.label) for each in curves for x, y in zip(each.xs, each.ys, strict=True))
        charts.append(
            Chart(
                title=f"Fréchet distance, {network.frechet}",
                x="guidance weight",
                y=network.frechet,
                series=tuple(curves),
                lines=tuple(
                    Line(label=f"real images {value:.3g}", at=value) for value in sorted(floors[network])
                ),
                says=f"{_ends(curves)} The least is {least[0]:.3g}, at {least[1]:g} of {least[2]}.",
                logarithmic=max(values) > 10 * min(values) and min([*values, *floors[network]]) > 0,
            )
        )
    return charts


def score_steps(found: Sequence[Sequence[Sweep]]) -> list[float | None]:
    """The sizes of the score step in sweeps, none first: the place of a size is the number of its dashes."""
    return [None, *sorted({each.gamma for made in found for each in made if each.gamma is not None})]


class SweepLine(NamedTuple):
    """A sweep and how its lines are drawn."""

    sweep: Sweep
    label: str
    colour: int
    dashes: int

    def over(self, xs: tuple[float, ...], ys: tuple[float, ...]) -> Series:
        """One of its lines."""
        return Series(label=self.label, xs=xs, ys=ys, colour=self.colour, dashes=self.dashes, points=True)


def lines(names: Sequence[str], found: Sequence[Sequence[Sweep]]) -> list[SweepLine]:
    """All sweeps of runs, named and numbered."""
    steps = score_steps(found)
    return [
        SweepLine(
            sweep=sweep,
            label=f"{name}{sweep.apart}",
            colour=colour,
            dashes=steps.index(sweep.gamma),
        )
        for colour, (name, made) in enumerate(zip(names, found, strict=True))
        for sweep in made
    ]


def losses(
    names: Sequence[str],
    runs: Sequence[dict[str, Curve]],
    unseen: Sequence[dict[str, Curve]],
    floors: Sequence[float | None],
) -> list[Chart]:
    """A chart a term of the loss, faint as logged (one run only) and strong as a running mean over a fortieth of the
    run; dashed on held-out images.

    The first twentieth of a run may be cut off above, where losses fall steeply, so that what follows can be read. The
    chart of the flow's loss shows its floor: a curve that comes to rest on it belongs to latents that say nothing of
    their images.
    """
    charts = []
    for term in dict.fromkeys(term for curves in runs for term in curves):
        title, unit = HEADINGS.get(term, (term.replace("_", " ").capitalize(), "loss"))
        series, shown = [], []
        for colour, (name, curves, held_out) in enumerate(zip(names, runs, unseen, strict=True)):
            if term not in curves:
                continue
            held_out = comparable(curves, held_out)
            steps, values = curves[term]
            smooth = running_mean(values, max(1, len(values) // 40))
            if len(names) == 1 and len(values) > 40:
                xs, ys = thinned(steps, values)
                series.append(Series(label="", xs=xs, ys=ys, colour=colour, faint=True))
            xs, ys = thinned(steps, smooth)
            series.append(Series(label=name, xs=xs, ys=ys, colour=colour))
            shown += [*values[len(values) // 20 :].tolist()]
            if term in held_out:
                steps, values = held_out[term]
                xs, ys = thinned(steps, values)
                label = "held out" if len(names) == 1 else f"{name}, held out"
                once = len(xs) == 1  # and a line of one point is not seen
                series.append(Series(label=label, xs=xs, ys=ys, colour=colour, dashes=1, points=once))
                shown += [*values[len(values) // 20 :].tolist()]
        found = {floor for floor in floors if floor is not None} if term == "prior" else set()
        lines = tuple(Line(label=f"floor {floor:.3f}", at=floor) for floor in sorted(found))
        y_range = limits([*np.quantile(shown, (0.0, 0.999)).tolist(), *found])
        named = [each for each in series if each.label]
        charts.append(
            Chart(
                title=title,
                x="training step",
                y=unit,
                series=tuple(series),
                lines=lines,
                y_range=y_range,
                says=_ends(named),
            )
        )
    return charts


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Means over ``window`` neighbouring values, fewer at the ends; as long as ``values``."""
    ones = np.ones(window)
    return np.convolve(values, ones, mode="same") / np.convolve(np.ones(len(values)), ones, mode="same")


def histogram(record: Mapping[str, Any], *, x: str) -> Chart | None:
    """Sets of scores in common bins (:func:`simflow.evaluate.scores.histograms`), as shares of each set."""
    edges, counts = record.get("edges"), record.get("counts")
    if not edges or not isinstance(counts, Mapping) or len(edges) < 2:
        return None
    series = []
    for colour, (name, own) in enumerate(counts.items()):
        if len(own) != len(edges) - 1 or not sum(own):
            return None
        shares = [count / sum(own) for count in own]
        xs = [edge for edge in edges for _ in (0, 1)]
        ys = [0.0, *(share for share in shares for _ in (0, 1)), 0.0]
        series.append(Series(label=str(name), xs=tuple(xs), ys=tuple(ys), colour=colour))
    return Chart(
        title="Bits per dimension of images",
        x=x,
        y="share of the set",
        series=tuple(series),
        says=f"Histograms of {', '.join(each.label for each in series)}.",
    )


def _value(statistics: LatentStatistics, field: str) -> float:
    return float(vars(statistics)[field])


def _quantiles(noise: Gaussianity, field: str) -> tuple[float, ...]:
    return vars(noise)[field]


def _ends(series: Sequence[Series]) -> str:
    """Where curves begin and end, in words."""
    said = [
        f"{each.label + ': ' if each.label else ''}from {each.ys[0]:.3g} at {each.xs[0]:g} to {each.ys[-1]:.3g} "
        f"at {each.xs[-1]:g}"
        for each in series
    ]
    return "; ".join(said) + "."
