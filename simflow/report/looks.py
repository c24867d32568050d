"""The sections of the report on images: samples, guidance, reconstructions, blocks, nearest training images."""

from collections.abc import Sequence

from simflow.analysis.record import unseen_in
from simflow.analysis.samples import picture_name
from simflow.analysis.sweep import Sweep, refined_by
from simflow.evaluate.called import unseen_of
from simflow.records import at
from simflow.report import charts, inline
from simflow.report.gather import Run
from simflow.report.markup import Child, Markup
from simflow.report.parts import figure, note, run_name, section, side_by_side, swatch, table
from simflow.report.results import capital, number, rounded
from simflow.report.shown import drawn, key_to, names_in, picture_file, pictured, sheet_of
from simflow.report.svg import key_to_dashes


def samples(runs: Sequence[Run]) -> Markup | None:
    """Samples by class of the analysis, or the sheet that the demo or the training left."""
    made = []
    for place, run in enumerate(runs):
        content: Child = None
        if "samples" in run.pictures:
            content = inline.rows(run.pictures["samples"])
            text = "As the run samples; a column has seeds of one round through the classes."
        elif (sheet := sheet_of(run, "samples")) is not None:
            content, text = inline.file(sheet, f"Samples of {run.name}, a sheet"), f"From {sheet.name}."
        if content is not None:
            made.append(figure(content, run_name(run.name, place, len(runs)) or "Samples.", text))
    if not made:
        return None
    return section("samples", "Samples by class", side_by_side(made), *held_out(runs))


def held_out(runs: Sequence[Run]) -> list[Markup]:
    """Real images in the same layout, each sheet once, as the evaluations have drawn them."""
    sheets = {}
    for run in runs:
        for tree in run.evaluations.values():
            path = picture_file(run, tree, "real")
            called = capital(unseen_of(tree))
            if path is not None and (content := inline.file(path, f"{called}, a sheet")) is not None:
                text = f"{called}, evenly spread: {at(tree, 'held_out.source')}."
                sheets.setdefault(path.read_bytes(), figure(content, "Real images.", text))
    return list(sheets.values())


def reconstructions(runs: Sequence[Run]) -> Markup | None:
    """Held-out images (training images where there are no others) and what the autoencoder makes of them."""
    made = []
    for place, run in enumerate(runs):
        sheet = sheet_of(run, "reconstructions")
        content: Child = None
        called = capital(reconstructed(run))
        if "reconstructions" in run.pictures:
            content = inline.rows(run.pictures["reconstructions"])
            text = "A draw has the posterior's noise, as in training and as samples have it."
        elif sheet is not None:
            content = inline.file(sheet, f"Originals of {run.name} above their reconstructions")
            text = f"{called}, each above its reconstruction."
        if content is not None:
            made.append(figure(content, run_name(run.name, place, len(runs)) or f"{called}.", text))
    return section("reconstructions", "Reconstructions", side_by_side(made)) if made else None


def reconstructed(run: Run) -> str:
    """What to call the images of :func:`reconstructions`, by the analysis or evaluation that has drawn them."""
    if "reconstructions" in run.pictures and run.analysis is not None:
        return unseen_in(run.analysis)
    sheet = sheet_of(run, "reconstructions")
    trees = [tree for tree in run.evaluations.values() if picture_file(run, tree, "reconstructions") == sheet]
    return unseen_of(trees[0] if trees else {})


def guidance(runs: Sequence[Run]) -> Markup | None:
    """The sweep (Figure 7), as curves, as pictures and as numbers."""
    found = [run.analysis.sweeps if run.analysis else () for run in runs]
    made = charts.sweeps(names_in(runs), found)
    if not made:
        return None
    steps = charts.score_steps(found)
    said = [refined_by(gamma) for gamma in steps]
    sweeps = [sweep for own in found for sweep in own]
    counts = sorted({sweep.samples for sweep in sweeps})
    far = [each for sweep in sweeps for each in sweep.distances]
    strips = [
        *pictured(runs, picture_name(None), "The same seeds.", "Rows: growing weight of guidance."),
        *(
            strip
            for gamma in steps[1:]
            for strip in pictured(
                runs,
                picture_name(gamma),
                f"The same seeds, {refined_by(gamma)}.",
                "Rows: growing weight of guidance (SimFlow, Eq. 6).",
            )
        ),
    ]
    return section(
        "guidance",
        "Guidance sweep",
        key_to(runs),
        key_to_dashes(said),
        drawn(made),
        note(
            f"{' or '.join(map(str, counts))} samples at each weight, the same seeds at all. ",
            "Fréchet distances (SimFlow, Figure 7) of few images are large for real images too, and are compared with "
            "those of equally many only. "
            if far
            else None,
            "† No more images than numbers in a feature: a large bias. "
            if any(each.rank_deficient for each in far)
            else None,
            "Class accuracy is by a linear classifier of real images, a quick and crude judge.",
            " Broken lines: with the guided score step (SimFlow, Eq. 6)." if len(steps) > 1 else None,
        ),
        side_by_side(strips) if strips else None,
        numbers_of(runs, found),
    )


def numbers_of(runs: Sequence[Run], found: Sequence[Sequence[Sweep]]) -> Markup:
    """The sweeps as a table, a row per weight."""
    weights = sorted({weight for own in found for sweep in own for weight in sweep.weights})
    head: list[Child] = ["weight"]
    rows: list[list[Child]] = [[f"{weight:g}"] for weight in weights]
    for place, (run, own) in enumerate(zip(runs, found, strict=True)):
        of = [swatch(place), run.name, ": "] if len(runs) > 1 else None
        for sweep in own:
            networks = [f"{each.name}{' †' if each.rank_deficient else ''}" for each in sweep.distances]
            head += [[of, name, sweep.apart] for name in (*networks, "class accuracy", "diversity")]
            for weight, cells in zip(weights, rows, strict=True):
                if weight not in sweep.weights:
                    cells += ["–"] * (len(networks) + 2)
                    continue
                at_weight = sweep.weights.index(weight)
                cells += [rounded(each.values[at_weight]) for each in sweep.distances]
                cells.append(rounded(sweep.accuracy[at_weight], sweep.accuracy_error[at_weight]))
                cells.append(rounded(sweep.diversity[at_weight]))
    rules = " and ".join(sorted({sweep.rule for own in found for sweep in own}))
    return table(head, rows, title=f"The same as numbers; the rule is {rules}")


def trajectories(runs: Sequence[Run]) -> Markup | None:
    """What each block makes of a sample."""
    made = pictured(runs, "trajectory", "From noise to image.", "Rows: the state after each block, decoded.")
    if not made:
        return None
    return section("blocks", "Through the blocks", side_by_side(made))


def neighbours(runs: Sequence[Run]) -> Markup | None:
    """Samples beside their nearest training images, as the evaluation has drawn them."""
    made = []
    for place, run in enumerate(runs):
        for name, tree in run.evaluations.items():
            path = picture_file(run, tree, "neighbours")
            content = (
                None if path is None else inline.file(path, f"Samples of {run.name} and training images")
            )
            if content is None:
                continue
            share = number(at(tree, "neighbours.copying_share"))
            text = "Each sample is followed by its nearest training images; the nearest samples come first."
            if share is not None:
                text += f" {share:.1%} of samples are as near as 1% of other real images are."
            made.append(figure(content, run_name(run.name, place, len(runs)) or f"{name}.", text))
    if not made:
        return None
    return section(
        "neighbours",
        "Nearest training images",
        side_by_side(made),
        note("A sample that equals a training image is remembered, not made."),
    )
