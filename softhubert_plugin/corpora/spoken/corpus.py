"""Make the synthetic spoken corpus: audio of synthetic speakers, transcripts and phone alignments. It needs no network.

With it, all stages can be tried in minutes. A formant synthesiser varies far less than people do, so results on this corpus say nothing
about real speech.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
from tqdm import tqdm

from softhubert_plugin.alignments.formats import write_lab
from softhubert_plugin.alignments.phones import SILENCE
from softhubert_plugin.corpora.spoken.espeak import Speech, Voice, speak_all
from softhubert_plugin.corpora.spoken.grammar import random_sentence
from softhubert_plugin.corpora.writing import SPLITS, Utterance, is_made, record, splits_by_speaker, write_flac, write_splits
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import SAMPLE_RATE, refuse_name

ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan")
# f2, f3 and f5 are left out: they have breath noise, which eSpeak draws anew in each process.
MALE = ("m1", "m2", "m3", "m4", "m7", "m8")
FEMALE = ("f1", "f4", "anika", "belinda", "linda", "steph")
MAX_SPEAKERS = len(ACCENTS) * min(len(MALE), len(FEMALE)) * 2

PEAK = 0.5
# A noise floor 66 dB below full scale: no microphone records digital silence, and it would give constant features.
NOISE_LEVEL = 5e-4


def make_spoken_corpus(dest: PathLike, *, utterances: int = 1500, speakers: int = 12, seed: int = 1) -> str:
    """Make the corpus: ``audio/{split}/{speaker}/*.flac``, manifests and transcripts, ``alignments/*.lab``, ``corpus.json``.

    The utterances are divided equally among the speakers; train, valid and test have no speaker in common. The same arguments give the
    same files, byte for byte. A corpus that is already there is kept.

    Args:
        dest: folder to write to.
        utterances: number of utterances, all speakers together.
        speakers: number of voices, all splits together.
        seed: seed of voices, sentences and noise.

    Returns:
        One line that says what was made.

    Raises:
        SoftHubertError: a number is out of range, another corpus is at ``dest``, or eSpeak NG is missing.
    """
    if not 3 <= speakers <= MAX_SPEAKERS:
        raise SoftHubertError(f"{speakers} speakers: expected 3 to {MAX_SPEAKERS} (train, valid and test have no speaker in common)")
    if utterances < speakers:
        raise SoftHubertError(f"{utterances} utterances for {speakers} speakers: expected at least one per speaker")
    refuse_name(os.path.abspath(dest), of_root=True)
    parameters = {"corpus": "spoken", "utterances": utterances, "speakers": speakers, "seed": seed}
    if is_made(dest, parameters):
        return f"{dest}: already there"
    voices = make_voices(speakers, seed)
    split_of = splits_by_speaker(list(voices))
    names = [f"{list(voices)[number % speakers]}-{number // speakers:04d}" for number in range(utterances)]
    texts = [random_sentence(random.Random(f"{seed}/{name}")) for name in names]
    # eSpeak might take words in capitals for abbreviations.
    spoken = speak_all([(text.lower(), voices[name.partition("-")[0]]) for name, text in zip(names, texts)])
    splits: Dict[str, List[Utterance]] = {split: [] for split in SPLITS}
    for name, text, speech in zip(tqdm(names, desc="speaking", unit="utt", disable=None), texts, spoken):
        speaker = name.partition("-")[0]
        split = split_of[speaker]
        samples = _finish(speech, random.Random(f"{seed}/{name}/noise").getrandbits(32))
        path = f"audio/{split}/{speaker}/{name}.flac"
        write_flac(Path(dest) / path, samples)
        write_lab(Path(dest) / "alignments" / f"{name}.lab", phone_intervals(speech.phonemes, len(samples) / SAMPLE_RATE))
        splits[split].append(Utterance(path, len(samples), text, speaker))
    for split in SPLITS:
        splits[split].sort()
    warnings = write_splits(dest, dest, splits)
    described = {name: {"split": split_of[name], **vars(voice)} for name, voice in voices.items()}
    return "\n".join([*warnings, record(dest, parameters, splits, speakers=described)])


def make_voices(speakers: int, seed: int) -> Dict[str, Voice]:
    """Make distinct voices with the names ``spk00``, ``spk01`` …; male and female voices alternate."""
    rng = random.Random(f"{seed}/voices")
    pools = []
    for variants in (MALE, FEMALE):
        pool = [f"{accent}+{variant}" for accent in ACCENTS for variant in variants]
        rng.shuffle(pool)
        pools.append(pool)
    return {
        f"spk{number:02d}": Voice(pools[number % 2][number // 2], pitch=rng.randint(35, 65), rate=rng.randint(130, 190))
        for number in range(speakers)
    }


def _finish(speech: Speech, noise_seed: int) -> np.ndarray:
    """Resample an utterance to 16 kHz, scale it to a fixed peak and add a little noise: ``(samples,)`` float32."""
    import torch
    import torchaudio

    waveform = torch.from_numpy(speech.samples.astype(np.float32))
    samples = torchaudio.functional.resample(waveform, speech.sample_rate, SAMPLE_RATE).numpy()
    samples = samples * (PEAK / max(float(np.abs(samples).max()), 1.0))
    return samples + NOISE_LEVEL * np.random.default_rng(noise_seed).standard_normal(len(samples)).astype(np.float32)


def phone_intervals(events: List[Tuple[float, str]], seconds: float) -> List[Tuple[float, float, str]]:
    """Turn timed phoneme events into contiguous intervals from 0 to ``seconds``.

    Stress marks (``'``, ``,``) and other marks are removed from eSpeak's mnemonics; length marks are kept. Pauses (``_``, ``_:`` …) and
    the time before the first phoneme become ``sil``. Events without duration are word boundaries and are left out.

    Args:
        events: start in seconds, and eSpeak's mnemonic.
        seconds: length of the utterance, in seconds.

    Returns:
        Start and end in seconds, and the phone.
    """
    starts = [(0.0, SILENCE)] + [(min(start, seconds), _phone(mnemonic)) for start, mnemonic in events]
    ends = [start for start, _ in starts[1:]] + [seconds]
    intervals: List[Tuple[float, float, str]] = []
    for (start, phone), end in zip(starts, ends):
        if end <= start:
            continue
        if intervals and intervals[-1][2] == phone == SILENCE:
            start = intervals.pop()[0]
        intervals.append((start, end, phone))
    return intervals


def _phone(mnemonic: str) -> str:
    bare = "".join(character for character in mnemonic if character not in "',=%|;- ")
    return SILENCE if not bare or bare.startswith("_") else bare
