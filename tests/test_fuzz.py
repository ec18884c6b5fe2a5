"""Random manifests, labels, alignments and scores: what is written reads back, and any other file is read or refused by name."""

from __future__ import annotations

import string
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Callable, List, Tuple

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_labels import INFO

from softhubert_plugin.alignments.formats import read_ctm, read_frame_list, read_lab, read_textgrid
from softhubert_plugin.audio.random_access import AudioFiles
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.manifests import read_dictionary, read_lines, read_manifest, write_manifest, write_transcripts
from softhubert_plugin.scoring.edits import edit_steps, errors_in
from softhubert_plugin.scoring.score import score_files

few = settings(max_examples=60, deadline=None)
# Any character that a file name or a transcript may contain, including Unicode's line separators.
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0")
names = st.text(characters, min_size=1, max_size=20).filter(lambda name: "\t" not in name and name == name.lstrip())
words = st.lists(st.text(string.ascii_uppercase + "'", min_size=1, max_size=6), max_size=8)


@few
@given(st.lists(st.tuples(names, st.integers(1, 2**40)), min_size=1, max_size=8))
def test_a_manifest_reads_back(entries: List[Tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.tsv"
        write_manifest(path, folder, entries)
        manifest = read_manifest(path)
        assert list(zip(manifest.names, manifest.sizes.tolist())) == entries
        audio = AudioFiles(manifest)
        assert [audio.location(index) for index in range(len(entries))] == [Path(folder) / name for name, _ in entries]


@few
@given(st.lists(st.text(characters, min_size=1, max_size=20).filter(lambda text: text.split()), min_size=1, max_size=8))
def test_transcripts_read_back_line_by_line(texts: List[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_transcripts(folder, "train", texts)
        for suffix in ("wrd", "ltr"):
            assert len(read_lines(Path(folder) / f"train.{suffix}", expected=len(texts), of="train.tsv")) == len(texts)
        assert [line.split() for line in (Path(folder) / "train.wrd").read_text("utf-8").split("\n")[:-1]] == [
            text.split() for text in texts
        ]


READERS: List[Callable[[Path], object]] = [
    read_manifest,
    read_dictionary,
    read_lab,
    read_ctm,
    read_frame_list,
    read_textgrid,
    lambda path: score_files(path, path),
]


@pytest.mark.parametrize("reader", READERS, ids=["manifest", "dictionary", "lab", "ctm", "frame list", "TextGrid", "score"])
@settings(max_examples=40, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=60),
        st.text(alphabet=string.ascii_letters + string.digits + " \t\n.#-,()e" + "\x0b\u2028", max_size=80).map(str.encode),
        st.lists(
            st.sampled_from([b"a", b"-1", b"0", b"nan", b"inf", b"1e999", b"\t", b" ", b"\n", b"A (x-1)", b"9" * 30]), max_size=20
        ).map(b"".join),
    )
)
def test_any_file_is_read_or_refused_by_name(reader: Callable[[Path], object], content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.txt"
        path.write_bytes(content)
        try:
            reader(path)
        except SoftHubertError as error:
            assert "any.txt" in str(error)


@few
@given(
    st.lists(
        st.lists(
            st.lists(st.tuples(st.integers(0, 299), st.integers(1, 65_535)), min_size=1, max_size=5, unique_by=lambda entry: entry[0]),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_soft_labels_read_back(utterances: List[List[List[Tuple[int, int]]]]) -> None:
    stored = []
    for frames in utterances:
        entries = [entry for frame in frames for entry in frame]
        counts = np.asarray([len(frame) for frame in frames], dtype=np.uint8)
        stored.append((counts, *(np.asarray(column, dtype=np.uint16) for column in zip(*entries))))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.gmm"
        write_soft_labels(path, stored, replace(INFO, frames=sum(map(len, utterances))))
        labels = open_soft_labels(path)
        assert labels.lengths.tolist() == list(map(len, utterances))
        for index, expected in enumerate(stored):
            assert all(np.array_equal(found, part) for found, part in zip(labels.stored(index), expected))
            sums = np.add.reduceat(labels.utterance(index).probabilities, np.cumsum(expected[0], dtype=np.int64) - expected[0])
            np.testing.assert_allclose(sums, 1, rtol=1e-5)


@few
@given(words, words)
def test_an_alignment_rebuilds_both_sides_and_costs_what_jiwer_counts(reference: List[str], hypothesis: List[str]) -> None:
    steps = edit_steps(reference, hypothesis)
    assert len(steps) - steps.count("I") == len(reference) and len(steps) - steps.count("D") == len(hypothesis)
    left, right = iter(reference), iter(hypothesis)
    for step in steps:
        one, other = (None if step == "I" else next(left)), (None if step == "D" else next(right))
        assert (one == other) == (step == "C")
    if reference:
        found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
        assert errors_in(steps) == found.substitutions + found.deletions + found.insertions


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(words.filter(bool), words), min_size=1, max_size=5))
def test_scores_equal_jiwers(pairs: List[Tuple[List[str], List[str]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for side in (0, 1):
            lines = [f"{' '.join(pair[side])} (s{index % 2}-{index})" for index, pair in enumerate(pairs)]
            (Path(folder) / f"{side}.word").write_text("\n".join(lines) + "\n", encoding="utf-8")
        score = score_files(Path(folder) / "1.word", Path(folder) / "0.word")
    expected = jiwer.process_words(*([" ".join(pair[side]) for pair in pairs] for side in (0, 1)))
    assert score.errors.sum() / score.words.sum() == pytest.approx(expected.wer)
