"""A corpus of digit strings by real speakers, joined from single digits such as those of the Free Spoken Digit Dataset.

It is a small recognition task: 3 to 7 digits of one speaker, with short pauses. No speaker is in more than one split.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
from pathlib import Path
from typing import Dict, List

import numpy as np
from tqdm import tqdm

from softhubert_plugin.audio.opening import length_of, open_complete, refuse_form
from softhubert_plugin.audio.samples import refuse_odd_samples
from softhubert_plugin.corpora.spoken.grammar import DIGITS
from softhubert_plugin.corpora.writing import SPLITS, Utterance, is_made, record, splits_by_speaker, write_flac, write_splits
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.folders import is_hidden
from softhubert_plugin.manifests import SAMPLE_RATE, refuse_name

RECORDING = re.compile(r"([0-9])_(.+)_([0-9]+)\.wav")
PAUSE_SECONDS = (0.05, 0.25)


def make_digits_corpus(recordings: PathLike, dest: PathLike, *, utterances: int = 300, seed: int = 1, test_speaker: str = "") -> str:
    """Make the corpus: ``audio/{split}/{speaker}/*.flac`` at 16 kHz, manifests, transcripts, ``corpus.json``.

    In alphabetical order, the last speaker goes to test and the one before to valid (a tenth of the speakers each, if there are many).
    With ``test_speaker`` the order goes round, so that this one is last.
    All recordings of a speaker are used about equally often. The same arguments give the same files.

    Args:
        recordings: folder of ``{digit}_{speaker}_{take}.wav``, at any sample rate, with one channel.
        dest: folder to write to.
        utterances: digit strings per speaker.
        seed: seed of the choice of digits and pauses.
        test_speaker: a speaker to test on; empty for the last.

    Returns:
        One line that says what was made.

    Raises:
        SoftHubertError: the folder has no such recordings, a recording is not usable, a speaker lacks a digit, there are fewer than three
            speakers, none has the name of ``test_speaker``, ``utterances`` is below 1, or another corpus is at ``dest``.
    """
    if utterances < 1:
        raise SoftHubertError(f"{utterances} utterances per speaker: expected at least 1")
    refuse_name(os.path.abspath(dest), of_root=True)
    takes = _find(Path(recordings))
    parameters = {"corpus": "digits", "utterances": utterances, "seed": seed, **({"test_speaker": test_speaker} if test_speaker else {})}
    parameters["recordings"] = _fingerprint(takes)
    if is_made(dest, parameters, new="recordings"):
        return f"{dest}: already there"
    speakers = sorted(takes)
    if test_speaker:
        if test_speaker not in takes:
            raise SoftHubertError(f"{recordings}: no recordings of speaker '{test_speaker}', only of {', '.join(speakers)}")
        first = speakers.index(test_speaker) + 1
        speakers = speakers[first:] + speakers[:first]
    split_of = splits_by_speaker(speakers)
    splits: Dict[str, List[Utterance]] = {split: [] for split in SPLITS}
    for speaker in speakers:
        audio = {path: _read(path) for paths in takes[speaker] for path in paths}
        rng = random.Random(f"{seed}/{speaker}")
        queues: List[List[Path]] = [[] for _ in DIGITS]
        for number in tqdm(range(utterances), desc=f"joining {speaker}", unit="utt", disable=None):
            spoken = [rng.randrange(10) for _ in range(rng.randint(3, 7))]
            pieces = [_pause(rng)]
            for digit in spoken:
                if not queues[digit]:
                    queues[digit] = rng.sample(takes[speaker][digit], len(takes[speaker][digit]))
                pieces += [audio[queues[digit].pop()], _pause(rng)]
            samples = np.concatenate(pieces)
            path = f"audio/{split_of[speaker]}/{speaker}/{speaker}-{number:04d}.flac"
            write_flac(Path(dest) / path, samples)
            splits[split_of[speaker]].append(Utterance(path, len(samples), " ".join(DIGITS[digit] for digit in spoken), speaker))
    warnings = write_splits(dest, dest, splits)
    return "\n".join([*warnings, record(dest, parameters, splits, speakers=split_of)])


def _find(folder: Path) -> Dict[str, List[List[Path]]]:
    """Find the recordings of each speaker and digit."""
    if not folder.is_dir():
        raise SoftHubertError(f"{folder}: no such folder; give the 'recordings' folder of the Free Spoken Digit Dataset")
    takes: Dict[str, List[List[Path]]] = {}
    for path in sorted(path for path in folder.glob("*.wav") if not is_hidden(path.name)):
        refuse_name(path.name, path=path)
        match = RECORDING.fullmatch(path.name)
        if match is None:
            raise SoftHubertError(f"{path}: expected a name such as 7_jackson_12.wav (digit, speaker, take); rename or remove it")
        takes.setdefault(match.group(2), [[] for _ in DIGITS])[int(match.group(1))].append(path)
    if not takes:
        raise SoftHubertError(f"{folder}: has no recordings; expected files named {{digit}}_{{speaker}}_{{take}}.wav")
    for speaker, digits in takes.items():
        missing = [str(digit) for digit, paths in enumerate(digits) if not paths]
        if missing:
            raise SoftHubertError(f"{folder}: speaker {speaker} has no recording of {', '.join(missing)}; add them or remove the speaker")
    return takes


def _fingerprint(takes: Dict[str, List[List[Path]]]) -> str:
    """Say in a few characters which recordings these are, wherever their folder is."""
    paths = sorted(path for digits in takes.values() for found in digits for path in found)
    listed = "".join(f"{path.name}\t{path.stat().st_size}\n" for path in paths)
    return f"{len(paths)} files, {hashlib.sha256(listed.encode()).hexdigest()[:16]}"


def _read(path: Path) -> np.ndarray:
    with open_complete(path) as sound:
        length_of(path, sound)
        refuse_form(path, sound)
        rate, samples = int(sound.samplerate), sound.read(dtype="float32")
    refuse_odd_samples(path, samples)
    if rate == SAMPLE_RATE:
        return samples
    import torch
    import torchaudio

    return torchaudio.functional.resample(torch.from_numpy(samples), rate, SAMPLE_RATE).numpy()


def _pause(rng: random.Random) -> np.ndarray:
    """Make a short pause of faint noise. No microphone records digital silence, so noise is closer to real speech."""
    length = int(rng.uniform(*PAUSE_SECONDS) * SAMPLE_RATE)
    return 1e-4 * np.random.default_rng(rng.getrandbits(32)).standard_normal(length).astype(np.float32)
