"""Draw the curve of probing: frame accuracy and PNMI by layer, with intervals, as SVG."""

from __future__ import annotations

from typing import Any, Dict

from matplotlib.figure import Figure

from softhubert_plugin.plotting import colour, plot_style, svg_document


def draw_curve(result: Dict[str, Any]) -> str:
    """Draw the curve and return it as SVG text.

    Args:
        result: what :func:`~softhubert_plugin.probing.probe.probe_layers` writes to ``layers.json``.
    """
    rows = result["layers"]
    with plot_style():
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        panels = [("accuracy", 100, "frame accuracy (%)"), ("pnmi", 1, f"PNMI of {result['clusters']} clusters")]
        panels = [panel for panel in panels if panel[0] in rows[0]]
        for axes, (key, factor, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
            layers = [row["layer"] for row in rows]
            values, low, high = ([factor * row[key][part] for row in rows] for part in ("value", "low", "high"))
            axes.fill_between(layers, low, high, color=colour(0), alpha=0.2)
            axes.plot(layers, values, marker="o", color=colour(0), label="HuBERT")
            axes.axvline(result["layer"], color=colour(1), linewidth=1, label=f"chosen: {result['layer']}")
            if result["mfcc"]:
                axes.axhline(factor * result["mfcc"][key]["value"], color=colour(2), linestyle="--", label="MFCC")
            axes.set_xlabel("layer")
            axes.set_ylabel(title)
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        return svg_document(figure, "Probing by layer")
