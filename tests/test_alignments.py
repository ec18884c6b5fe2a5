"""Phone alignments: every format gives the same frames, folding follows its table, and bad files are refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict

import numpy as np
import pytest

from softhubert_plugin.alignments.phones import ARPABET, TIMIT, fold
from softhubert_plugin.alignments.utterances import UNLABELLED, Alignments
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import Manifest, read_manifest, write_manifest

INTERVALS = [(0.0, 0.1, "sil"), (0.1, 0.3125, "AH0"), (0.3125, 0.41, "B"), (0.41, 0.9, "IY1"), (0.9, 1.0, "")]
EXPECTED = ["sil"] * 5 + ["AH"] * 10 + ["B"] * 5 + ["IY"] * 25 + ["sil"] * 4


def _textgrid(folder: Path) -> Path:
    tiers = []
    for name, rows in (("words", [(0.0, 1.0, "a bee")]), ("phones", INTERVALS)):
        body = "".join(
            f'        intervals [{n}]:\n            xmin = {a}\n            xmax = {b}\n            text = "{t}"\n'
            for n, (a, b, t) in enumerate(rows, start=1)
        )
        tiers.append(
            f'    item [{len(tiers) + 1}]:\n        class = "IntervalTier"\n        name = "{name}"\n        xmin = 0\n        xmax = 1\n'
            f"        intervals: size = {len(rows)}\n{body}"
        )
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1\ntiers? <exists>\nsize = 2\nitem []:\n'
    (folder / "19" / "198").mkdir(parents=True)
    (folder / "19" / "198" / "19-198-0000.TextGrid").write_text(head + "".join(tiers))
    return folder


def _seconds(folder: Path) -> Path:
    (folder / "19-198-0000.lab").write_text("".join(f"{a} {b} {t or 'sp'}\n" for a, b, t in INTERVALS))
    return folder


def _htk(folder: Path) -> Path:
    (folder / "19-198-0000.lab").write_text("".join(f"{a * 1e7:.0f} {b * 1e7:.0f} {t or 'sp'}\n" for a, b, t in INTERVALS))
    return folder


def _samples(folder: Path) -> Path:
    (folder / "19-198-0000.phn").write_text("".join(f"{a * 16000:.0f} {b * 16000:.0f} {t or 'sp'}\n" for a, b, t in INTERVALS))
    return folder


def _xwaves(folder: Path) -> Path:
    (folder / "19-198-0000.lab").write_text("signal x\nnfields 1\n#\n" + "".join(f"  {b} 121 {t or 'sp'}\n" for _, b, t in INTERVALS))
    return folder


def _ctm(folder: Path) -> Path:
    lines = [f"19-198-0000 1 {a:.4f} {b - a:.4f} {t + '_B' if t else 'SIL'}\n" for a, b, t in INTERVALS]
    (folder / "ali.ctm").write_text("".join(lines))
    return folder / "ali.ctm"


def _frame_list(rate: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        phones = [{"AH": "AH0"}.get(phone, phone) for phone in EXPECTED for _ in range(rate // 50)]
        (folder / "phones.tsv").write_text(f"19-198-0000\t{','.join(phones)}\n")
        return folder / "phones.tsv"

    return write


WRITERS: Dict[str, Callable[[Path], Path]] = {
    "textgrid": _textgrid, "lab in seconds": _seconds, "lab in 100 ns": _htk, "phn in samples": _samples, "xwaves": _xwaves, "ctm": _ctm,
    "list at 50": _frame_list(50), "list at 100": _frame_list(100),
}  # fmt: skip


@pytest.fixture()
def manifest(tmp_path: Path) -> Manifest:
    """A manifest of one utterance of one second."""
    write_manifest(tmp_path / "train.tsv", tmp_path, [("audio/19-198-0000.flac", 16_000)])
    return read_manifest(tmp_path / "train.tsv")


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_the_same_frames(form: str, manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "ali").mkdir()
    alignments = Alignments(WRITERS[form](tmp_path / "ali"), manifest)
    assert alignments.phone_set == "arpabet" and alignments.phones == ["AH", "B", "IY", "sil"]
    # Frame 15 is centred at 0.3125 s, where B begins, so it belongs to B.
    assert [alignments.phones[phone] for phone in alignments.frames(0, 49, 50.0)] == EXPECTED
    at_mfcc = alignments.frames(0, 98, 100.0)
    np.testing.assert_array_equal(at_mfcc[::2], alignments.frames(0, 49, 50.0))


def test_gaps_are_silence_and_frames_outside_have_no_phone(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "19-198-0000.lab").write_text("0.1 0.2 B\n0.3 0.4 IY1\n")
    alignments = Alignments(tmp_path, manifest)
    names = [alignments.phones[phone] if phone != UNLABELLED else "-" for phone in alignments.frames(0, 25, 50.0)]
    assert names == ["-"] * 5 + ["B"] * 5 + ["sil"] * 5 + ["IY"] * 5 + ["-"] * 5


def test_folding_follows_its_table() -> None:
    arpabet = [fold(label, "arpabet") for label in ("AH0", "AH2_E", "B_S", "sp", "", "SIL_S", "spn")]
    assert arpabet == ["AH", "AH", "B", "sil", "sil", "sil", "spn"]
    assert [fold(label, "timit") for label in ("ao", "ix", "bcl", "h#", "zh", "q")] == ["aa", "ih", "sil", "sil", "sh", "sil"]
    assert [fold(label, "espeak") for label in ("I2", "t#", "0", "3:", "aI")] == ["I", "t", "0", "3:", "aI"]
    assert fold("Ω", "arpabet") is None and fold("Ω", "asis") == "Ω"
    assert len(ARPABET) == 39 and len(TIMIT) == 39


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("0 0.5 B\n0.4 0.9 IY1\n", "overlapping intervals: 'IY1' from 0.4000"),
        ("0 0.5 B\n0.5 1.4 IY1\n", "from 0.00 to 1.40 s, but the audio is 1.00 s long"),
        ("0 0.5 B\n0.5 nought IY1\n", "line 2: expected 'start end label'"),
        ("", "is empty"),
        ("0 1.0 Ж\n", "an unknown phone set; nearest is"),
    ],
)
def test_bad_alignments_are_refused_in_one_line(lines: str, complaint: str, manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "19-198-0000.lab").write_text(lines)
    with pytest.raises(SoftHubertError, match=complaint.replace("(", r"\(")):
        Alignments(tmp_path, manifest)


def test_missing_and_foreign_alignments_are_named(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match=r"no \.TextGrid, \.lab or \.phn files"):
        Alignments(tmp_path, manifest)
    with pytest.raises(SoftHubertError, match="nowhere: no such alignments"):
        Alignments(tmp_path / "nowhere", manifest)
    (tmp_path / "26-495-0000.lab").write_text("0 1 B\n")
    with pytest.raises(SoftHubertError, match="no alignment of 1 of the 1 utterances .* the first 19-198-0000"):
        Alignments(tmp_path, manifest)
    (tmp_path / "19-198-0000.TextGrid").write_text("nonsense")
    with pytest.raises(SoftHubertError, match="not a TextGrid that can be read"):
        Alignments(tmp_path, manifest)
    (tmp_path / "notes.txt").write_text("some words\n")
    with pytest.raises(SoftHubertError, match=r"expected a CTM .* or a frame list .*, found 'some words\\n'"):
        Alignments(tmp_path / "notes.txt", manifest)
