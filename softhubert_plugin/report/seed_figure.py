"""The report's figure of seeds: a dot per seed and system, beside the mean and its interval, with a panel per measure."""

from __future__ import annotations

import textwrap
from typing import Sequence, Tuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softhubert_plugin.plotting import colour, label_text, plot_style, svg_element
from softhubert_plugin.report.over_seeds import SeedTable

_PANELS = 2  # in a line
_LABEL = 32  # letters that fit below a panel


def seed_figure(tables: Sequence[SeedTable]) -> Tuple[str, str, str]:
    """Draw the figure.

    Args:
        tables: tables over seeds, at least one.

    Returns:
        Title, caption and SVG text.
    """
    title = "A dot per seed"
    systems = list(dict.fromkeys(row.system for table in tables for row in table.rows))
    lines = [tables[start : start + _PANELS] for start in range(0, len(tables), _PANELS)]
    shown = [[system for system in systems if any(system == row.system for table in line for row in table.rows)] for line in lines]
    heights = [0.9 + 0.3 * len(names) for names in shown]
    with plot_style():
        figure = Figure(figsize=(8, sum(heights)), layout="constrained")
        grid = figure.subplots(len(lines), min(_PANELS, len(tables)), squeeze=False, sharey="row", gridspec_kw={"height_ratios": heights})
        for panels, line, names in zip(grid, lines, shown):
            for panel, table in zip(panels, line):
                _seed_panel(panel, table, names, [colour(systems.index(name)) for name in names])
            for panel in panels[len(line) :]:
                panel.remove()
        return title, "Small: one seed. Large: the mean, with its 95 % interval over seeds.", svg_element(figure, title)


def _seed_panel(panel: Axes, table: SeedTable, systems: Sequence[str], colours: Sequence[str]) -> None:
    factor = table.measure.factor
    for row in table.rows:
        place = systems.index(row.system)
        values = [factor * value for value in row.values.values()]
        panel.plot(values, [place + 0.2] * len(values), "o", markersize=3.5, alpha=0.6, color=colours[place])
        if row.mean.low is not None and row.mean.high is not None:
            mean, low, high = (factor * value for value in (row.mean.mean, row.mean.low, row.mean.high))
            spread = [[max(mean - low, 0)], [max(high - mean, 0)]]
            panel.errorbar(mean, place - 0.1, xerr=spread, fmt="o", capsize=4, color=colours[place])
    panel.set_yticks(range(len(systems)), list(map(label_text, systems)))
    panel.set_ylim(len(systems) - 0.5, -0.5)
    panel.set_xlabel(textwrap.fill(table.measure.title, _LABEL))
