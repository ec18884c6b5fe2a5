"""Give a mixture the temperature at which its posteriors are as uncertain as asked for, measured on held-out frames."""

from __future__ import annotations

from dataclasses import replace
from typing import List, Optional, Tuple

import numpy as np
import torch

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.gmm.em import effective_components
from softhubert_plugin.gmm.engine import Engine
from softhubert_plugin.gmm.markov_calibration import HeldOut, with_transitions
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.gmm.training_data import TrainingData
from softhubert_plugin.gmm.transitions import FullTransitions, StickyTransitions, check_size
from softhubert_plugin.gmm.uncertainty import WARN_BELOW_PERPLEXITY, calibrate_temperature, describe_posteriors

# The maximum number of entries of the (frames, K) matrix that calibration keeps. It bounds the memory to some hundred MB for any K.
MAX_CALIBRATION_ENTRIES = 8_000_000


def calibrated(
    mixture: GaussianMixture, held_out: np.ndarray, perplexity: Optional[float], device: str
) -> Tuple[GaussianMixture, List[str]]:
    """Calibrate a mixture.

    Args:
        held_out: ``(n, D)`` float32 frames.
        perplexity: target for the mean perplexity of their posteriors; ``None`` keeps temperature 1.
        device: where to compute.

    Returns:
        The mixture at its new temperature, with a description of its posteriors in its metadata; and a report, line by line.

    Raises:
        SoftHubertError: no temperature gives that perplexity.
    """
    engine = Engine(mixture, device)
    some = held_out[:: max(1, len(held_out) * mixture.n_components // MAX_CALIBRATION_ENTRIES)]
    joint = torch.cat([engine.log_joint(part) for part in engine.parts(some)]).cpu()
    temperature = 1.0 if perplexity is None else calibrate_temperature(joint, perplexity)
    before, after = describe_posteriors(joint, 1.0), describe_posteriors(joint, temperature)
    likelihood = engine.score(held_out)
    metadata = {
        **mixture.metadata,
        "held_out_frames": len(held_out),
        "held_out_log_likelihood": likelihood,
        "perplexity": after["perplexity"],
        "posteriors": after,
        "posteriors_at_temperature_1": before,
    }
    report = [
        f"held-out log-likelihood {likelihood:.3f} nats per frame; {effective_components(mixture):.1f} components used",
        *(
            f"posteriors at temperature {value:.3f}: mean perplexity {found['perplexity']:.3f}, entropy {found['entropy']:.3f} nats; the "
            f"largest 1, 4, 16 probabilities sum to {found['top_1']:.3f}, {found['top_4']:.3f}, {found['top_16']:.3f}"
            for value, found in ([(1.0, before)] if temperature == 1.0 else [(1.0, before), (temperature, after)])
        ),
    ]
    if after["perplexity"] < WARN_BELOW_PERPLEXITY:
        report.append(
            f"warning: perplexity under {WARN_BELOW_PERPLEXITY}: labels from this mixture are almost hard; calibrate with --perplexity"
        )
    return replace(mixture, temperature=temperature, metadata=metadata), report


def calibrated_with_transitions(
    mixture: GaussianMixture, data: TrainingData, perplexity: Optional[float], device: str, *, kind: Optional[str], stay: Optional[float]
) -> Tuple[GaussianMixture, List[str]]:
    """Calibrate a mixture for frames taken one by one and, if ``kind`` is given, fit transitions and calibrate it with them.

    Args:
        data: what transitions are fitted on, and the held-out frames.
        perplexity, device: as for :func:`calibrated`.
        kind: ``sticky``, ``full``, or ``None`` for a mixture without transitions.
        stay: the probability to stay of sticky transitions; ``None`` fits it.

    Returns:
        As :func:`calibrated`.

    Raises:
        SoftHubertError: no temperature gives that perplexity.
    """
    mixture, report = calibrated(mixture, data.held_out, perplexity, device)
    if kind is None:
        return mixture, report
    engine = Engine(mixture, device)
    most = max(1, MAX_CALIBRATION_ENTRIES // mixture.n_components)
    lengths = np.diff(np.cumsum(data.held_out_lengths).clip(max=most), prepend=0)
    joint = torch.cat([engine.log_joint(part) for part in engine.parts(data.held_out[:most])]).cpu()
    held_out = HeldOut(joint, lengths[lengths > 0])
    mixture, more = with_transitions(mixture, held_out, data.whole, perplexity, kind=kind, stay=stay, device=device)
    return mixture, [*report, *more]


def check_transitions(kind: Optional[str], stay: Optional[float], n_components: int) -> None:
    """Check the options for transitions before anything is computed.

    Raises:
        SoftHubertError: an option is out of range, or does not go with the others.
    """
    if kind not in (None, StickyTransitions.kind, FullTransitions.kind):
        raise SoftHubertError(f"--markov {kind}: expected sticky or full")
    if stay is not None and kind != StickyTransitions.kind:
        raise SoftHubertError("--stay is the probability to stay of sticky transitions; give --markov sticky too, or leave it out")
    if stay is not None and not 0 <= stay < 1:
        raise SoftHubertError(f"--stay {stay:g}: expected a probability from 0 to below 1")
    if kind == FullTransitions.kind:
        check_size(n_components)
