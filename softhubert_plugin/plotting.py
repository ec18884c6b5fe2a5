"""Colours and style of all plots of this package, and their output as SVG text.

Figures are made with :class:`matplotlib.figure.Figure` and never with ``pyplot``, so that matplotlib needs no display and no backend.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# The colours of Okabe and Ito, which colour-blind readers can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
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
