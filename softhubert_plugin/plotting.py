"""Colours and style of all plots of this package, and their output as SVG text.

Figures are made with :class:`matplotlib.figure.Figure` and never with ``pyplot``, so that matplotlib needs no display and no backend.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any, Dict, Sequence, Tuple

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# The colours of Okabe and Ito, which colour-blind readers can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = (("-", "o"), ("--", "s"), (":", "^"))  # line and marker of the first seven series, the next seven, …
_CHARACTERS = 100  # that fit beside each other in a legend below a figure
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
STYLE = {
    "svg.fonttype": "none",  # text stays text: smaller, searchable, in the page's font
    "svg.hashsalt": "softhubert",  # the same data give the same file
    "text.parse_math": False,  # a dollar sign in a name is no formula
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def plot_style() -> Any:
    """Return a context manager that sets this package's style for figures made inside it."""
    return matplotlib.rc_context(STYLE)


def colour(index: int) -> str:
    """Return the colour of series ``index``, counted from 0. Colours repeat after seven series."""
    return COLOURS[index % len(COLOURS)]


def series_style(index: int) -> Dict[str, Any]:
    """Return colour, line and marker of series ``index``, counted from 0. They repeat after 21 series."""
    line, marker = _LINES[index // len(COLOURS) % len(_LINES)]
    return {"color": colour(index), "linestyle": line, "marker": marker}


def legend_below(figure: Figure, series: Sequence[Tuple[int, str]]) -> None:
    """Name series below a figure; the figure grows by the legend.

    Args:
        series: number, as :func:`series_style` takes it, and name of each series.
    """
    names = [name for _, name in series]
    columns = legend_columns(names)
    figure.set_figheight(figure.get_figheight() + 0.22 * -(-len(names) // columns))
    handles = [Line2D([], [], **series_style(index)) for index, _ in series]
    figure.legend(handles, names, loc="outside lower center", ncols=columns)


def legend_columns(names: Sequence[str]) -> int:
    """As many columns of a legend as fit into a figure of eight inches, at least one."""
    return max(1, min(len(names), _CHARACTERS // (8 + max(map(len, names)))))


def label_text(text: str) -> str:
    """Return text from a file as a figure can have it: without control characters.

    XML has no control characters, and a surrogate, which stands for bytes that are not UTF-8, cannot be written.
    """
    return _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def svg_document(figure: Figure, title: str) -> str:
    """Return a figure as the text of an SVG file. It contains no date, so that the same data give the same bytes."""
    stream = io.StringIO()
    with warnings.catch_warnings():
        # Its own font measures the text, but the viewer's font shows it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure.savefig(stream, format="svg", metadata={"Date": None, "Title": title})
    return stream.getvalue()


def svg_element(figure: Figure, title: str) -> str:
    """Return a figure as an SVG element for HTML: without XML declaration, and with a title for screen readers."""
    text = svg_document(figure, title)
    return text[text.index("<svg") :].replace("<svg ", '<svg role="img" ', 1)
