"""How every plot of this package looks, and how it becomes a file: colours, style, SVG text.

Figures are made with :class:`matplotlib.figure.Figure` and never with ``pyplot``, so that no display and no backend is looked for.
"""

from __future__ import annotations

import io
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
    "svg.fonttype": "none",  # text stays text: smaller, searchable, in the page's font
    "svg.hashsalt": "softhubert",  # the same data give the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def plot_style() -> Any:
    """A context within which figures are made in this package's style."""
    return matplotlib.rc_context(STYLE)


def colour(index: int) -> str:
    """The colour of the ``index``-th series, from 0; they repeat after seven."""
    return COLOURS[index % len(COLOURS)]


def svg_document(figure: Figure, title: str) -> str:
    """A figure as an SVG file. It holds no date: the same data give the same bytes."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Title": title})
    return stream.getvalue()


def svg_element(figure: Figure, title: str) -> str:
    """A figure as an SVG element to put into HTML: without XML declaration, named for screen readers."""
    text = svg_document(figure, title)
    return text[text.index("<svg") :].replace("<svg ", '<svg role="img" ', 1)
