"""The embedded corpus: synthetic speakers, transcripts and phone alignments, made on the spot without a network.

Good for trying the whole road in minutes; a formant synthesiser varies far less than people do, so results on it say nothing about
real speech.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
import torch
from tqdm import tqdm

from softhubert_plugin.alignments.formats import write_lab
from softhubert_plugin.alignments.phones import SILENCE
from softhubert_plugin.corpora.spoken.espeak import Speech, Voice, speak_all
from softhubert_plugin.corpora.spoken.grammar import random_sentence
from softhubert_plugin.corpora.writing import SPLITS, Utterance, is_made, record, splits_by_speaker, write_flac, write_splits
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.manifests import SAMPLE_RATE

ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan")
# Not f2, f3 and f5: they have breath, whose noise eSpeak draws anew in each process.
MALE = ("m1", "m2", "m3", "m4", "m7", "m8")
FEMALE = ("f1", "f4", "anika", "belinda", "linda", "steph")
MAX_SPEAKERS = len(ACCENTS) * min(len(MALE), len(FEMALE)) * 2

PEAK = 0.5
# Digital silence is like nothing a microphone records, and makes constant features: a noise floor 66 dB under full scale.
NOISE_LEVEL = 5e-4


def make_spoken_corpus(dest: PathLike, *, utterances: int = 1500, speakers: int = 12, seed: int = 1) -> str:
    """Make the corpus: ``audio/{split}/{speaker}/*.flac``, manifests and transcripts, ``alignments/*.lab``, ``corpus.json``.

    Every speaker says equally many utterances; train, valid and test have no speaker in common. The same arguments give the same
    files, byte for byte; a corpus that is already there is left alone.

    Returns:
        A sentence on what was made.

    Raises:
        SoftHubertError: the numbers are out of range, another corpus lies at ``dest``, or eSpeak NG is missing.
    """
    if not 3 <= speakers <= MAX_SPEAKERS:
        raise SoftHubertError(f"{speakers} speakers: expected 3 to {MAX_SPEAKERS} (train, valid and test have none in common)")
    if utterances < speakers:
        raise SoftHubertError(f"{utterances} utterances for {speakers} speakers: expected at least one each")
    parameters = {"corpus": "spoken", "utterances": utterances, "speakers": speakers, "seed": seed}
    if is_made(dest, parameters):
        return f"{dest}: already there"
    voices = make_voices(speakers, seed)
    split_of = splits_by_speaker(list(voices))
    names = [f"{list(voices)[number % speakers]}-{number // speakers:04d}" for number in range(utterances)]
    texts = [random_sentence(random.Random(f"{seed}/{name}")) for name in names]
    # Words in capitals might be taken for abbreviations.
    spoken = speak_all([(text.lower(), voices[name.partition("-")[0]]) for name, text in zip(names, texts)])
    splits: Dict[str, List[Utterance]] = {split: [] for split in SPLITS}
    for name, text, speech in zip(tqdm(names, desc="speaking", unit="utt", disable=None), texts, spoken):
        speaker = name.partition("-")[0]
        split = split_of[speaker]
        samples = _finish(speech, random.Random(f"{seed}/{name}/noise").getrandbits(32))
        path = f"audio/{split}/{speaker}/{name}.flac"
        write_flac(Path(dest) / path, samples)
        write_lab(Path(dest) / "alignments" / f"{name}.lab", phone_intervals(speech.phonemes, len(samples) / SAMPLE_RATE))
        splits[split].append(Utterance(path, len(samples), text))
    for split in SPLITS:
        splits[split].sort()
    write_splits(dest, dest, splits)
    described = {name: {"split": split_of[name], **vars(voice)} for name, voice in voices.items()}
    return record(dest, parameters, splits, speakers=described)


def make_voices(speakers: int, seed: int) -> Dict[str, Voice]:
    """Distinct voices, men and women in turn, with names ``spk00`` …"""
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
    """``(samples,)`` float32 at 16 kHz, of one loudness, with a little noise."""
    import torchaudio

    waveform = torch.from_numpy(speech.samples.astype(np.float32))
    samples = torchaudio.functional.resample(waveform, speech.sample_rate, SAMPLE_RATE).numpy()
    samples = samples * (PEAK / max(float(np.abs(samples).max()), 1.0))
    return samples + NOISE_LEVEL * np.random.default_rng(noise_seed).standard_normal(len(samples)).astype(np.float32)


def phone_intervals(events: List[Tuple[float, str]], seconds: float) -> List[Tuple[float, float, str]]:
    """Timed phoneme events as contiguous intervals from 0 to ``seconds``.

    Stress marks (``'``, ``,``) and other marks are dropped from eSpeak's mnemonics, length is kept; its pauses (``_``, ``_:`` …), and
    what comes before the first phoneme, are ``sil``. Events without duration are word boundaries and are left out.
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
