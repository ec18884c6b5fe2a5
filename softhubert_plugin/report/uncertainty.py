"""The report's part on where the targets of each system are unsure: one table, and the figures of all systems together."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from softhubert_plugin.plotting import plot_style, svg_element
from softhubert_plugin.report.experiment import Experiment
from softhubert_plugin.report.table import MISSING
from softhubert_plugin.report.uncertainty_figures import UNCERTAINTY_FIGURES

UNCERTAINTY_COLUMNS = (
    "system", "entropy, nats", "within 10 ms of a boundary", "at 40 to 60 ms", "label lasts, frames", "PNMI argmax", "PNMI expected",
    "PNMI posterior", "phone right %", "confidence %", "calibration error",
)  # fmt: skip
UNCERTAINTY_NOTE = (
    "Distances to phone boundaries are of frames of speech. PNMI, the share of frames with the right phone and the calibration error are "
    "of utterances that were held out when it was decided what phone each component stands for. 'expected' is of a component drawn from "
    "the target, 'posterior' of the whole distribution."
)
_NEAR, _FAR = (0.0, 0.01), (0.04, 0.06)


def uncertainty_rows(experiments: Sequence[Experiment]) -> List[Tuple[str, ...]]:
    """Return a row of :data:`UNCERTAINTY_COLUMNS` for each experiment whose labels were measured."""
    return [(experiment.name, *_cells(experiment.uncertainty)) for experiment in experiments if experiment.uncertainty]


def _cells(results: Dict[str, Any]) -> List[str]:
    speech = (results.get("boundary") or {}).get("speech") or []
    distance = {(row.get("from"), row.get("to")): row.get("entropy") for row in speech}
    information, reliability = results.get("information") or {}, results.get("reliability") or {}
    return [
        _cell((results.get("entropy") or {}).get("mean")),
        *(_cell((distance.get(between) or {}).get("value")) for between in (_NEAR, _FAR)),
        _cell((results.get("runs") or {}).get("mean_frames"), digits=2),
        *(_cell(information[name]["pnmi"]["value"] if information else None) for name in ("argmax", "expected", "posterior")),
        *(_cell(reliability[name]["value"] if reliability else None, 100, 1) for name in ("right", "confidence")),
        _cell(reliability["expected_calibration_error"]["value"] if reliability else None),
    ]


def uncertainty_elements(experiments: Sequence[Experiment]) -> List[Tuple[str, str, str]]:
    """Draw every figure for which there are data.

    Returns:
        Title, caption and SVG element of each figure.
    """
    named = [(experiment.name, experiment.uncertainty) for experiment in experiments]
    elements = []
    for kind in UNCERTAINTY_FIGURES:
        with plot_style():
            figure = kind.draw(named)
            if figure is not None:
                elements.append((kind.title, kind.caption, svg_element(figure, kind.title)))
    return elements


def _cell(value: Optional[float], factor: float = 1.0, digits: int = 3) -> str:
    return MISSING if value is None else f"{factor * value:.{digits}f}"
