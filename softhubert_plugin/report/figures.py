"""The report's figures, as SVG text: word error rates, learning curves, entropy of the targets, layer probes, time per stage.

A system has one line or row, however many seeds it was run with: its mean over seeds.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softhubert_plugin.plotting import colour, label_text, legend_below, legend_columns, plot_style, series_style, svg_element
from softhubert_plugin.report.experiment import Experiment, LogRecord
from softhubert_plugin.report.measures import labels_at
from softhubert_plugin.report.systems import SystemRuns
from softhubert_plugin.report.table import test_sets


class _Series(NamedTuple):
    """A system in the figures: its number, its name and its runs."""

    number: int
    name: str
    runs: List[Experiment]


def figures(systems: Sequence[SystemRuns]) -> List[Tuple[str, str, str]]:
    """Draw every figure for which there are data.

    Returns:
        Title, caption and SVG text of each figure.
    """
    series = [_Series(index, label_text(system.title), list(system.runs.values())) for index, system in enumerate(systems)]
    drawn = []
    for title, caption, draw in _FIGURES:
        with plot_style():
            figure = draw(series)
            if figure is not None:
                drawn.append((title, caption, svg_element(figure, title)))
    return drawn


def _word_error_rates(series: Sequence[_Series]) -> Optional[Figure]:
    """Draw the interval of each run; where there are several seeds, their own figure shows more."""
    experiments = [run for each in series for run in each.runs]
    sets = [name for name in test_sets(experiments) if any(name in experiment.scores for experiment in experiments)]
    if not sets or len(experiments) > len(series):
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
        panel.set_yticks(range(len(experiments)), [each.name for each in series] if panel is panels[0] else [])
        panel.set_ylim(len(experiments) - 0.5, -0.5)
        panel.set_xlabel("word error rate on the test set (%)" if len(sets) == 1 else f"{name} WER (%)")
    return figure


def _layers(series: Sequence[_Series]) -> Optional[Figure]:
    """Draw the accuracy of linear phone probes, and the PNMI of k-means clusters, per layer."""
    probed = [each for each in series if any(run.layers.get("layers") for run in each.runs)]
    if not probed:
        return None
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    accuracy, information = figure.subplots(1, 2)
    for axes, key, factor in ((accuracy, "accuracy", 100.0), (information, "pnmi", 1.0)):
        for each in probed:
            layers = _layer_values(each.runs, key, factor)
            if layers:
                lows, means, highs = zip(*layers.values())
                spread = [[mean - low for low, mean in zip(lows, means)], [high - mean for high, mean in zip(highs, means)]]
                axes.errorbar(list(layers), means, yerr=spread, capsize=3, **series_style(each.number))
            floors = [run.layers["mfcc"][key]["value"] for run in each.runs if (run.layers.get("mfcc") or {}).get(key)]
            if floors:
                axes.axhline(factor * sum(floors) / len(floors), color=colour(each.number), linestyle=":", alpha=0.7)
        axes.set_xlabel("layer")
        axes.xaxis.get_major_locator().set_params(integer=True)
    accuracy.set_ylabel("frames with the right phone (%)")
    information.set_ylabel("PNMI")
    legend_below(figure, [(each.number, each.name) for each in probed])
    return figure


def _layer_values(runs: Sequence[Experiment], key: str, factor: float) -> Dict[int, Tuple[float, float, float]]:
    """Low, middle and high of each layer: of one run its interval; of several the lowest, the mean and the highest run."""
    found: Dict[int, List[Dict[str, float]]] = {}
    for run in runs:
        for row in run.layers.get("layers") or []:
            if row.get(key):
                found.setdefault(row["layer"], []).append(row[key])
    values = {}
    for layer, measured in sorted(found.items()):
        middle = [factor * one["value"] for one in measured]
        mean = sum(middle) / len(middle)
        low, high = min(middle), max(middle)
        if len(measured) == 1:
            low, high = (factor * measured[0][end] for end in ("low", "high"))
        values[layer] = (min(low, mean), mean, max(high, mean))
    return values


def _pretraining(series: Sequence[_Series]) -> Optional[Figure]:
    logged = [each for each in series if any(run.pretraining.train or run.pretraining.valid for run in each.runs)]
    if not logged:
        return None
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    divergence, accuracy = figure.subplots(1, 2)
    for each in logged:
        for axes, key, factor in ((divergence, "kl_masked", 1), (accuracy, "accuracy_masked", 100)):
            _curve(axes, [run.pretraining.train for run in each.runs], key, factor, each.number, held_out=False)
            _curve(axes, [run.pretraining.valid for run in each.runs], key, factor, each.number, held_out=True)
    _name_axes(divergence, "KL divergence (nats)")
    _name_axes(accuracy, "masked accuracy (%)")
    legend_below(figure, [(each.number, each.name) for each in logged])
    return figure


def _finetuning(series: Sequence[_Series]) -> Optional[Figure]:
    validated = [each for each in series if any("wer" in record for run in each.runs for record in run.finetuning.valid)]
    if not validated:
        return None
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    # A model that writes no whole word right yet may have learned many of their letters.
    for axes, key, of in zip(figure.subplots(1, 2), ("wer", "uer"), ("word", "letter or piece")):
        for each in validated:
            _curve(axes, [run.finetuning.valid for run in each.runs], key, 1, each.number, held_out=True)
        _name_axes(axes, f"{of} errors (%)")
    legend_below(figure, [(each.number, each.name) for each in validated])
    return figure


def _entropy(series: Sequence[_Series]) -> Optional[Figure]:
    soft = [(each, [run for run in each.runs if "entropy_histogram" in run.labels]) for each in series]
    soft = [(each, runs) for each, runs in soft if runs]
    if not soft:
        return None
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axes = figure.subplots()
    for each, runs in soft:
        histogram = runs[0].labels["entropy_histogram"]  # those of other seeds look the same
        counts = [0, *accumulate(histogram["counts"])]
        shares = [100 * count / max(counts[-1], 1) for count in counts]
        axes.plot(histogram["edges"], shares, **{**series_style(each.number), "marker": None})
    axes.set_xlabel("entropy of a frame's target (nats)")
    axes.set_ylabel("frames with at most that (%)")
    rates = [runs[0].labels.get("label_rate") for _, runs in soft]  # averaging frames makes targets less sure
    legend_below(figure, [(each.number, each.name + labels_at(rate, rates)) for (each, _), rate in zip(soft, rates)])
    return figure


def _time(series: Sequence[_Series]) -> Optional[Figure]:
    timed = [(each.name, [run.stages for run in each.runs if run.stages]) for each in series]
    timed = [(name, runs) for name, runs in timed if runs]
    if not timed:
        return None
    shades: Dict[str, str] = {}  # the colour of each stage, in order of first appearance
    figure = Figure(figsize=(8, 1.5 + 0.45 * len(timed)), layout="constrained")
    axes = figure.subplots()
    for place, (_, runs) in enumerate(timed):
        start = 0.0
        for name in dict.fromkeys(name for stages in runs for name, _ in stages):
            minutes = sum(seconds for stages in runs for stage, seconds in stages if stage == name) / 60 / len(runs)
            axes.barh(place, minutes, left=start, color=shades.setdefault(name, f"C{len(shades) % 10}"), height=0.6)
            start += minutes
    for name, shade in shades.items():
        axes.barh([0], [0], color=shade, label=name)
    axes.set_yticks(range(len(timed)), [name for name, _ in timed])
    axes.set_ylim(len(timed) - 0.5, -0.5)
    axes.set_xlabel("minutes")
    figure.legend(loc="outside upper center", ncols=legend_columns(list(shades)))
    return figure


_FIGURES: Sequence[Tuple[str, str, Callable[[Sequence[_Series]], Optional[Figure]]]] = (
    (
        "Word error rate",
        "With 95 % intervals; see the note above.",
        _word_error_rates,
    ),
    (
        "Pretraining",
        "Lines: training batches; marks: validation; means over seeds. Accuracy is against the most probable component of each system's "
        "own targets, so it shows how training progresses, not which targets are better.",
        _pretraining,
    ),
    ("Fine-tuning", "Error rates of greedy decoding on the validation speakers during training; means over seeds.", _finetuning),
    (
        "Uncertainty of the targets",
        "Share of the training frames whose target has at most some entropy, of the first seed. Hard labels have none and are not shown.",
        _entropy,
    ),
    (
        "Layers",
        "Linear phone probes, tested on speakers that they were not trained on, and k-means clusters of each layer. Dotted: MFCC. "
        "With 95 % intervals; of several seeds the mean, the lowest and the highest.",
        _layers,
    ),
    ("Time", "A stage that several systems share is counted for each of them. Means over seeds.", _time),
)


def _name_axes(axes: Axes, measure: str) -> None:
    axes.set_xlabel("updates")
    axes.set_ylabel(measure)
    axes.set_ylim(bottom=0)


def _curve(axes: Axes, logs: Sequence[Sequence[LogRecord]], key: str, factor: float, index: int, *, held_out: bool) -> None:
    """Draw the mean of a measure over runs, at those updates that all runs which have the measure have logged."""
    runs = [{record["num_updates"]: factor * record[key] for record in records if key in record} for records in logs]
    runs = [run for run in runs if run]
    points = [
        (update, sum(run[update] for run in runs) / len(runs)) for update in (runs[0] if runs else ()) if all(update in run for run in runs)
    ]
    if points:
        style = series_style(index) if held_out else {**series_style(index), "marker": None, "alpha": 0.7}
        axes.plot(*zip(*points), **style)
