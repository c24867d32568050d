"""The sections of the report that are looked at: losses, samples, reconstructions, latents, noise, guidance."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simflow.report import charts, inline
from simflow.report.analysis import Analysis
from simflow.report.chart import Bars, Chart
from simflow.report.gather import EVALUATION, Run
from simflow.report.markup import Child, Markup, tag
from simflow.report.parts import figure, note, run_name, section, side_by_side, swatch, table
from simflow.report.results import at, number, rounded
from simflow.report.svg import bars, draw, legend


def losses(runs: Sequence[Run]) -> Markup | None:
    """A chart a term."""
    made = charts.losses(_names(runs), [run.curves for run in runs], [run.floor for run in runs])
    if not made:
        return None
    text = "Faint: as logged; strong: running mean over a fortieth of the run." if len(runs) == 1 else None
    return section(
        "losses",
        "Loss curves",
        _legend(runs),
        _charts(made),
        note(
            text,
            " The flow's floor belongs to latents that say nothing of their images: a curve that comes to rest on it "
            "has collapsed."
            if any(run.floor is not None for run in runs)
            else None,
        ),
    )


def samples(runs: Sequence[Run]) -> Markup | None:
    """Samples by class of the analysis, or the sheet that the demo or the training left."""
    made = []
    for place, run in enumerate(runs):
        content: Child = None
        if "samples" in run.pictures:
            content = inline.rows(run.pictures["samples"])
            text = "As the run samples; a column has seeds of one round through the classes."
        elif (sheet := _sheet(run, "samples")) is not None:
            content, text = inline.file(sheet, f"Samples of {run.name}, a sheet"), f"From {sheet.name}."
        if content is not None:
            made.append(figure(content, run_name(run.name, place, len(runs)) or "Samples.", text))
    return section("samples", "Samples by class", side_by_side(made)) if made else None


def reconstructions(runs: Sequence[Run]) -> Markup | None:
    """Held-out images and what the autoencoder makes of them."""
    made = []
    for place, run in enumerate(runs):
        sheet = _sheet(run, "reconstructions")
        content: Child = None
        if "reconstructions" in run.pictures:
            content = inline.rows(run.pictures["reconstructions"])
            text = "A draw has the posterior's noise, as in training and as samples have it."
        elif sheet is not None:
            content = inline.file(sheet, f"Originals of {run.name} above their reconstructions")
            text = "Held-out images, each above its reconstruction."
        if content is not None:
            made.append(figure(content, run_name(run.name, place, len(runs)) or "Held-out images.", text))
    return section("reconstructions", "Reconstructions", side_by_side(made)) if made else None


def latents(runs: Sequence[Run]) -> Markup | None:
    """Figures 3 and 4 of the paper."""
    names = _names(runs)
    spaces = [run.analysis.latents if run.analysis else None for run in runs]
    curves = [run.analysis.robustness if run.analysis else None for run in runs]
    statistics = charts.latents(names, spaces)
    robust = charts.robustness(names, curves)
    strips = _pictures(
        runs,
        "robustness",
        "Under noise.",
        lambda found: "Rows: growing noise on the latents, in their standard deviations.",
    )
    ways = _pictures(
        runs,
        "interpolation",
        "Interpolations.",
        lambda found: (
            "The ends are originals; between them, points of the straight way between their latents."
        ),
    )
    if not (statistics or robust or strips or ways):
        return None
    return section(
        "latents",
        "Latent space",
        _legend(runs),
        tag("h3", "Statistics") if statistics else None,
        _charts(statistics),
        note(
            "Of latents as the flow is given them, with the posterior's noise, and of their means. Lower spectral "
            "entropy, high-frequency ratio and total variation and higher autocorrelation make latents easier for "
            "an autoregressive flow (SimFlow, Figure 4). Total variation is in standard deviations of the latents. "
            "Dashed: white noise of the same shape."
        )
        if statistics
        else None,
        tag("h3", "Reconstruction under latent noise") if robust or strips else None,
        _charts(robust),
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
    made = charts.normality(_names(runs), found)
    if not made:
        return None
    rows: list[list[Child]] = []
    for title, field in (("mean", "mean"), ("variance", "variance"), ("excess kurtosis", "excess_kurtosis")):
        cells = ["–" if each is None else f"{vars(each.normality)[field]:.2f}" for each in found]
        rows.append([title, *cells])
    head = ["deviation", *(run_name(run.name, i, len(runs)) or "value" for i, run in enumerate(runs))]
    return section(
        "noise",
        "Is the noise Gaussian?",
        _legend(runs),
        _charts(made),
        table(head, rows, title="Root mean square deviation, in standard errors"),
        note(
            "The flow turns latents of held-out images into noise, which should be standard normal. A deviation near 1 "
            "is what truly normal numbers have. Dependence between numbers is not seen here."
        ),
    )


def guidance(runs: Sequence[Run]) -> Markup | None:
    """The sweep, as curves and as pictures."""
    made = charts.sweeps(_names(runs), [run.analysis.sweeps if run.analysis else () for run in runs])
    if not made:
        return None
    sweeps = [(run, sweep) for run in runs if run.analysis for sweep in run.analysis.sweeps]
    weights = sorted({weight for _, sweep in sweeps for weight in sweep.weights})
    head: list[Child] = ["weight"]
    rows: list[list[Child]] = [[f"{weight:g}"] for weight in weights]
    for run, sweep in sweeps:
        of = [swatch(runs.index(run)), run.name, ": "] if len(runs) > 1 else None
        step = "" if sweep.gamma is None else f", score step {sweep.gamma:g}"
        head += [[of, "class accuracy", step], [of, "diversity", step]]
        for weight, cells in zip(weights, rows, strict=True):
            place = sweep.weights.index(weight) if weight in sweep.weights else None
            cells += (
                ["–", "–"]
                if place is None
                else [
                    rounded(sweep.accuracy[place], sweep.accuracy_error[place]),
                    rounded(sweep.diversity[place]),
                ]
            )
    counts = sorted({sweep.samples for _, sweep in sweeps})
    rules = " and ".join(sorted({sweep.rule for _, sweep in sweeps}))
    strips = [
        *_pictures(runs, "guidance", "The same seeds.", lambda found: "Rows: growing weight of guidance."),
        *_pictures(
            runs,
            "guidance-score-step",
            "The same seeds, with the guided score step.",
            lambda found: "Rows: growing weight of guidance (SimFlow, Eq. 6).",
        ),
    ]
    return section(
        "guidance",
        "Guidance sweep",
        _legend(runs),
        _charts(made),
        note(
            f"{' or '.join(map(str, counts))} samples at each weight, judged by a linear classifier of real images: "
            "a quick and crude judge, which cannot stand in for a Fréchet distance.",
            " Dashed: with the guided score step (SimFlow, Eq. 6)."
            if any(sweep.gamma is not None for _, sweep in sweeps)
            else None,
        ),
        side_by_side(strips) if strips else None,
        table(head, rows, title=f"The same as numbers; the rule is {rules}"),
    )


def trajectories(runs: Sequence[Run]) -> Markup | None:
    """What each block makes of a sample."""
    made = _pictures(
        runs, "trajectory", "From noise to image.", lambda found: "Rows: the state after each block, decoded."
    )
    if not made:
        return None
    return section("blocks", "Through the blocks", side_by_side(made))


def neighbours(runs: Sequence[Run]) -> Markup | None:
    """Samples beside their nearest training images, as the evaluation has drawn them."""
    made = []
    for place, run in enumerate(runs):
        for name, tree in run.evaluations.items():
            path = _named(run, tree, "neighbours")
            content = (
                None if path is None else inline.file(path, f"Samples of {run.name} and training images")
            )
            if content is None:
                continue
            share = number(at(tree, "neighbours.copying_share"))
            text = "Each sample is followed by its nearest training images; the nearest samples come first."
            if share is not None:
                text += f" {share:.1%} of samples are nearer than 99% of held-out images are."
            made.append(figure(content, run_name(run.name, place, len(runs)) or f"{name}.", text))
    if not made:
        return None
    return section(
        "neighbours",
        "Nearest training images",
        side_by_side(made),
        note("A sample that equals a training image is remembered, not made."),
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


def _names(runs: Sequence[Run]) -> list[str]:
    return [run.name for run in runs]


def _legend(runs: Sequence[Run]) -> Markup | None:
    return legend(_names(runs))


def _charts(made: Sequence[Chart | Bars]) -> Markup | None:
    """Charts as figures, two or three beside each other."""
    if not made:
        return None
    kind = "charts two" if len(made) in (1, 2, 4) else "charts three"
    drawn = [figure(bars(chart) if isinstance(chart, Bars) else draw(chart), chart.title) for chart in made]
    return side_by_side(drawn, kind=kind)


def _pictures(runs: Sequence[Run], name: str, title: str, text: Callable[[Analysis], str]) -> list[Markup]:
    """One picture of the analysis of every run that has it."""
    return [
        figure(
            inline.rows(run.pictures[name]), run_name(run.name, place, len(runs)) or title, text(run.analysis)
        )
        for place, run in enumerate(runs)
        if run.analysis is not None and name in run.pictures
    ]


def _sheet(run: Run, what: str) -> Path | None:
    """A sheet that is there: the demo's, an evaluation's, or (samples) the training's newest."""
    sheets = [run.folder / f"{what}.png"]
    sheets += [path for tree in run.evaluations.values() if (path := _named(run, tree, what)) is not None]
    sheets += sorted(run.folder.glob(f"{what}/step-*.png"), reverse=True)
    return next((path for path in sheets if path.is_file()), None)


def _named(run: Run, tree: Mapping[str, Any], what: str) -> Path | None:
    """A picture that an evaluation says to have written."""
    file = at(tree, f"files.{what}")
    path = run.folder / EVALUATION / Path(file).name if isinstance(file, str) else None
    return path if path is not None and path.is_file() else None
