"""Describe what a soft-label file holds: as plain values for programs, as text and as a picture for people."""

from __future__ import annotations

import math
from typing import Any, Dict, List

import numpy as np

from softhubert_plugin.files import PathLike, atomic_path
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.labels.soft_layout import ENTROPY_BINS

TEXT_BINS, BAR = 15, 40


def describe_labels(path: PathLike) -> Dict[str, Any]:
    """Describe a soft-label file by plain values; entropies are in nats.

    Raises:
        SoftHubertError: the file is missing, damaged, or not a soft-label file.
    """
    labels = open_soft_labels(path)
    info = labels.info
    top = math.log(max(info.n_components, 2))
    return {
        "file": str(path),
        "components": info.n_components,
        "utterances": len(labels),
        "frames": info.frames,
        "label_rate": info.label_rate,
        "bytes_per_frame": labels.bytes_per_frame,
        "temperature": info.temperature,
        "mass": info.mass,
        "max_components": info.max_components,
        "step": info.step,
        "control": info.control,
        "control_seed": info.control_seed,
        "uniform": info.uniform,
        "frame_wise": info.frame_wise,
        "perplexity_before": info.perplexity_before,
        "perplexity": info.perplexity,
        "entropy_nats": info.entropy,
        "mixture_sha256": info.mixture_sha256,
        "manifest_sha256": info.manifest_sha256,
        "entropy_histogram": {
            "edges": [top * edge / ENTROPY_BINS for edge in range(ENTROPY_BINS + 1)],
            "counts": info.entropy_histogram,
        },
    }


def labels_text(description: Dict[str, Any]) -> str:
    """A description as text: one line per value, then the histogram of the frames' entropies.

    Args:
        description: what :func:`describe_labels` returned.
    """
    histogram = description["entropy_histogram"]
    lines = [
        f"{description['file']}: {description['utterances']} utterances",
        f"frames            {description['frames']} at {description['label_rate']:g} Hz",
        f"components        {description['components']}",
        f"bytes per frame   {description['bytes_per_frame']:.2f}",
        f"kept              {description['mass']:g} of the mass, at most {description['max_components']} components",
        f"packed            {_packed(description['step'])}",
        *([f"control           {_control(description)}"] if description["control"] else []),
        *(["transitions       not used: frames were taken one by one"] if description["frame_wise"] else []),
        f"temperature       {description['temperature']:.4g}",
        f"mean perplexity   {description['perplexity']:.3f} ({description['perplexity_before']:.3f} before truncation)",
        f"mean entropy      {description['entropy_nats']:.3f} nats of {histogram['edges'][-1]:.3f}",
        f"mixture           {description['mixture_sha256'][:16]}",
        f"manifest          {description['manifest_sha256'][:16] or 'not recorded'}",
        "",
        "entropy (nats)  perplexity   frames",
    ]
    return "\n".join([*lines, *_bars(histogram["edges"], histogram["counts"])])


def _packed(step: float) -> str:
    return f"square roots of probabilities in steps of {step:g}" if step else "no"


def _control(description: Dict[str, Any]) -> str:
    shares = f", {description['uniform']:.4g} of the probability spread evenly over all components" if description["uniform"] else ""
    return description["control"] + (f", seed {description['control_seed']}" if description["control_seed"] else "") + shares


def _bars(edges: List[float], counts: List[int]) -> List[str]:
    width = -(-len(counts) // TEXT_BINS)
    coarse = [sum(counts[first : first + width]) for first in range(0, len(counts), width)]
    total, most = max(sum(coarse), 1), max(*coarse, 1)
    lines = []
    for number, count in enumerate(coarse):
        low, high = edges[number * width], edges[min((number + 1) * width, len(counts))]
        bar = "#" * math.ceil(BAR * count / most)
        lines.append(f"{low:5.2f} – {high:5.2f}  ≤ {math.exp(high):8.2f}  {100 * count / total:5.1f} %  {bar}".rstrip())
    return lines


def draw_entropies(description: Dict[str, Any], path: PathLike) -> None:
    """Draw the histogram of the frames' entropies as a PNG.

    Args:
        description: what :func:`describe_labels` returned.
        path: where to write.
    """
    from matplotlib.figure import Figure

    from softhubert_plugin.plotting import colour, plot_style

    edges = np.asarray(description["entropy_histogram"]["edges"])
    counts = np.asarray(description["entropy_histogram"]["counts"], dtype=float)
    with plot_style():
        figure = Figure(figsize=(7, 3.5), layout="constrained")
        axes = figure.subplots()
        axes.bar(edges[:-1], counts / max(counts.sum(), 1), width=np.diff(edges), align="edge", color=colour(0))
        axes.axvline(description["entropy_nats"], color="black", linewidth=1, label=f"mean {description['entropy_nats']:.2f} nats")
        axes.set(xlabel="entropy of a frame's target (nats)", ylabel="share of the frames", xlim=(0, edges[-1]))
        axes.set_title(f"{description['components']} components, mean perplexity {description['perplexity']:.2f}")
        axes.legend()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=120)
