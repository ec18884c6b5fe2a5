"""The report's figures, as SVG text: word error rates, learning curves, entropy of the targets, layer probes, time per stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softhubert_plugin.plotting import colour, label_text, plot_style, svg_element
from softhubert_plugin.report.experiment import Experiment, LogRecord
from softhubert_plugin.report.over_seeds import SeedTable
from softhubert_plugin.report.table import test_sets


def figures(experiments: Sequence[Experiment]) -> List[Tuple[str, str, str]]:
    """Draw every figure for which there are data.

    Returns:
        Title, caption and SVG text of each figure.
    """
    experiments = [replace(experiment, name=label_text(experiment.name)) for experiment in experiments]
    drawn = []
    for title, caption, draw in _FIGURES:
        with plot_style():
            figure = draw(experiments)
            if figure is not None:
                drawn.append((title, caption, svg_element(figure, title)))
    return drawn


def seed_figure(tables: Sequence[SeedTable]) -> Tuple[str, str, str]:
    """Draw a dot per seed and system, beside the mean and its interval over seeds, with a panel per measure.

    Args:
        tables: tables over seeds, at least one.

    Returns:
        Title, caption and SVG text.
    """
    title = "A dot per seed"
    systems = list(dict.fromkeys(row.system for table in tables for row in table.rows))
    with plot_style():
        lines = -(-len(tables) // 2)
        figure = Figure(figsize=(8, lines * (1 + 0.4 * len(systems))), layout="constrained")
        panels = figure.subplots(lines, min(2, len(tables)), squeeze=False, sharey=True)
        for panel, table in zip(panels.flat, tables):
            _seed_panel(panel, table, systems)
        for panel in list(panels.flat)[len(tables) :]:
            panel.remove()
        return title, "Small: one seed. Large: the mean, with its 95 % interval over seeds.", svg_element(figure, title)


def _seed_panel(panel: Axes, table: SeedTable, systems: Sequence[str]) -> None:
    factor = table.measure.factor
    for row in table.rows:
        place = systems.index(row.system)
        values = [factor * value for value in row.values.values()]
        panel.plot(values, [place + 0.2] * len(values), "o", markersize=3.5, alpha=0.6, color=colour(place))
        if row.mean.low is not None and row.mean.high is not None:
            mean, low, high = (factor * value for value in (row.mean.mean, row.mean.low, row.mean.high))
            spread = [[max(mean - low, 0)], [max(high - mean, 0)]]
            panel.errorbar(mean, place - 0.1, xerr=spread, fmt="o", capsize=4, color=colour(place))
    panel.set_yticks(range(len(systems)), list(map(label_text, systems)))
    panel.set_ylim(len(systems) - 0.5, -0.5)
    panel.set_xlabel(table.measure.title)


def _word_error_rates(experiments: Sequence[Experiment]) -> Optional[Figure]:
    sets = [name for name in test_sets(experiments) if any(name in experiment.scores for experiment in experiments)]
    if not sets:
        return None
    figure = Figure(figsize=(8, 1 + 0.4 * len(experiments)), layout="constrained")
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    for panel, name in zip(panels, sets):
        for place, experiment in enumerate(experiments):
            if name in experiment.scores:
                low, middle, high = (100 * experiment.scores[name][key] for key in ("low", "wer", "high"))
                panel.errorbar(
                    middle, place, xerr=[[max(middle - low, 0)], [max(high - middle, 0)]], fmt="o", capsize=4, color=colour(place)
                )
        panel.set_yticks(range(len(experiments)), [experiment.name for experiment in experiments] if panel is panels[0] else [])
        panel.set_ylim(len(experiments) - 0.5, -0.5)
        panel.set_xlabel("word error rate on the test set (%)" if len(sets) == 1 else f"{name} WER (%)")
    return figure


def _layers(experiments: Sequence[Experiment]) -> Optional[Figure]:
    """Draw the accuracy of linear phone probes, and the PNMI of k-means clusters, per layer."""
    probed = [(index, experiment) for index, experiment in enumerate(experiments) if experiment.layers.get("layers")]
    if not probed:
        return None
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    accuracy, information = figure.subplots(1, 2)
    for axes, key, factor in ((accuracy, "accuracy", 100.0), (information, "pnmi", 1.0)):
        for index, experiment in probed:
            measured = [row for row in experiment.layers["layers"] if row.get(key)]
            middle = [factor * row[key]["value"] for row in measured]
            spread = [
                [factor * max(row[key]["value"] - row[key]["low"], 0) for row in measured],
                [factor * max(row[key]["high"] - row[key]["value"], 0) for row in measured],
            ]
            if measured:
                layers = [row["layer"] for row in measured]
                axes.errorbar(layers, middle, yerr=spread, marker="o", capsize=3, color=colour(index), label=experiment.name)
            floor = (experiment.layers.get("mfcc") or {}).get(key)
            if floor:
                axes.axhline(factor * floor["value"], color=colour(index), linestyle=":", alpha=0.7)
        axes.set_xlabel("layer")
    accuracy.set_ylabel("frames with the right phone (%)")
    information.set_ylabel("PNMI")
    accuracy.legend()
    return figure


def _pretraining(experiments: Sequence[Experiment]) -> Optional[Figure]:
    if not any(experiment.pretraining.train or experiment.pretraining.valid for experiment in experiments):
        return None
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    divergence, accuracy = figure.subplots(1, 2)
    for index, experiment in enumerate(experiments):
        log = experiment.pretraining
        # A short run has logged validation only; then the validation curve carries the name.
        names = (experiment.name, None) if log.train else (None, experiment.name)
        for axes, key, factor in ((divergence, "kl_masked", 1), (accuracy, "accuracy_masked", 100)):
            _curve(axes, log.train, key, factor, index, names[0], held_out=False)
            _curve(axes, log.valid, key, factor, index, names[1], held_out=True)
    divergence.set_ylabel("KL divergence (nats per masked frame)")
    accuracy.set_ylabel("masked accuracy (%)")
    for axes in (divergence, accuracy):
        axes.set_xlabel("updates")
        axes.set_ylim(bottom=0)
    accuracy.legend(loc="upper left")
    return figure


def _finetuning(experiments: Sequence[Experiment]) -> Optional[Figure]:
    if not any("wer" in record for experiment in experiments for record in experiment.finetuning.valid):
        return None
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    for index, experiment in enumerate(experiments):
        _curve(axes, experiment.finetuning.valid, "wer", 1, index, experiment.name, held_out=True)
    axes.set_xlabel("updates")
    axes.set_ylabel("validation WER (%)")
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _entropy(experiments: Sequence[Experiment]) -> Optional[Figure]:
    soft = [(index, experiment) for index, experiment in enumerate(experiments) if "entropy_histogram" in experiment.labels]
    if not soft:
        return None
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axes = figure.subplots()
    for index, experiment in soft:
        histogram = experiment.labels["entropy_histogram"]
        total = max(sum(histogram["counts"]), 1)
        axes.stairs(
            [100 * count / total for count in histogram["counts"]], histogram["edges"], color=colour(index), fill=len(soft) == 1,
            alpha=0.8, label=experiment.name,
        )  # fmt: skip
    axes.set_xlabel("entropy of a frame's target (nats)")
    axes.set_ylabel("frames (%)")
    axes.legend()
    return figure


def _time(experiments: Sequence[Experiment]) -> Optional[Figure]:
    timed = [experiment for experiment in experiments if experiment.stages]
    if not timed:
        return None
    names: Dict[str, str] = {}  # the colour of each stage, in order of first appearance
    for experiment in timed:
        for name, _ in experiment.stages:
            names.setdefault(name, f"C{len(names) % 10}")
    figure = Figure(figsize=(8, 1.5 + 0.45 * len(timed)), layout="constrained")
    axes = figure.subplots()
    for place, experiment in enumerate(timed):
        start = 0.0
        for name, seconds in experiment.stages:
            axes.barh(place, seconds / 60, left=start, color=names[name], height=0.6)
            start += seconds / 60
    for name, shade in names.items():
        axes.barh([0], [0], color=shade, label=name)
    axes.set_yticks(range(len(timed)), [experiment.name for experiment in timed])
    axes.set_ylim(len(timed) - 0.5, -0.5)
    axes.set_xlabel("minutes")
    figure.legend(loc="outside upper center", ncols=min(len(names), 7))
    return figure


_FIGURES: Sequence[Tuple[str, str, Callable[[Sequence[Experiment]], Optional[Figure]]]] = (
    (
        "Word error rate",
        "With 95 % intervals; see the note above.",
        _word_error_rates,
    ),
    (
        "Pretraining",
        "Lines: training batches; dots: validation. Accuracy is against the most probable component of each system's own targets, "
        "so it shows how training progresses, not which targets are better.",
        _pretraining,
    ),
    ("Fine-tuning", "Word error rate of greedy decoding on the validation speakers during training.", _finetuning),
    (
        "Uncertainty of the targets",
        "Entropy of the targets of the training frames. Hard labels have no entropy and are not shown.",
        _entropy,
    ),
    (
        "Layers",
        "Linear phone probes, tested on speakers that they were not trained on, and k-means clusters of each layer. Dotted: MFCC. "
        "With 95 % intervals.",
        _layers,
    ),
    ("Time", "A stage that several systems share is counted for each of them.", _time),
)


def _curve(axes: Axes, records: Sequence[LogRecord], key: str, factor: float, index: int, label: Optional[str], *, held_out: bool) -> None:
    points = [(record["num_updates"], factor * record[key]) for record in records if key in record]
    if points:
        axes.plot(*zip(*points), color=colour(index), label=label, marker="o" if held_out else None, alpha=1.0 if held_out else 0.7)
