"""Figures of where targets are unsure, from the results of ``softhubert labels uncertainty``: of one label file, or of several together."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from softhubert_plugin.alignments.phone_classes import CLASSES
from softhubert_plugin.plotting import colour, label_text, plot_style, svg_document

Results = Dict[str, Any]
# Name and results of each label file. One alone has the empty name.
Named = Sequence[Tuple[str, Results]]
Draw = Callable[[Named], Optional[Figure]]


class UncertaintyFigure(NamedTuple):
    """A kind of figure.

    Attributes:
        name: the file's name without ending.
        title, caption: words for it.
        draw: draws it, or returns ``None`` if no results have its data.
    """

    name: str
    title: str
    caption: str
    draw: Draw


def uncertainty_documents(results: Results) -> List[Tuple[str, str]]:
    """Draw every figure for which there are data.

    Returns:
        File name and SVG text of each figure.
    """
    documents = []
    for kind in UNCERTAINTY_FIGURES:
        with plot_style():
            figure = kind.draw([("", results)])
            if figure is not None:
                documents.append((f"{kind.name}.svg", svg_document(figure, kind.title)))
    return documents


def _having(named: Named, *parts: str) -> List[Tuple[int, str, Results]]:
    """The results that have all of the parts, with the place that gives their colour."""
    return [(place, name, results) for place, (name, results) in enumerate(named) if all(results.get(part) for part in parts)]


def _measures(axes: Axes, places: Sequence[float], measures: Sequence[Any], factor: float = 1.0, **style: Any) -> None:
    """Draw measures that are there as points on a line, with their intervals."""
    having = [(place, found) for place, found in zip(places, measures) if found is not None]
    values = np.asarray([found["value"] for _, found in having])
    known = [found if found["low"] is not None else {"low": found["value"], "high": found["value"]} for _, found in having]
    spread = [[max(value - found["low"], 0) * factor for value, found in zip(values, known)]]
    spread.append([max(found["high"] - value, 0) * factor for value, found in zip(values, known)])
    axes.errorbar([place for place, _ in having], factor * values, yerr=spread, **{"marker": "o", "markersize": 4, "capsize": 3, **style})


def _named_lines(axes: Axes, named: Named) -> None:
    if any(name for name, _ in named):
        axes.legend()


def _drawn_quantities(tables: Sequence[Sequence[Dict[str, Any]]]) -> List[Tuple[str, float, str]]:
    """Key, factor and label of what the rows of tables have: hard labels have no entropy, a single utterance is not judged."""
    kinds = (("entropy", 1.0, "entropy (nats)"), ("right", 100.0, "phone right (%)"))
    return [kind for kind in kinds if any(row[kind[0]] is not None for table in tables for row in table)]


def _boundary(named: Named) -> Optional[Figure]:
    """Entropy and share of right frames against the distance to a boundary, then against the place within the phone."""
    having = _having(named, "boundary", "place")
    kinds = _drawn_quantities([table for *_, results in having for table in (results["boundary"]["all"], results["place"])])
    if not kinds:
        return None
    figure = Figure(figsize=(8, 2.6 * len(kinds)), layout="constrained")
    panels = figure.subplots(len(kinds), 2, sharey="row", squeeze=False)
    for (distance, within), (key, factor, label) in zip(panels, kinds):
        for place, name, results in having:
            near = {"speech": (colour(place), label_text(name) or "speech", "-")}
            if len(named) == 1:
                near["all"] = (colour(1), "with silence", ":")
            for which, (shade, legend, line) in near.items():
                rows = results["boundary"][which]
                measured = [row[key] for row in rows]
                _measures(distance, range(len(rows)), measured, factor, color=shade, label=legend, linestyle=line)
            centres = [(row["from"] + row["to"]) / 2 for row in results["place"]]
            _measures(within, centres, [row[key] for row in results["place"]], factor, color=colour(place))
        distance.set_ylabel(label)
        rows = having[0][2]["boundary"]["speech"]
        ticks = [f"{1000 * row['from']:.0f}–{1000 * row['to']:.0f}" if row["to"] else f"> {1000 * row['from']:.0f}" for row in rows]
        distance.set_xticks(range(len(rows)), ticks, rotation=45)
    panels[-1, 0].set_xlabel("distance to the nearest phone boundary (ms)")
    panels[-1, 1].set_xlabel("place within the phone (0 start, 1 end)")
    panels[0, 0].legend()
    return figure


def _classes(named: Named) -> Optional[Figure]:
    having = _having(named, "classes")
    kinds = _drawn_quantities([results["classes"] for *_, results in having])
    if not kinds:
        return None
    present = [name for name in CLASSES if any(row["class"] == name for *_, results in having for row in results["classes"])]
    figure = Figure(figsize=(4 * len(kinds), 3), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    for panel, (key, factor, label) in zip(panels, kinds):
        for place, name, results in having:
            shift = (place - (len(named) - 1) / 2) * min(0.15, 0.6 / len(named))
            found = {row["class"]: row[key] for row in results["classes"]}
            places = [number + shift for number in range(len(present))]
            measured = [found.get(each) for each in present]
            _measures(panel, places, measured, factor, color=colour(place), linestyle="none", label=label_text(name))
        panel.set_xticks(range(len(present)), present, rotation=45)
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0)
    _named_lines(panels[-1], named)
    return figure


def _phones(named: Named) -> Optional[Figure]:
    """A point per phone: how unsure it is against how often it is right."""
    having = _having(named, "phones", "entropy")
    if len(named) > 1 or not having:
        return None
    rows = [row for row in having[0][2]["phones"] if row["entropy"] is not None]
    judged = any(row["right"] is not None for row in rows)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    most = max((row["frames"] for row in rows), default=0) or 1
    for number, name in enumerate(CLASSES):
        of_class = [row for row in rows if row["class"] == name]
        heights = [100 * (row["right"] or 0) if judged else row["frames"] for row in of_class]
        sizes = [12 + 150 * row["frames"] / most for row in of_class]
        if of_class:
            shade = colour(number) if number < 6 else ("#000000", "#777777", "#bbbbbb")[number - 6]
            axes.scatter([row["entropy"] for row in of_class], heights, s=sizes, alpha=0.6, color=shade, label=name)
        for row, height in zip(of_class, heights):
            axes.annotate(label_text(row["phone"]), (row["entropy"], height), xytext=(4, 3), textcoords="offset points", fontsize=8)
    axes.set_xlabel("entropy (nats)")
    axes.set_ylabel("phone right (%)" if judged else "frames")
    figure.legend(loc="outside right upper")
    return figure


def _reliability(named: Named) -> Optional[Figure]:
    having = _having(named, "reliability")
    if not having:
        return None
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panel, shares = figure.subplots(1, 2)
    panel.plot([0, 100], [0, 100], color="#777777", linestyle=":", linewidth=1)
    for place, name, results in having:
        bins = results["reliability"]["bins"]
        confident = [100 * (each["confidence"] or 0) for each in bins]
        error = results["reliability"]["expected_calibration_error"]["value"]
        label = label_text(f"{name}, error {error:.3f}" if name else f"calibration error {error:.3f}")
        _measures(panel, confident, [each["right"] for each in bins], 100.0, color=colour(place), label=label)
        total = max(sum(each["frames"] for each in bins), 1)
        edges = [100 * each["from"] for each in bins] + [100.0]
        heights = [100 * each["frames"] / total for each in bins]
        shares.stairs(heights, edges, color=colour(place), fill=len(having) == 1, alpha=0.8)
    panel.set_ylabel("phone right (%)")
    shares.set_ylabel("frames (%)")
    for axes in (panel, shares):
        axes.set_xlabel("probability of the most probable component (%)")
        axes.set_xlim(0, 100)
    panel.set_ylim(0, 100)
    panel.legend(loc="upper left")
    return figure


def _information(named: Named) -> Optional[Figure]:
    having = _having(named, "information")
    if not having:
        return None
    readings = ("argmax", "expected", "posterior")
    figure = Figure(figsize=(8, 1.6 + 0.3 * len(having)), layout="constrained")
    axes = figure.subplots()
    for row, (place, _, results) in enumerate(having):
        for reading, marker in zip(readings, "os^"):
            found = results["information"][reading]["pnmi"]
            low, high = (found["value"] if found[end] is None else found[end] for end in ("low", "high"))
            spread = [[max(found["value"] - low, 0)], [max(high - found["value"], 0)]]
            axes.errorbar(
                found["value"], row + 0.2 * (readings.index(reading) - 1), xerr=spread, fmt=marker, capsize=3, color=colour(place)
            )
    for reading, marker in zip(readings, "os^"):
        axes.plot([], [], marker=marker, color="#555555", linestyle="none", label=reading)
    axes.set_yticks(range(len(having)), [label_text(name) for _, name, _ in having])
    axes.set_ylim(len(having) - 0.5, -0.5)
    axes.set_xlabel("PNMI of held-out utterances")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _speakers(named: Named) -> Optional[Figure]:
    """Every speaker's mean entropy, in order, beside how long the speaker's labels last."""
    having = _having(named, "speakers", "entropy")
    if not having:
        return None
    figure = Figure(figsize=(8, 3), layout="constrained")
    ranked, runs = figure.subplots(1, 2)
    for place, name, results in having:
        known = [row for row in results["speakers"]["rows"] if row["entropy"] is not None]
        rows = sorted(known, key=lambda row: (row["entropy"], row["speaker"]))
        style = {"color": colour(place), "marker": "o", "markersize": 4 if len(rows) < 100 else 2}
        ranked.plot(range(1, len(rows) + 1), [row["entropy"] for row in rows], label=label_text(name), **style)
        runs.plot([row["entropy"] for row in rows], [row["run_frames"] for row in rows], linestyle="none", **style)
        if len(named) == 1 and len(rows) <= 12:
            for number, row in enumerate(rows, start=1):
                ranked.annotate(label_text(row["speaker"]), (number, row["entropy"]), xytext=(4, 3), textcoords="offset points", fontsize=8)
    ranked.set_xlabel("speakers, in order of entropy")
    ranked.set_ylabel("entropy (nats)")
    ranked.xaxis.set_major_locator(MaxNLocator(integer=True))
    runs.set_xlabel("entropy (nats)")
    runs.set_ylabel("frames that a label lasts")
    _named_lines(ranked, named)
    return figure


def _overview(named: Named) -> Optional[Figure]:
    having = _having(named, "runs")
    if not having:
        return None
    soft = any(results.get("entropy") is not None for *_, results in having)
    figure = Figure(figsize=(8 if soft else 4, 3), layout="constrained")
    panels = figure.subplots(1, 2 if soft else 1, squeeze=False)[0]
    for place, name, results in having:
        counts = results["runs"]["counts"]
        bounds: List[float] = [run + 0.5 for run in range(len(counts) + 1)]
        drawn = [(counts, bounds, panels[-1], label_text(name))]
        if results.get("entropy") is not None:
            histogram = results["entropy"]["histogram"]
            drawn.append((histogram["counts"], histogram["edges"], panels[0], ""))
        for heights, edges, panel, label in drawn:
            shares = 100 * np.asarray(heights) / max(sum(heights), 1)
            panel.stairs(shares, edges, color=colour(place), fill=len(having) == 1, alpha=0.8, label=label or None)
    panels[0].set_xlabel("entropy of a frame's target (nats)")
    panels[0].set_ylabel("frames (%)")
    panels[-1].set_xlabel("frames that a label lasts (the last: or more)")
    panels[-1].set_ylabel("runs (%)")
    _named_lines(panels[-1], named)
    return figure


UNCERTAINTY_FIGURES: Sequence[UncertaintyFigure] = (
    UncertaintyFigure(
        "overview",
        "Uncertainty: frames and runs",
        "Entropy of the targets, which hard labels do not have, and for how many frames the most probable component stays the same.",
        _overview,
    ),
    UncertaintyFigure(
        "boundary",
        "Uncertainty: near and far from phone boundaries",
        "Entropy of the targets, and how often the phone of the most probable component is right, by the distance to the nearest phone "
        "boundary and by the place within the phone. With 95 % intervals.",
        _boundary,
    ),
    UncertaintyFigure(
        "classes",
        "Uncertainty: classes of phones",
        "Entropy of the targets, and how often the phone of the most probable component is right. With 95 % intervals.",
        _classes,
    ),
    UncertaintyFigure(
        "phones",
        "Uncertainty: phones",
        "Each phone's entropy, and how often it is right. The larger the dot, the more frames.",
        _phones,
    ),
    UncertaintyFigure(
        "reliability",
        "Uncertainty: reliability",
        "How often the phone of the most probable component is right, by its probability; the dotted line is perfect calibration. What "
        "phone a component stands for was decided on other utterances. Right: how many frames have that probability.",
        _reliability,
    ),
    UncertaintyFigure(
        "information",
        "Uncertainty: what the targets say about phones",
        "Phone-normalised mutual information on utterances that were held out: of the most probable component, of a component drawn from "
        "the target, and of the whole distribution. With 95 % intervals.",
        _information,
    ),
    UncertaintyFigure(
        "speakers",
        "Uncertainty: speakers",
        "Mean entropy of each speaker's targets, and how long the speaker's labels last.",
        _speakers,
    ),
)
