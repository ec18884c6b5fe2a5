"""MFCCs of utterances, straight from their audio, with the same values as fairseq's ``dump_mfcc_feature.py``.

13 Kaldi MFCCs without energy, their deltas and double deltas: 39 dimensions at 100 frames per second (Hsu et al. 2021, section
IV-B). Frame ``t`` covers the samples ``[160 t, 160 t + 400)`` at 16 kHz. Nothing here needs fairseq. Both the feature dump
(``features/mfcc.py``) and labelling without a dump read from here.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, Sequence

import numpy as np
import torch

from softhubert_plugin.audio.check import check_long_enough
from softhubert_plugin.audio.read import read_waveform
from softhubert_plugin.audio.threads import prepare_soundfile
from softhubert_plugin.features.threads import worked
from softhubert_plugin.manifests import SAMPLE_RATE, Manifest

MFCC_FRAME_RATE = 100.0
MFCC_DIMENSION = 39
WINDOW_SAMPLES, SHIFT_SAMPLES = 400, 160


def mfcc(waveform: torch.Tensor) -> torch.Tensor:
    """Compute MFCCs with deltas and double deltas.

    Args:
        waveform: ``(samples,)`` float32 at 16 kHz, at least 400 samples (one 25 ms window).

    Returns:
        ``(frames, 39)`` float32 with ``frames = 1 + (samples - 400) // 160``.
    """
    import torchaudio

    cepstra = torchaudio.compliance.kaldi.mfcc(waveform[None], sample_frequency=SAMPLE_RATE, use_energy=False).T
    deltas = torchaudio.functional.compute_deltas(cepstra)
    return torch.cat([cepstra, deltas, torchaudio.functional.compute_deltas(deltas)]).T.contiguous()


def mfcc_frames(samples: np.ndarray) -> np.ndarray:
    """The number of frames that utterances of ``samples`` samples give."""
    return 1 + (samples - WINDOW_SAMPLES) // SHIFT_SAMPLES


def mfcc_info(manifest: Manifest) -> Dict[str, Any]:
    """The description of MFCCs, as their shards' ``.json`` and the mixture fitted on them record it."""
    return {"kind": "mfcc", "frame_rate": MFCC_FRAME_RATE, "manifest_sha256": manifest.fingerprint}


def mfcc_features(manifest: Manifest, indices: Sequence[int]) -> Iterator[np.ndarray]:
    """MFCCs of utterances in the order of ``indices``, computed in threads as they are needed.

    Every utterance is computed by one thread: the values do not depend on the number of threads, which changes the last bits of products.

    Args:
        manifest: says where the audio is. Check the audio first (:func:`~softhubert_plugin.audio.check.check_audio`); this function
            checks only lengths.
        indices: utterances of the manifest.

    Yields:
        ``(frames, 39)`` float32.

    Raises:
        SoftHubertError: an utterance is shorter than one window, or cannot be read.
    """
    check_long_enough(manifest, indices, WINDOW_SAMPLES)
    prepare_soundfile()

    def of(index: int) -> np.ndarray:
        return mfcc(read_waveform(manifest, index, normalize=False)).numpy()

    yield from worked(of, indices, "cpu")
