"""The sections of the report on what goes on inside: losses, latents, the flow's noise, likelihoods."""

from collections.abc import Sequence

from simflow.analysis.record import unseen_in
from simflow.records import at
from simflow.report import charts
from simflow.report.gather import Run
from simflow.report.markup import Child, Markup, tag
from simflow.report.parts import figure, note, run_name, section, side_by_side, table
from simflow.report.shown import drawn, key_to, names_in, pictured
from simflow.report.svg import draw, legend


def losses(runs: Sequence[Run]) -> Markup | None:
    """A chart a term."""
    curves, unseen, floors = zip(*((run.curves, run.unseen, run.floor) for run in runs), strict=True)
    made = charts.losses(names_in(runs), curves, unseen, floors)
    if not made:
        return None
    text = "Faint: as logged; strong: running mean over a fortieth of the run." if len(runs) == 1 else ""
    text += " Dashed: on held-out images, by the averaged weights." if any(unseen) else ""
    return section(
        "losses",
        "Loss curves",
        key_to(runs),
        drawn(made),
        note(
            text,
            " The flow's floor belongs to latents that say nothing of their images: a curve that comes to rest on it "
            "has collapsed."
            if any(run.floor is not None for run in runs)
            else None,
        ),
    )


def latents(runs: Sequence[Run]) -> Markup | None:
    """Figures 3 and 4 of the paper."""
    names = names_in(runs)
    spaces = [run.analysis.latents if run.analysis else None for run in runs]
    curves = [run.analysis.robustness if run.analysis else None for run in runs]
    statistics = charts.latents(names, spaces)
    robust = charts.robustness(names, curves)
    strips = pictured(
        runs,
        "robustness",
        "Under noise.",
        "Rows: growing noise on the latents, in their standard deviations.",
    )
    ways = pictured(
        runs,
        "interpolation",
        "Interpolations.",
        ("The ends are originals; between them, points of the straight way between their latents."),
    )
    if not (statistics or robust or strips or ways):
        return None
    return section(
        "latents",
        "Latent space",
        key_to(runs),
        tag("h3", "Statistics") if statistics else None,
        drawn(statistics),
        note(
            "Of latents as the flow is given them, with the posterior's noise, and of their means. Lower spectral "
            "entropy, high-frequency ratio and total variation and higher autocorrelation make latents easier for "
            "an autoregressive flow (SimFlow, Figure 4). Total variation is in standard deviations of the latents. "
            "Dashed: white noise of the same shape."
        )
        if statistics
        else None,
        tag("h3", "Reconstruction under latent noise") if robust or strips else None,
        drawn(robust),
        note(
            "Noise is added to the means of the latents (SimFlow, Figure 3a); an upright line is where the "
            "posterior's own noise lies, which the decoder has seen in training."
        )
        if robust
        else None,
        side_by_side(strips) if strips else None,
        tag("h3", "Interpolation") if ways else None,
        side_by_side(ways) if ways else None,
    )


def noise(runs: Sequence[Run]) -> Markup | None:
    """Whether the noise of held-out latents is standard normal."""
    found = [run.analysis.noise if run.analysis else None for run in runs]
    made = charts.normality(names_in(runs), found)
    if not made:
        return None
    rows: list[list[Child]] = []
    for title, field in (("mean", "mean"), ("variance", "variance"), ("excess kurtosis", "excess_kurtosis")):
        cells = ["–" if each is None else f"{vars(each.normality)[field]:.2f}" for each in found]
        rows.append([title, *cells])
    seen = [unseen_in(run.analysis) for run in runs if run.analysis and run.analysis.noise]
    unseen = " or ".join(sorted(set(seen)))
    head = ["deviation", *(run_name(run.name, i, len(runs)) or "value" for i, run in enumerate(runs))]
    return section(
        "noise",
        "Is the noise Gaussian?",
        key_to(runs),
        drawn(made),
        table(head, rows, title="Root mean square deviation, in standard errors"),
        note(
            f"The flow turns latents of {unseen} into noise, which should be standard normal. A deviation near 1 "
            "is what truly normal numbers have. Dependence between numbers is not seen here."
        ),
    )


def likelihood(runs: Sequence[Run]) -> Markup | None:
    """Scores of held-out images and of foreign ones."""
    made = []
    for place, run in enumerate(runs):
        for name, tree in run.evaluations.items():
            chart = charts.histogram(at(tree, "likelihood.histograms") or {}, x="bits per dimension")
            if chart is None:
                continue
            key = legend([series.label for series in chart.series])
            title = run_name(run.name, place, len(runs)) or f"{name}."
            bound = at(tree, "likelihood.bound")
            made.append(figure([key, draw(chart)], title, None if bound is None else f"{bound}."))
    if not made:
        return None
    text = "Code lengths of single images: fewer bits, likelier."
    return section("likelihood", "Likelihood", side_by_side(made, kind="charts two"), note(text))
