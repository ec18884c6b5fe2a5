"""A corpus of each kind goes through to a word error rate: its files fit together, from the manifest to the score."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest
from shapes import TINY, save_finetuned
from small_corpora import ManifestCommand, common_voice, kaldi, ljspeech, read_corpus, sound

from softhubert_plugin.cli import main

SPOKEN = ["--normalise", "upper", "punctuation"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned model with random weights, whose outputs are the letters of English."""
    return save_finetuned(tmp_path_factory.mktemp("model") / "checkpoint.pt", TINY)


def _ljspeech(folder: Path) -> List[object]:
    return ["table", ljspeech(folder / "LJSpeech-1.1"), "--preset", "ljspeech", *SPOKEN]


def _common_voice(folder: Path) -> List[object]:
    return ["table", *common_voice(folder / "cv" / "en"), "--preset", "commonvoice", *SPOKEN]


def _nemo(folder: Path) -> List[object]:
    sound(folder / "talk.wav", 6.0, rate=44_100)
    rows = [{"audio_filepath": "talk.wav", "offset": n * 1.5, "duration": 1.4, "text": "so it goes", "speaker": f"s{n}"} for n in range(4)]
    (folder / "manifest.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["table", folder / "manifest.json", "--preset", "nemo", *SPOKEN]


def _kaldi(folder: Path) -> List[object]:
    return ["kaldi", kaldi(folder / "egs")]


def _yesno(folder: Path) -> List[object]:
    """The YesNo corpus, prepared by Lhotse's own recipe: 60 recordings at 8 kHz that say yes and no in the order of their names."""
    pytest.importorskip("lhotse")
    from lhotse import CutSet
    from lhotse.recipes import prepare_yesno

    for said in itertools.islice(itertools.product("01", repeat=8), 60):
        sound(folder / "waves_yesno" / f"{'_'.join(said)}.wav", 0.5, rate=8_000)
    prepared = prepare_yesno(folder / "waves_yesno", folder / "manifests")
    for split, parts in prepared.items():
        CutSet.from_manifests(**parts).to_file(folder / f"cuts_{split}.jsonl.gz")
    cuts = [f"{split}={folder / f'cuts_{split}.jsonl.gz'}" for split in prepared]
    return ["lhotse", *cuts, "--resample-to", folder / "16k"]


# For each kind: how it is made, and the number of utterances and of words in its test split.
KINDS: Dict[str, Tuple[Callable[[Path], List[object]], int, int]] = {
    "a table like LJSpeech": (_ljspeech, 1, 2),
    "tables like Common Voice": (_common_voice, 3, 12),
    "JSON lines like NeMo's": (_nemo, 1, 3),
    "a Kaldi directory": (_kaldi, 2, 5),
    "a corpus of Lhotse's own recipe": (_yesno, 30, 240),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_of_this_kind_goes_through_to_a_word_error_rate(
    kind: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, utterances, words = KINDS[kind]
    ManifestCommand(capsys)(*make(tmp_path), "--dest", tmp_path / "data")
    (references,) = read_corpus(tmp_path / "data", "test").values()
    assert len(references) == utterances and sum(len(line.split("|")[1].split()) for line in references) == words
    decoded = tmp_path / "decoded"
    assert main(["decode", str(tmp_path / "data"), "test", str(checkpoint), str(decoded), "--device", "cpu", "--processes", "1"]) == 0
    assert [line.rpartition(" (")[0] for line in (decoded / "ref.word").read_text().splitlines()] == [
        line.split("|")[1] for line in references
    ]
    assert len((decoded / "hypo.word").read_text().splitlines()) == utterances
    result = tmp_path / "score.json"
    options = ["--manifest", str(tmp_path / "data" / "test.tsv"), "--dest", str(result)]
    assert main(["score", str(decoded / "hypo.word"), str(decoded / "ref.word"), *options]) == 0
    rate = re.search(r"WER ([0-9.]+)", capsys.readouterr().out)
    assert rate is not None and float(rate.group(1)) > 0
    assert f'"words": {words}' in result.read_text()
