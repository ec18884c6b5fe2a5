"""Every text file is read the same with byte order marks, Windows line ends and an unfinished last line; other encodings are refused."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np
import pytest
from fairseq.tasks import setup_task
from noise_corpus import write_corpus
from omegaconf import OmegaConf

from softhubert_plugin.alignments.formats import read_ctm, read_frame_list, read_lab
from softhubert_plugin.alignments.utterances import Alignments
from softhubert_plugin.asr.beam import read_search_config
from softhubert_plugin.asr.ctc_targets import write_letter_targets
from softhubert_plugin.asr.language_model import write_language_model
from softhubert_plugin.asr.lexicon import plain_lexicon, read_lexicon
from softhubert_plugin.asr.tune import read_tuned
from softhubert_plugin.audio.random_access import AudioFiles
from softhubert_plugin.checkpoints.load import register_plugin
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import read_shard
from softhubert_plugin.labels.convert import convert_labels
from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.merge import merge_labels
from softhubert_plugin.manifests import (
    read_dictionary,
    read_lines,
    read_manifest,
    write_cluster_dictionary,
    write_letter_dictionary,
    write_manifest,
    write_transcripts,
)
from softhubert_plugin.report.experiment import read_experiment
from softhubert_plugin.scoring.score import load_score, score_files
from softhubert_plugin.settings import SoftHubertPretrainingConfig
from softhubert_plugin.text_files import read_json, read_lines_of, read_text_of

MARK = b"\xef\xbb\xbf"
WAYS: Dict[str, Callable[[bytes], bytes]] = {
    "mark": lambda content: MARK + content,
    "two marks": lambda content: MARK + MARK + content,
    "Windows": lambda content: MARK + content.replace(b"\n", b"\r\n"),
    "no last line end": lambda content: content.rstrip(b"\n"),
    "all of it": lambda content: MARK + content.rstrip(b"\n").replace(b"\n", b"\r\n"),
    "joined": lambda content: MARK + content.replace(b"\n", b"\n" + MARK, 1),
}


def _manifest(path: Path) -> Any:
    found = read_manifest(path)
    located = [str(AudioFiles(found).location(index)) for index in range(len(found))]
    assert located == [str(found.audio_path(index)) for index in range(len(found))]
    return str(found.root), found.names, found.sizes.tolist(), found.fingerprint


def _hard(path: Path) -> Any:
    write_cluster_dictionary(path.parent, "km", 5)
    labels = HardLabels(path, path.parent / "dict.km.txt")
    return [labels.utterance(index).components.tolist() for index in range(len(labels))]


def _shard(path: Path) -> Any:
    shard = read_shard(path.parent, "train", 0, 1)
    return shard.lengths.tolist(), shard.info


def _dense(path: Path) -> str:
    np.save(path.with_suffix(".npy"), np.full((5, 4), 0.25, dtype=np.float32))
    return convert_labels(path.with_suffix(".npy"), path.with_name("out.gmm"), label_rate=50.0)


def _language_model(path: Path) -> str:
    write_language_model([path], path.parent / "lm", order=2, lexicon_from=path)
    return "".join((path.parent / "lm" / name).read_text() for name in ("lm.arpa", "lexicon.txt"))


def _targets(path: Path) -> str:
    write_manifest(path.parent / "train.tsv", path.parent, [("a.flac", 100), ("b.flac", 100)])
    write_letter_targets(path.parent, ["train"], path.parent / "out", drop=True)
    return "".join((path.parent / "out" / name).read_text() for name in ("train.ltr", "dict.ltr.txt", "train.tsv"))


def _scored(path: Path) -> Any:
    (path.parent / "other").write_text("GO ON (a-1)\nNO (a-2)\n")
    scores = score_files(path, path.parent / "other"), score_files(path.parent / "other", path)
    return [(score.errors.tolist(), score.words.tolist()) for score in scores]


def _experiment(path: Path) -> Any:
    if path.name != "experiment.json":
        (path.parent / "experiment.json").write_text('{"name": "x"}')
    found = read_experiment(path.parent)
    return found.name, found.stages, found.commands.rstrip("\n"), found.labels


def _lexicon(path: Path) -> Any:
    with plain_lexicon(path) as copy:
        return read_lexicon(path), Path(str(copy)).read_bytes().rstrip(b"\n")


def _alignments(path: Path) -> Any:
    write_manifest(path.parent / "all.tsv", path.parent, [("u1.flac", 16_000)])
    found = Alignments(path, read_manifest(path.parent / "all.tsv"))
    return found.phones, found.frames(0, 50, 50.0).tolist()


READERS: Dict[str, Any] = {
    "manifest": ("train.tsv", "/audio\na b.flac\t100\nc\u00e9.flac\t200\n", _manifest),
    "transcripts": ("train.wrd", "GO ON\nNO\n", lambda path: read_lines(path, expected=2, of="train.tsv")),
    "dictionary": ("dict.ltr.txt", "| 5\nE 3\n", read_dictionary),
    "cluster dictionary": ("dict.km.txt", "0 1\n1 1\n", read_dictionary),
    "hard labels": ("train.km", "0 1 1\n4\n", _hard),
    "hard label shards": ("train_0_1.km", "0 1 1\n4\n", lambda path: merge_labels(path.parent, "train", 1, clusters=5)),
    "lengths of features": ("train_0_1.len", "2\n3\n", _shard),
    "description of features": ("train_0_1.json", '{"kind": "mfcc"}\n', _shard),
    "lengths of dense labels": ("train.len", "2\n3\n", _dense),
    "text of a language model": ("text", "GO\nON\nGO\n", _language_model),
    "transcripts for targets": ("train.wrd", "GO ON\nNO\n", _targets),
    "trn": ("hyp", "GO UP (a-1)\nNO (a-2)\n", _scored),
    "lexicon": ("lexicon.txt", "GO\tG O |\nON\tO N |\n", _lexicon),
    "search configuration": ("kenlm.yaml", "decoding:\n  type: kenlm\n  beam: 7\n", read_search_config),
    "tuned weights": ("tuned.json", '{"lm_weight": 1,\n "word_score": 2}\n', read_tuned),
    "score": ("score.json", '{"wer": 0,\n"low": 0, "high": 0, "cer": 0, "per_utterance": {}}\n', load_score),
    "experiment": ("experiment.json", '{"name": "one",\n"x": 1}\n', _experiment),
    "stages": ("timings.tsv", "data\t3\nmfcc\t4.5\n", _experiment),
    "commands": ("commands.txt", "+ softhubert x\n+ softhubert y\n", _experiment),
    "labels of an experiment": ("labels.json", '{"components": 3}\n', _experiment),
    "CTM": ("phones.ctm", "u1 1 0.0 0.5 AA\nu1 1 0.5 0.5 B\n", lambda path: (read_ctm(path)["u1"].intervals(), _alignments(path))),
    "frame list": ("phones.tsv", "u1\tAA,B\nu2\tAA,AA\n", read_frame_list),
    "lab": ("u1.lab", "0 0.5 AA\n0.5 1 B\n", read_lab),
}


# A shard of hard labels that does not end its last line was cut; it is refused.
CASES = [(name, way) for name in READERS for way in WAYS if name != "hard label shards" or way not in ("no last line end", "all of it")]


@pytest.mark.parametrize(("name", "way"), CASES)
def test_a_file_from_windows_says_the_same(name: str, way: str, tmp_path: Path) -> None:
    file, text, read = READERS[name]
    results = []
    for kind, change in (("clean", bytes), ("changed", WAYS[way])):
        folder = tmp_path / kind
        folder.mkdir()
        if read is _shard:
            np.save(folder / "train_0_1.npy", np.zeros((5, 3), dtype=np.float32))
            (folder / "train_0_1.len").write_text("2\n3\n")
        (folder / file).write_bytes(change(text.encode()))
        found = read(folder / file)
        results.append(found.replace(str(folder), "") if isinstance(found, str) else found)
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("GÖ ON\n".encode("utf-16"), "UTF-16 text, expected UTF-8; convert it: iconv -f UTF-16 -t UTF-8"),
        (b"\xfe\xff" + "GO\n".encode("utf-16-be"), "UTF-16 text"),
        ("GO\n".encode("utf-32"), "UTF-32 text"),
        ("GO ON\n".encode("utf-16-le"), "line 1: a zero byte, expected UTF-8 text; if it is UTF-16: iconv -f UTF-16LE -t UTF-8"),
        ("GO\nCAFÉ\n".encode("latin-1"), "line 2: not UTF-8 text .*often Latin-1: iconv -f LATIN1 -t UTF-8"),
        (b"GO\n\x80\n", "line 2: not UTF-8 text"),
        (gzip.compress(b"GO ON\n", mtime=0), "compressed by gzip, expected text; decompress it: gunzip"),
        (b"GO\nO\x00N\n", "line 2: a zero byte"),
    ],
)
def test_other_encodings_are_refused_with_the_remedy(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(content)
    for read in (read_text_of, read_lines_of, lambda path: read_json(path, remedy="write it again")):
        with pytest.raises(SoftHubertError, match=f"text.*{complaint}"):
            read(path)


def test_a_mark_within_a_line_is_text_and_a_mark_at_its_beginning_is_not(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(MARK + b"A" + MARK + b"B\n" + MARK + b"C\n")
    assert read_lines_of(tmp_path / "text") == ["A\ufeffB", "C"]


def test_only_line_feeds_end_lines_except_on_an_old_mac(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("A\u2028B\x0bC\x85D\n\nE\rF\n".encode())
    assert read_lines_of(path) == ["A\u2028B\x0bC\x85D", "", "E\rF"]
    path.write_bytes(b"A\rB\r")
    assert read_lines_of(path) == ["A", "B"]
    path.write_bytes(b"/audio\ra.flac\t1\r" + MARK + b"b.flac\t2")
    assert _manifest(path)[1] == ["a.flac", "b.flac"]
    path.write_bytes(b"")
    assert read_lines_of(path) == []


@pytest.mark.parametrize("windows", [False, True])
def test_fine_tuning_gets_the_letters_of_its_own_transcript_only(windows: bool, tmp_path: Path) -> None:
    """fairseq alone reads beyond a transcript with letters outside ASCII, and shifts all after a line end of two bytes."""
    register_plugin()
    texts = ["ÉÉÉ TWO", "THREE", "FÖUR FIVE SIX", "SEVEN"]
    write_corpus(tmp_path)
    write_transcripts(tmp_path, "train", texts)
    write_letter_dictionary(tmp_path, texts)
    if windows:
        for name in ("train.tsv", "train.ltr", "dict.ltr.txt"):
            (tmp_path / name).write_bytes(WAYS["all of it"]((tmp_path / name).read_bytes()))
    settings = {
        "_name": "soft_hubert_pretraining",
        "data": str(tmp_path),
        "labels": ["ltr"],
        "label_rate": -1.0,
        "fine_tuning": True,
        "seed": 1,
    }
    settings.update(min_sample_size=9_000, max_keep_size=20_000)  # leaves out the first and the last utterance
    task = setup_task(OmegaConf.merge(OmegaConf.structured(SoftHubertPretrainingConfig()), {**settings, "train_subset": "train"}))
    task.load_dataset("train")
    dataset = task.datasets["train"]
    assert [task.target_dictionary.string(dataset.get_label(index, 0)) for index in range(2)] == [
        "T H R E E |",
        "F Ö U R | F I V E | S I X |",
    ]
    assert [len(dataset[index]["source"]) for index in range(2)] == [8_000 + 4_837, 8_000 + 2 * 4_837]


def test_letters_that_cannot_be_seen_are_named(tmp_path: Path) -> None:
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a.flac", 100)])
    (tmp_path / "train.wrd").write_text("GO\u200bON A\ufeffB\n", encoding="utf-8")
    said = write_letter_targets(tmp_path, ["train"], tmp_path / "out")
    assert said.endswith("; warning: U+200B, U+FEFF cannot be seen in a text, but the model will have to recognise it")
    (tmp_path / "train.wrd").write_text("\ufeffGO ON\n", encoding="utf-8")
    assert "warning" not in write_letter_targets(tmp_path, ["train"], tmp_path / "out")
