"""The curve of probing: frame accuracy and PNMI by layer, with intervals, as SVG."""

from __future__ import annotations

import io
from typing import Any, Dict

import matplotlib

matplotlib.use("Agg")  # no display is needed, nor a toolkit looked for

from matplotlib.figure import Figure

from softhubert_plugin.report.figures import COLOURS, STYLE


def draw_curve(result: Dict[str, Any]) -> str:
    """The SVG text of what :func:`~softhubert_plugin.probing.probe.probe_layers` found."""
    rows = result["layers"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        panels = [("accuracy", 100, "frame accuracy (%)"), ("pnmi", 1, f"PNMI of {result['clusters']} clusters")]
        panels = [panel for panel in panels if panel[0] in rows[0]]
        for axes, (key, factor, title) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
            layers = [row["layer"] for row in rows]
            values, low, high = ([factor * row[key][part] for row in rows] for part in ("value", "low", "high"))
            axes.fill_between(layers, low, high, color=COLOURS[0], alpha=0.2)
            axes.plot(layers, values, marker="o", color=COLOURS[0], label="HuBERT")
            axes.axvline(result["layer"], color=COLOURS[1], linewidth=1, label=f"chosen: {result['layer']}")
            if result["mfcc"]:
                axes.axhline(factor * result["mfcc"][key]["value"], color=COLOURS[2], linestyle="--", label="MFCC")
            axes.set_xlabel("layer")
            axes.set_ylabel(title)
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Title": "Probing by layer"})
    return stream.getvalue()
