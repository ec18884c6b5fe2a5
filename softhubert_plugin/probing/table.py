"""The results of probing as a table of text."""

from __future__ import annotations

from typing import Any, Dict


def probe_table(result: Dict[str, Any]) -> str:
    """The content of ``layers.json`` as a table of text."""
    lines = [f"{'layer':>5}  {'frame accuracy %':<24}{'of speech alone %':<24}{'phone error %':<27}PNMI"]
    rows = [("MFCC", result["mfcc"])] if result["mfcc"] else []
    for name, row in [*rows, *((row["layer"], row) for row in result["layers"])]:
        cells = [
            "{:.2f} ({:.2f} to {:.2f})".format(*(100 * row[key][part] for part in ("value", "low", "high")))
            for key in ("accuracy", "speech_accuracy", "phone_error")
        ]
        pnmi = "{value:.3f} ({low:.3f} to {high:.3f})".format(**row["pnmi"]) if "pnmi" in row else "-"
        mark = "  <- chosen" if name == result["layer"] else ""
        lines.append(f"{name:>5}  {cells[0]:<24}{cells[1]:<24}{cells[2]:<27}{pnmi}{mark}")
    row, tested = result["layers"][0], result["speakers"]["test"]
    lines.append(
        f"{row['frames']} test frames of {len(tested)} speakers; 95 % intervals over {row['intervals_over']}, of PNMI over utterances"
    )
    lines.append(f"always the most frequent phone: {100 * row['majority']:.2f} %; layer {result['layer']} chosen by {result['chosen_by']}")
    lines.append(
        f"alignments in {result['alignment_unit']}: {result['frames_without_phone']} of {result['frames']} frames have no phone "
        f"({100 * result['frames_without_phone'] / result['frames']:.1f} %); utterances without alignment: {result['without_alignment']}"
    )
    lines.append(result["speakers_from"])
    return "\n".join(lines)
