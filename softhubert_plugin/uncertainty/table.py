"""The results as text: tables in Markdown, and a few lines for the terminal."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from softhubert_plugin.report.table import MISSING, markdown

_MOST_SPEAKERS = 20  # of a table; the JSON has all


def uncertainty_markdown(results: Dict[str, Any]) -> str:
    """Write the results as Markdown, one table per part."""
    parts = [f"# Where the targets of {_plain(results['labels'])} are unsure", uncertainty_text(results).replace("\n", "\n\n")]
    for title, columns, rows in _tables(results):
        parts += [f"## {title}", markdown(columns, [[_plain(cell) for cell in row] for row in rows])]
    if results["not_applicable"]:
        parts += ["## Not applicable", "\n".join(f"* {part}: {_plain(why)}" for part, why in results["not_applicable"].items())]
    return "\n\n".join(parts) + "\n"


def uncertainty_text(results: Dict[str, Any]) -> str:
    """The main numbers, a line for each subject."""
    lines = [f"{results['labels']}: {results['kind']} labels, {results['components']} components, {results['frames']} frames"]
    if results["entropy"] is not None:
        entropy = results["entropy"]
        lines.append(f"entropy {entropy['mean']:.3f} nats, perplexity {entropy['perplexity']:.3f}, confidence {results['confidence']:.3f}")
    runs, used = results["runs"], results["components_used"]
    lines.append(
        f"the most probable component lasts {runs['mean_frames']:.2f} frames ({1000 * runs['mean_seconds']:.0f} ms); "
        f"{used['argmax']} of {results['components']} components are the most probable somewhere"
    )
    if results["alignments"] is not None:
        lines += _phone_lines(results)
    return "\n".join(lines)


def _phone_lines(results: Dict[str, Any]) -> List[str]:
    alignments = results["alignments"]
    total = alignments["frames"] + alignments["frames_without_phone"]
    lines = [
        f"phones ({alignments['phone_set']}) last {alignments['phone_run_frames']:.2f} frames; "
        f"{alignments['frames_without_phone']} of {total} frames have no phone; "
        f"utterances without alignment: {alignments['without_alignment']}",
        alignments["held_out"]["said"],
    ]
    near, far = results["boundary"]["speech"][0], results["boundary"]["speech"][4]
    if near["entropy"] is not None and far["entropy"] is not None:
        lines.append(f"speech: entropy {_interval(near['entropy'])} within 10 ms of a boundary, {_interval(far['entropy'])} at 40 to 60 ms")
    if results["information"] is not None:
        found = results["information"]
        readings = ("argmax", "expected", "posterior") if results["kind"] == "soft" else ("argmax",)
        lines.append("PNMI held out: " + ", ".join(f"{name} {_interval(found[name]['pnmi'])}" for name in readings))
        if results["kind"] == "soft":
            lines.append(f"the posterior says {_interval(found['beyond_argmax'], signed=True)} nats more than its argmax")
    if results["reliability"] is not None:
        found = results["reliability"]
        lines.append(
            f"the component's phone is right in {100 * found['right']['value']:.1f} % of the frames at a confidence of "
            f"{100 * found['confidence']['value']:.1f} %; expected calibration error {found['expected_calibration_error']['value']:.4f}"
        )
    return lines


def _tables(results: Dict[str, Any]) -> List[Tuple[str, Sequence[str], List[List[str]]]]:
    quantities = ("frames", "entropy (nats)", "confidence", "phone right")
    tables: List[Tuple[str, Sequence[str], List[List[str]]]] = []
    for name, title in (("all", "Distance to the nearest phone boundary"), ("speech", "The same without frames of silence")):
        if results["boundary"] is not None:
            rows = [[_milliseconds(row), *_quantities(row)] for row in results["boundary"][name]]
            tables.append((title, ("ms", *quantities), rows))
    if results["place"] is not None:
        rows = [[f"{row['from']:.1f} to {row['to']:.1f}", *_quantities(row)] for row in results["place"]]
        tables.append(("Place within the phone, without silence", ("place", *quantities), rows))
    if results["classes"] is not None:
        tables.append(("Classes of phones", ("class", *quantities), [[row["class"], *_quantities(row)] for row in results["classes"]]))
    if results["phones"] is not None:
        unsure = sorted(results["phones"], key=lambda row: (-(row["entropy"] or 0), row["phone"]))
        rows = [[row["phone"], row["class"], *_quantities(row)] for row in unsure]
        tables.append(("Phones, the least sure first", ("phone", "class", *quantities), rows))
    if results["speakers"] is not None:
        tables.append(_speaker_table(results["speakers"]["rows"], quantities))
    if results["reliability"] is not None:
        rows = [
            [f"{row['from']:.1f} to {row['to']:.1f}", str(row["frames"]), _number(row["confidence"]), _interval(row["right"])]
            for row in results["reliability"]["bins"]
        ]
        tables.append(("Reliability", ("confidence", "frames", "mean confidence", "phone right"), rows))
    if results["information"] is not None:
        tables.append(_information_table(results["information"]))
    return tables


def _speaker_table(rows: List[Dict[str, Any]], quantities: Sequence[str]) -> Tuple[str, Sequence[str], List[List[str]]]:
    unsure = sorted(rows, key=lambda row: (-(row["entropy"] or 0), row["speaker"]))
    title = "Speakers, the least sure first"
    if len(unsure) > _MOST_SPEAKERS:
        title += f": the first and last {_MOST_SPEAKERS // 2} of {len(unsure)}"
        unsure = unsure[: _MOST_SPEAKERS // 2] + unsure[-_MOST_SPEAKERS // 2 :]
    cells = [[row["speaker"], str(row["utterances"]), *_quantities(row), f"{row['run_frames']:.2f}"] for row in unsure]
    return title, ("speaker", "utterances", *quantities, "frames a label lasts"), cells


def _information_table(found: Dict[str, Any]) -> Tuple[str, Sequence[str], List[List[str]]]:
    rows = []
    for name in ("argmax", "expected", "posterior"):
        fitted = found["not_held_out"].get(name, {}).get("pnmi")
        rows.append([name, _interval(found[name]["mutual_information"]), _interval(found[name]["pnmi"]), _number(fitted)])
    title = f"What the labels say about the phones of others, of {found['phone_entropy']['value']:.3f} nats"
    return title, ("reading", "nats", "PNMI", "PNMI, nothing held out"), rows


def _quantities(row: Dict[str, Any]) -> List[str]:
    return [str(row["frames"]), _interval(row["entropy"]), _number(row["confidence"]), _interval(row["right"])]


def _milliseconds(row: Dict[str, Any]) -> str:
    return f"{1000 * row['from']:.0f} to {1000 * row['to']:.0f}" if row["to"] is not None else f"{1000 * row['from']:.0f} and more"


def _interval(found: Any, *, signed: bool = False) -> str:
    if found is None or isinstance(found, float):
        return _number(found)
    text = format(found["value"], "+.4f" if signed else ".4f")
    return text if found["low"] is None else f"{text} ({found['low']:.4f} to {found['high']:.4f})"


def _number(value: Optional[float]) -> str:
    return MISSING if value is None else f"{value:.4f}"


def _plain(text: str) -> str:
    """Text that stays text in Markdown, where a name may hold HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
