"""Measure a label file against phone alignments: purities, PNMI and segment lengths.

Soft labels are measured twice: by each frame's most probable component, and by expected counts, where a frame counts for every component
with its probability.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
from tqdm import tqdm

from softhubert_plugin.alignments.utterances import UNLABELLED, Alignments
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, check_destination, write_json
from softhubert_plugin.labels.opening import open_label_file
from softhubert_plugin.labels.soft import SoftLabels
from softhubert_plugin.labels.verify import verify_labels
from softhubert_plugin.manifests import read_manifest
from softhubert_plugin.probing.information import JointCounts


def segments(labels: np.ndarray) -> int:
    """The number of runs of equal labels."""
    return int(1 + np.count_nonzero(np.diff(labels))) if len(labels) else 0


def measure_labels(
    path: PathLike,
    manifest_path: PathLike,
    alignments: PathLike,
    *,
    phone_set: Optional[str] = None,
    units_per_second: Optional[float] = None,
    partly: bool = False,
    label_rate: Optional[float] = None,
    dest: Optional[PathLike] = None,
) -> str:
    """Measure a label file against phone alignments.

    Args:
        path: ``{split}.gmm``, or ``{split}.km`` with its dictionary beside it.
        alignments, phone_set, units_per_second, partly: as :class:`~softhubert_plugin.alignments.utterances.Alignments` takes them.
        label_rate: frames per second, which hard labels do not record.
        dest: where to also write the measures as JSON.

    Returns:
        The measures as text.

    Raises:
        SoftHubertError: labels, manifest or alignments are not usable, or do not belong together.
    """
    path = Path(path)
    if dest is not None:
        check_destination(dest, path)
    labels = open_label_file(path)
    soft = isinstance(labels, SoftLabels)
    label_rate = labels.rate(label_rate)
    manifest = read_manifest(manifest_path)
    verify_labels(labels, manifest, label_rate)
    phones = Alignments(alignments, manifest, phone_set=phone_set, units_per_second=units_per_second, partly=partly)
    aligned = [index for index in range(len(manifest)) if phones.has(index)]
    counts = {
        name: JointCounts(len(phones.phones), labels.n_components, len(aligned)) for name in (["argmax", "expected"] if soft else ["hard"])
    }
    frames = left_out = phone_segments = label_segments = 0
    for index in tqdm(aligned, desc=path.name, unit="utt", disable=None):
        targets = labels.utterance(index)
        phone = phones.frames(index, len(targets), label_rate)
        best = labels.entries(index).most_probable()
        known = phone != UNLABELLED
        frames += int(known.sum())
        left_out += int((~known).sum())
        phone_segments += segments(phone[known])
        label_segments += segments(best[known])
        counts["argmax" if soft else "hard"].add(phone[known], best[known], np.ones(int(known.sum())))
        if soft:
            entry = known[targets.frame_of_entry]
            counts["expected"].add(
                phone[targets.frame_of_entry][entry], targets.components[entry], targets.probabilities[entry].astype(np.float64)
            )
    if not frames:
        raise SoftHubertError(f"{alignments}: no frame of {path} has a phone; give the alignments of this corpus")
    result: Dict[str, Any] = {
        "labels": str(path),
        "components": labels.n_components,
        "label_rate": label_rate,
        "phones": len(phones.phones),
        "phone_set": phones.phone_set,
        "utterances": len(aligned),
        "alignment_unit": phones.unit,
        "without_alignment": len(phones.missing),
        "frames": frames,
        "frames_without_phone": left_out,
        "phone_segment_frames": frames / phone_segments,
        "label_segment_frames": frames / label_segments,
        **{name: joint.summary() for name, joint in counts.items()},
    }
    if dest is not None:
        write_json(dest, result)
    return _quality_text(result, list(counts))


def _quality_text(result: Dict[str, Any], kinds: List[str]) -> str:
    def interval(measure: Dict[str, float]) -> str:
        return f"{measure['value']:.4f} ({measure['low']:.4f} to {measure['high']:.4f})"

    milliseconds = 1000 / result["label_rate"]
    lines = [
        f"{result['labels']}: {result['components']} components, {result['frames']} frames of {result['utterances']} utterances, "
        f"{result['phones']} phones ({result['phone_set']})",
        f"alignments in {result['alignment_unit']}: {result['frames_without_phone']} more frames have no phone "
        f"({100 * result['frames_without_phone'] / (result['frames'] + result['frames_without_phone']):.1f} %); utterances without "
        f"alignment: {result['without_alignment']}",
    ]
    for kind in kinds:
        measures = result[kind]
        named = (("phone purity", "phone_purity"), ("cluster purity", "cluster_purity"), ("PNMI", "pnmi"))
        lines.append(f"{kind}: " + ", ".join(f"{name} {interval(measures[key])}" for name, key in named))
    lines.append(
        f"segments: phones {result['phone_segment_frames']:.4f} frames ({result['phone_segment_frames'] * milliseconds:.0f} ms), "
        f"labels {result['label_segment_frames']:.4f} frames ({result['label_segment_frames'] * milliseconds:.0f} ms)"
    )
    return "\n".join(lines)
