"""Checks that an update holds the amount of audio that the recipe expects, and that a batch can hold every utterance.

Learning rates are tuned to the batch size, and no other check notices a wrong one. An utterance that fits into no batch would stop
fairseq without its name, and one of a validation split only at the first validation.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

import numpy as np

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import Manifest


def check_batch(
    wanted_seconds: Optional[float], *, world_size: int, update_freq: Sequence[int], max_tokens: Optional[int], sample_rate: int
) -> None:
    """Compare processes × batches per update × samples per batch with the recipe's amount of audio.

    Args:
        wanted_seconds: seconds of audio per update, over all processes; ``None`` accepts any amount.
        world_size: number of processes.
        update_freq: batches per update and process.
        max_tokens: samples per batch.
        sample_rate: samples per second.

    Raises:
        SoftHubertError: the two differ by more than one percent; the message says what to set instead.
    """
    if wanted_seconds is None:
        return
    remedy = "or task.batch_seconds=null to train with another batch"
    if max_tokens is None:
        raise SoftHubertError(f"task.batch_seconds={wanted_seconds:g} needs dataset.max_tokens; set it, {remedy}")
    for frequency in update_freq:
        seconds = world_size * frequency * max_tokens / sample_rate
        if abs(seconds - wanted_seconds) > 0.01 * wanted_seconds:
            raise SoftHubertError(
                f"an update would hold {seconds:g} s of audio ({world_size} processes × update_freq {frequency} × "
                f"{max_tokens / sample_rate:g} s), but the recipe expects {wanted_seconds:g} s (task.batch_seconds); "
                f"set {' '.join(fitting(wanted_seconds, world_size, max_tokens, sample_rate))}, {remedy}"
            )


def check_longest(manifest: Manifest, dataset: Any, *, split: str, settings: Any) -> None:
    """Check that the longest utterance of a split that is trained or validated on fits into a batch.

    Args:
        manifest: the utterances.
        dataset: those that are kept, a fairseq dataset.
        split: name of the split.
        settings: the trainer's, ``dataset.*``; ``None`` if nothing is trained.

    Raises:
        SoftHubertError: it does not fit.
    """
    if not settings:
        return
    validated = split in str(settings.get("valid_subset")).split(",")
    applying = {"max_tokens": split == settings.get("train_subset"), "max_tokens_valid": validated}
    limits = [(settings.get(name), name) for name, applies in applying.items() if applies and settings.get(name)]
    if not limits:
        return
    limit, name = min(limits)
    longest = int(np.argmax(dataset.sizes))
    samples = dataset.size(longest)  # after cropping
    if samples > limit:
        index = int(np.flatnonzero(manifest.sizes == dataset.sizes[longest])[0])
        raise SoftHubertError(
            f"{manifest.audio_path(index)}: takes {samples} samples, but a batch holds {limit} (dataset.{name}); "
            f"set dataset.{name}={samples}, or task.max_keep_size={limit} to leave longer utterances out"
        )


def fitting(wanted_seconds: float, world_size: int, max_tokens: int, sample_rate: int) -> List[str]:
    """The overrides that give the wanted batch with ``world_size`` processes; ``max_tokens`` is lowered if it does not divide the batch."""
    processes_seconds = world_size * max_tokens / sample_rate
    frequency = max(round(wanted_seconds / processes_seconds), 1)
    if abs(frequency * processes_seconds - wanted_seconds) <= 0.01 * wanted_seconds:
        return [f"'optimization.update_freq=[{frequency}]'"]
    frequency = max(-int(-wanted_seconds // processes_seconds), 1)
    tokens = round(wanted_seconds * sample_rate / (world_size * frequency))
    return [f"'optimization.update_freq=[{frequency}]'", f"dataset.max_tokens={tokens}"]
