"""The report's figure of seeds: a dot per seed and system, beside the mean and its interval, with a panel per measure."""

from __future__ import annotations

from typing import Sequence, Tuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softhubert_plugin.plotting import colour, label_text, plot_style, svg_element
from softhubert_plugin.report.over_seeds import SeedTable


def seed_figure(tables: Sequence[SeedTable]) -> Tuple[str, str, str]:
    """Draw the figure.

    Args:
        tables: tables over seeds, at least one.

    Returns:
        Title, caption and SVG text.
    """
    title = "A dot per seed"
    systems = list(dict.fromkeys(row.system for table in tables for row in table.rows))
    with plot_style():
        lines = -(-len(tables) // 2)
        figure = Figure(figsize=(8, lines * (0.9 + 0.3 * len(systems))), layout="constrained")
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
