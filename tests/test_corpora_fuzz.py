"""The files that describe a corpus, with bytes changed at random: each is read, or refused in one line that names it."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import pytest
from small_corpora import kaldi, sound, table

from softhubert_plugin.corpora.assemble import Wishes
from softhubert_plugin.corpora.kaldi import write_kaldi_manifests
from softhubert_plugin.corpora.lhotse_cuts import write_lhotse_manifests
from softhubert_plugin.corpora.table import table_form, write_table_manifests
from softhubert_plugin.errors import SoftHubertError

MUTATIONS = 300
PIECES = [
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\t",
    b'"',
    b"|",
    b",",
    b"-1",
    b"nan",
    b"1e999",
    b"9" * 400,
    b"[",
    b"{" * 50,
    b" ",
]


def _mutated(content: bytes, rng: random.Random) -> bytes:
    """Change one to three places: a byte, a piece that is taken away, repeated or put in, or the end."""
    for _ in range(rng.randint(1, 3)):
        place, length = rng.randrange(len(content) + 1), rng.randint(1, 12)
        kind = rng.randrange(6)
        if kind == 0:
            content = content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :]
        elif kind == 1:
            content = content[:place] + content[place + length :]
        elif kind == 2:
            content = content[:place] + content[place : place + length] * 2 + content[place + length :]
        elif kind == 3:
            content = content[: max(1, place)]
        else:
            content = content[:place] + rng.choice(PIECES) + content[place:]
    return content


def _table_run(folder: Path) -> Tuple[Path, Callable[[Wishes], str]]:
    rows = [(f"{number}.wav", "GO ON", f"p{number % 3}", 0.1, 0.4) for number in range(3)]
    path = table(folder / "t.csv", rows, header="path,text,speaker,start,duration")
    return path, lambda wishes: write_table_manifests([f"train={path}"], table_form(None, {}), wishes)


def _json_run(folder: Path) -> Tuple[Path, Callable[[Wishes], str]]:
    sound(folder / "a.wav", 3.0)
    path = folder / "t.jsonl"
    path.write_text("".join(f'{{"path": "a.wav", "text": "GO ON", "speaker": "p{n}", "start": {n}, "duration": 0.5}}\n' for n in range(3)))
    return path, lambda wishes: write_table_manifests([f"train={path}"], table_form(None, {}), wishes)


def _kaldi_run(name: str) -> Callable[[Path], Tuple[Path, Callable[[Wishes], str]]]:
    def run(folder: Path) -> Tuple[Path, Callable[[Wishes], str]]:
        data = kaldi(folder)
        return data / name, lambda wishes: write_kaldi_manifests([f"train={data}"], wishes)

    return run


def _cuts_run(folder: Path) -> Tuple[Path, Callable[[Wishes], str]]:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
    from lhotse.supervision import AlignmentItem

    recording = Recording.from_file(sound(folder / "a.wav", 3.0))
    spoken = [
        SupervisionSegment(f"s{n}", "a", n, 0.8, 0, text="GO", speaker=f"p{n}", alignment={"phone": [AlignmentItem("G", n + 0.1, 0.2)]})
        for n in (0, 1, 2)
    ]
    cuts = [MonoCut(f"c{n}", 0.0, 3.0, 0, [supervision], recording=recording) for n, supervision in enumerate(spoken)]
    CutSet.from_cuts(cuts).to_file(folder / "cuts.jsonl")
    return folder / "cuts.jsonl", lambda wishes: write_lhotse_manifests([f"train={folder / 'cuts.jsonl'}"], wishes)


RUNS: Dict[str, Callable[[Path], Tuple[Path, Callable[[Wishes], str]]]] = {
    "a table": _table_run,
    "JSON lines": _json_run,
    **{name: _kaldi_run(name) for name in ("wav.scp", "segments", "text", "utt2spk")},
    "cuts": _cuts_run,
}


@pytest.mark.parametrize("kind", RUNS)
def test_a_changed_file_is_read_or_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    if kind == "cuts" and importlib.util.find_spec("lhotse") is None:
        pytest.skip("could not import 'lhotse'")
    path, run = RUNS[kind](tmp_path)
    content, rng = path.read_bytes(), random.Random(kind)
    outcomes: List[str] = []
    for number in range(MUTATIONS):
        path.write_bytes(_mutated(content, rng))
        # Every second run leaves faulty utterances out, so that the rest of the file is read too.
        wishes = Wishes(tmp_path / "out", skip_unreadable=bool(number % 2))
        try:
            run(wishes)
            outcomes.append("read")
        except SoftHubertError as error:
            assert str(tmp_path) in str(error)
            outcomes.append("refused")
    assert outcomes.count("read") > 20 and outcomes.count("refused") > 20
