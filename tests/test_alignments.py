"""Phone alignments: every format gives the same frames, folding follows its table, and bad files are refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List

import numpy as np
import pytest

from softhubert_plugin.alignments.phones import ARPABET, PHONE_SETS, TIMIT, fold
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


def _manifest(folder: Path, seconds: Dict[str, float]) -> Manifest:
    write_manifest(folder / "train.tsv", folder, [(name, round(16_000 * length)) for name, length in seconds.items()])
    return read_manifest(folder / "train.tsv")


def _write(folder: Path, files: Dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.fixture()
def manifest(tmp_path: Path) -> Manifest:
    """A manifest of one utterance of one second."""
    return _manifest(tmp_path, {"audio/19-198-0000.flac": 1.0})


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_the_same_frames(form: str, manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "ali").mkdir()
    alignments = Alignments(WRITERS[form](tmp_path / "ali"), manifest)
    assert alignments.phone_set == "arpabet" and alignments.phones == ["AH", "B", "IY", "sil"]
    # Frame 15 is centred at 0.3125 s, where B begins, so it belongs to B.
    assert [alignments.phones[phone] for phone in alignments.frames(0, 49, 50.0)] == EXPECTED
    at_mfcc = alignments.frames(0, 98, 100.0)
    np.testing.assert_array_equal(at_mfcc[::2], alignments.frames(0, 49, 50.0))


def test_gaps_are_silence_and_frames_outside_have_no_phone(tmp_path: Path) -> None:
    (tmp_path / "19-198-0000.lab").write_text("0.1 0.2 B\n0.3 0.4 IY1\n")
    alignments = Alignments(tmp_path, _manifest(tmp_path, {"audio/19-198-0000.flac": 0.5}))
    names = [alignments.phones[phone] if phone != UNLABELLED else "-" for phone in alignments.frames(0, 25, 50.0)]
    assert names == ["-"] * 5 + ["B"] * 5 + ["sil"] * 5 + ["IY"] * 5 + ["-"] * 5


def test_folding_follows_its_table() -> None:
    arpabet = [fold(label, "arpabet") for label in ("AH0", "AH2_E", "B_S", "sp", "", "SIL_S", "spn")]
    assert arpabet == ["AH", "AH", "B", "sil", "sil", "sil", "spn"]
    assert [fold(label, "timit") for label in ("ao", "ix", "bcl", "h#", "zh", "q")] == ["aa", "ih", "sil", "sil", "sh", "sil"]
    assert [fold(label, "espeak") for label in ("I2", "t#", "0", "3:", "aI")] == ["I", "t", "0", "3:", "aI"]
    assert fold("Ω", "arpabet") is None and fold("Ω", "asis") == "Ω"
    assert len(ARPABET) == 39 and len(TIMIT) == 39


@pytest.mark.parametrize("phone_set", PHONE_SETS)
def test_the_marks_of_kaldi_mfa_and_webmaus_are_silence_and_noise_in_every_set(phone_set: str) -> None:
    silence = [
        "", "sil", "SIL", "SIL_B", "Sil", "sp", "SP", "!SIL", "<eps>", "<sil>", "<p:>", "<p>", "pau", "h#", "H#", "silB", "[silence]",
        "{SL}",
    ]  # fmt: skip
    noise = [
        "spn", "SPN", "SPN_S", "nsn", "NSN", "NSN_S", "LAU", "lau_E", "GBG", "<unk>", "<UNK>", "<usb>", "<nib>", "[noise]", "{LG}",
        "+BREATH+", "++SMACK++", "<cutoff>",
    ]  # fmt: skip
    assert {fold(label, phone_set) for label in silence} == {"sil"}
    assert {fold(label, phone_set) for label in noise} == {"spn"}
    # SAMPA's vowels are no brackets, and words are no noise.
    for label in ("{", "{:", "}", "2:", "p:", "?", "noise", "laughter"):
        assert fold(label, "asis") == label


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
    with pytest.raises(SoftHubertError, match=r"expected a CTM .* or a frame list .*, found 'some words'"):
        Alignments(tmp_path / "notes.txt", manifest)


def _phones(alignments: Alignments, index: int) -> List[str]:
    """The phones of an utterance, each once."""
    frames = alignments.frames(index, int(alignments.manifest.sizes[index] / 320), 50.0)
    return list(dict.fromkeys(alignments.phones[phone] for phone in frames if phone != UNLABELLED))


SPEAKERS = {"spk1/001.flac": 1.0, "spk2/001.flac": 1.0, "spk2/002.flac": 1.0}


def test_an_utterance_never_gets_the_phones_of_another_that_has_its_name(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path, SPEAKERS)
    folder = _write(tmp_path / "ali", {"spk1/001.lab": "0 1 B\n", "spk2/002.lab": "0 1 S\n"})
    with pytest.raises(SoftHubertError, match=r"no alignment of 1 of the 3 utterances .* the first spk2/001\.flac \(.*spk1/001\.lab has"):
        Alignments(folder, manifest)
    _write(folder, {"spk2/001.lab": "0 1 K\n"})
    alignments = Alignments(folder, manifest)
    assert [_phones(alignments, index) for index in range(3)] == [["B"], ["K"], ["S"]]


def test_an_utterance_without_alignment_stays_without_where_few_are_missing(tmp_path: Path) -> None:
    names = {f"spk{speaker}/{number:03d}.flac": 1.0 for speaker in (1, 2) for number in range(20)}
    manifest = _manifest(tmp_path, names)
    folder = _write(tmp_path / "ali", {f"{name[:-5]}.lab": "0 1 B\n" for name in names if name != "spk2/007.flac"})
    alignments = Alignments(folder, manifest)
    assert alignments.missing == ["spk2/007.flac"] and not alignments.has(27) and alignments.has(7)


TIMIT_TREE = {
    "TRAIN/DR1/FCJF0/SA1.PHN": "0 16000 b\n",
    "TRAIN/DR1/FDAW0/SA1.PHN": "0 16000 s\n",
    "TRAIN/DR1/FCJF0/SA1.TXT": "0 16000 She had your dark suit.\n",
    "TRAIN/DR1/FCJF0/SA1.WRD": "0 16000 she\n",
    "TRAIN/DR1/FCJF0/SX3.PHN": "0 100 t\n",
}


@pytest.mark.parametrize(
    ("audio", "files", "expected"),
    [
        (["TRAIN/DR1/FCJF0/SA1.WAV", "TRAIN/DR1/FDAW0/SA1.WAV"], TIMIT_TREE, ["b", "s"]),
        # As a popular copy of TIMIT names the audio, and in another case.
        (
            ["TRAIN/DR1/FCJF0/SA1.WAV.wav", "TRAIN/DR1/FDAW0/SA1.WAV.wav"],
            {"train/dr1/fcjf0/sa1.phn": "0 16000 b\n", "train/dr1/fdaw0/sa1.phn": "0 16000 s\n"},
            ["b", "s"],
        ),
        # Another root.
        (["DR1/FCJF0/SA1.WAV", "DR2/FDAW0/SA1.WAV"], {"T/DR1/FCJF0/SA1.PHN": "0 1 b\n", "T/DR2/FDAW0/SA1.PHN": "0 1 s\n"}, ["b", "s"]),
        (["DR1/FCJF0/SA1.WAV", "DR2/FDAW0/SA1.WAV"], {**TIMIT_TREE, "TRAIN/DR2/FDAW0/SA1.PHN": "0 16000 s\n"}, ["b", "s"]),
        (["x/y/s1/1.flac", "x/z/s2/1.flac"], {"s1/1.lab": "0 1 B\n", "s2/1.lab": "0 1 S\n"}, ["B", "S"]),
        # A folder of each kind, as in CMU ARCTIC.
        (["bdl/wav/a0001.wav", "slt/wav/a0001.wav"], {"bdl/lab/a0001.lab": "0 1 B\n", "slt/lab/a0001.lab": "0 1 S\n"}, ["B", "S"]),
        # By name, in one folder and in other folders.
        (["84/121/84-121-0.flac", "26/495/26-495-0.flac"], {"84-121-0.lab": "0 1 B\n", "26-495-0.lab": "0 1 S\n"}, ["B", "S"]),
        (["84/121/84-121-0.flac", "26/495/26-495-0.flac"], {"84/84-121-0.lab": "0 1 B\n", "26/26-495-0.lab": "0 1 S\n"}, ["B", "S"]),
        (["spk1/001.flac", "spk2/002.flac"], {"spk1/001.lab": "0 1 B\n", "002.lab": "0 1 S\n"}, ["B", "S"]),
        # One name is composed, the other decomposed, as file systems of macOS have them.
        (["caf\u00e9.wav", "b.wav"], {"cafe\u0301.lab": "0 1 B\n", "b.lab": "0 1 S\n", "._b.lab": "\x00\x05"}, ["B", "S"]),
        # Only the case tells two names apart.
        (["a.wav", "A.wav"], {"a.lab": "0 1 B\n", "A.lab": "0 1 S\n"}, ["B", "S"]),
        (["rec.1.wav", "rec.2.wav"], {"rec.1.lab": "0 1 B\n", "rec.2.lab": "0 1 S\n"}, ["B", "S"]),
    ],
)
def test_alignments_and_utterances_are_joined_by_path_and_then_by_name(
    audio: List[str], files: Dict[str, str], expected: List[str], tmp_path: Path
) -> None:
    alignments = Alignments(_write(tmp_path / "ali", files), _manifest(tmp_path, dict.fromkeys(audio, 1.0)))
    assert [_phones(alignments, index) for index in range(len(audio))] == [[phone] for phone in expected]


@pytest.mark.parametrize(
    ("audio", "files", "complaint"),
    [
        (["spk1/001.flac", "spk2/001.flac"], ["001.lab"], r"001\.lab may be of spk1/001\.flac and of spk2/001\.flac; name alignments by"),
        (["spk1/001.flac", "spk2/001.flac"], ["spk1/001.lab", "001.lab"], r"ali/001\.lab may be of spk2/001\.flac and of spk1/001\.flac"),
        (["001.flac"], ["a/001.lab", "b/001.lab"], r"ali/a/001\.lab and .*ali/b/001\.lab may both be of 001\.flac"),
        (["x/1.flac"], ["a/x/1.lab", "b/x/1.lab"], r"ali/a/x/1\.lab and .*ali/b/x/1\.lab may both be of x/1\.flac"),
        (["a/x/1.flac", "b/x/1.flac"], ["x/1.lab"], r"x/1\.lab may be of a/x/1\.flac and of b/x/1\.flac"),
        (["x/001.flac"], ["x/001.lab", "x/001.phn"], r"001\.lab and .*001\.phn may both be of x/001\.flac"),
        (["x/001.flac"], ["x/001.lab", "x/001.LAB"], r"may both be of x/001\.flac"),
        (["x/001.flac", "x/001.wav"], ["x/001.lab"], r"001\.lab may be of x/001\.flac and of x/001\.wav"),
        # The folders agree for one utterance, so another person's folder is not taken for the other's.
        (
            ["spk1/001.flac", "spk2/002.flac"],
            ["spk1/001.lab", "spk3/002.lab"],
            r"1 of the 2 utterances .* the first 002 \(.*spk3/002\.lab",
        ),
        (
            ["bdl/wav/1.wav", "slt/wav/2.wav"],
            ["bdl/lab/1.lab", "clb/lab/2.lab"],
            r"1 of the 2 utterances .* the first 2 \(.*clb/lab/2",
        ),
    ],
)
def test_alignments_that_may_be_of_several_utterances_are_refused(
    audio: List[str], files: List[str], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(SoftHubertError, match=complaint):
        Alignments(_write(tmp_path / "ali", dict.fromkeys(files, "0 1 B\n")), _manifest(tmp_path, dict.fromkeys(audio, 1.0)))


@pytest.mark.parametrize("form", ["ctm", "list"])
def test_names_in_a_ctm_and_in_a_frame_list_follow_the_same_rule(form: str, tmp_path: Path) -> None:
    def line(name: str, phone: str) -> str:
        return f"{name} 1 0 1 {phone}\n" if form == "ctm" else f"{name}\t{','.join([phone] * 49)}\n"

    manifest = _manifest(tmp_path, {"spk1/001.flac": 1.0, "spk2/001.flac": 1.0})
    for names in (("spk1/001", "spk2/001"), ("spk1/001.flac", "spk2/001.flac"), ("/data/spk1/001.wav", "/data/spk2/001.wav")):
        (tmp_path / "ali").write_text(line(names[0], "B") + line(names[1], "S"))
        alignments = Alignments(tmp_path / "ali", manifest)
        assert [_phones(alignments, index) for index in range(2)] == [["B"], ["S"]]
    (tmp_path / "ali").write_text(line("001", "B"))
    with pytest.raises(SoftHubertError, match=r"'001' may be of spk1/001\.flac and of spk2/001\.flac"):
        Alignments(tmp_path / "ali", manifest)


def test_alignments_in_linked_folders_are_found_and_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    _write(tmp_path / "elsewhere", {"001.lab": "0 1 B\n"})
    (tmp_path / "ali").mkdir()
    (tmp_path / "ali" / "spk1").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "ali")
    assert _phones(Alignments(tmp_path / "ali", _manifest(tmp_path, {"spk1/001.flac": 1.0})), 0) == ["B"]


def test_an_alignment_that_cannot_be_read_is_named(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "19-198-0000.lab").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SoftHubertError, match=r"19-198-0000\.lab: a link to a file that is not there; correct or remove it"):
        Alignments(tmp_path, manifest)


def test_what_was_not_read_is_said_where_alignments_are_missing(tmp_path: Path) -> None:
    _textgrid(tmp_path / "ali")
    _write(tmp_path / "ali", {"a.lab": "0 1 B\n", "b.lab": "0 1 B\n"})
    with pytest.raises(SoftHubertError, match=r"the first a \(2 \.lab and \.phn files were not read, because there are \.TextGrid files\)"):
        Alignments(tmp_path / "ali", _manifest(tmp_path, {"a.flac": 1.0, "b.flac": 1.0}))


def _in_units(per_second: float, share: float = 1.0) -> str:
    """A ``.lab`` of three phones of a second each, whose times are multiplied by ``share``."""
    phones = enumerate(["AA1", "S", "T"])
    return "".join(f"{share * place * per_second:.9g} {share * (place + 1) * per_second:.9g} {label}\n" for place, label in phones)


@pytest.mark.parametrize("per_second", [1, 1_000, 16_000, 10_000_000])
@pytest.mark.parametrize("share", [1.0, 0.99, 0.9, 0.75, 0.62])
def test_the_unit_of_a_lab_file_is_found_even_if_it_leaves_out_the_silence_at_the_end(
    per_second: float, share: float, tmp_path: Path
) -> None:
    manifest = _manifest(tmp_path, {"a.flac": 3.0})
    alignments = Alignments(_write(tmp_path / "ali", {"a.lab": _in_units(per_second, share)}), manifest)
    frames = alignments.frames(0, 149, 50.0)
    centres = 0.0125 + np.arange(149) / 50
    expected = np.where(centres < 3 * share, np.minimum(centres / share, 2.999).astype(int), UNLABELLED)
    assert alignments.unit == {1: "seconds", 1_000: "milliseconds", 16_000: "samples at 16 kHz"}.get(per_second, "units of 100 ns")
    order = np.asarray([alignments.phones.index(phone) for phone in ("AA", "S", "T")] + [UNLABELLED])
    np.testing.assert_array_equal(frames, order[expected])


@pytest.mark.parametrize(
    ("per_second", "named"),
    [
        (8_000, "samples at 8 kHz"),
        (11_025, "samples at 11.025 kHz"),
        (22_050, "samples at 22.05 kHz"),
        (24_000, "samples at 24 kHz"),
        (44_100, "samples at 44.1 kHz"),
        (48_000, "samples at 48 kHz"),
        (1_000_000, "microseconds"),
        (100, "frames of 10 ms"),
        (50, "frames of 20 ms"),
        (80, "frames of 12.5 ms"),
        (200, "frames of 5 ms"),
    ],
)
def test_the_unit_of_recordings_at_another_rate_is_refused_until_it_is_given(per_second: float, named: str, tmp_path: Path) -> None:
    manifest = _manifest(tmp_path, {"a.flac": 3.0, "b.flac": 3.0})
    folder = _write(tmp_path / "ali", {"a.lab": _in_units(per_second), "b.lab": _in_units(per_second)})
    with pytest.raises(SoftHubertError) as raised:
        Alignments(folder, manifest)
    assert f"ends at {3 * per_second:g} and its audio at 3.00 s" in str(raised.value)
    assert f"{named} fit; give --units-per-second {per_second:g} " in str(raised.value)
    given = Alignments(folder, manifest, units_per_second=per_second)
    assert (given.frames(0, 149, 50.0) != UNLABELLED).all() and _phones(given, 0) == ["AA", "S", "T"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (_in_units(500), r"from 0\.00 to 1\.50 s \(read as milliseconds\), but the audio is 3\.00 s long; give the alignment of this"),
        (
            _in_units(1, 0.3),
            r"from 0\.00 to 0\.90 s, but the audio is 3\.00 s long; give the alignment .*, with its silence",
        ),
        (_in_units(16_000, 1.7), r"to 5\.10 s \(read as samples at 16 kHz\), but the audio is 3\.00 s long"),
        ("2.5 3 AA1\n", r"goes from 2\.50 to 3\.00 s, but the audio is 3\.00 s long"),
        ("-0.5 3 AA1\n", r"from -0\.5000 to 3\.0000 s"),
        ("0 nan AA1\n", r"a\.lab, line 1: expected 'start end label', found '0 nan AA1'"),
        ("0 1e999 AA1\n", r"a\.lab, line 1: expected 'start end label'"),
        ("0 1_000 AA1\n", r"a\.lab, line 1: expected 'start end label'"),
        ("SHE HAD YOUR DARK SUIT\n", r"a\.lab, line 1: expected 'start end label', found 'SHE HAD YOUR DARK SUIT'"),
        ("2 3 T\n0 2 S\n", r"is not in the order of time: 'S' from 0\.0000 to 2\.0000 s, after one until 3\.0000 s; sort it by time"),
        ("0 2 T\n1 3 S\n", r"has overlapping intervals: 'S' from 1\.0000"),
    ],
)
def test_a_lab_file_that_does_not_fit_its_audio_is_refused_with_what_was_found(content: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match=complaint):
        Alignments(_write(tmp_path / "ali", {"a.lab": content}), _manifest(tmp_path, {"a.flac": 3.0}))


def test_a_file_in_another_unit_than_the_others_is_refused(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path, {f"{name}.flac": 3.0 for name in "abcd"})
    folder = _write(tmp_path / "ali", {f"{name}.phn": _in_units(16_000) for name in "abcd"})
    for unit, named in ((1_000, "milliseconds"), (8_000, "samples at 8 kHz"), (1, "seconds")):
        _write(folder, {"c.phn": _in_units(unit)})
        with pytest.raises(SoftHubertError, match=rf"c\.phn: .* \(read as samples at 16 kHz\).*; {named} would fit: .* {unit} if all"):
            Alignments(folder, manifest)


def test_units_are_only_for_files_without_a_unit(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "ali").mkdir()
    with pytest.raises(SoftHubertError, match=r"--units-per-second: is for \.lab and \.phn files"):
        Alignments(_ctm(tmp_path / "ali"), manifest, units_per_second=1000)
    with pytest.raises(SoftHubertError, match="--units-per-second -1: expected a number above 0"):
        Alignments(_seconds(tmp_path / "ali"), manifest, units_per_second=-1)


# A list at 100 per second of half the audio is a list at 50 of all of it.
@pytest.mark.parametrize("form", [form for form in WRITERS if form != "list at 100"])
def test_alignments_that_cover_half_of_their_audio_are_refused_in_every_format(form: str, tmp_path: Path) -> None:
    (tmp_path / "ali").mkdir()
    source = WRITERS[form](tmp_path / "ali")
    with pytest.raises(SoftHubertError, match=r"audio is 2\.00 s long|its audio at 2\.00 s|phones per second of audio, expected 100 or 50"):
        Alignments(source, _manifest(tmp_path, {"audio/19-198-0000.flac": 2.0}))


def test_alignments_that_leave_out_some_silence_are_taken_and_all_that_leave_out_much_are_not(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path, {f"{number}.flac": 2.0 for number in range(10)})
    folder = _write(tmp_path / "ali", {f"{number}.lab": "0.3 1.8 B\n" if number else "0.3 1.42 B\n" for number in range(10)})
    assert _phones(Alignments(folder, manifest), 0) == ["B"]
    _write(folder, {f"{number}.lab": "0.3 1.42 B\n" for number in range(10)})
    with pytest.raises(SoftHubertError, match=r"cover 56 % of the audio \(11\.2 of 20\.0 s of 10 utterances\)"):
        Alignments(folder, manifest)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", r"ali\.ctm: expected a CTM .* found no line with an alignment"),
        (";; nothing\n\n", r"ali\.ctm: expected a CTM .* found no line with an alignment"),
        ("u 1 0 0.5 B\nu 2 0.5 0.5 S\n", r"line 2: utterance 'u' has two channels, '1' and '2'; keep the lines of the channel"),
        ("u A 0 0.5 B\nu B 0 0.5 B\n", r"utterance 'u' has two channels, 'A' and 'B'"),
        ("u 1 0 0.5 B\nu 1 0.5 0.5\n", r"line 2: expected 'utterance channel start duration phone \[confidence\]'"),
        ("u 0 0.5 B\n", r"expected a CTM .* found 'u 0 0\.5 B'"),
        ("u 1 0 nan B\n", r"line 1: expected 'utterance channel"),
        ("u 1 inf 1 B\n", r"line 1: expected 'utterance channel"),
        ("u 1 -0.5 1.5 B\n", r"line 1: expected 'utterance channel"),
        ("u 1 0 -1 B\n", r"line 1: expected 'utterance channel"),
        ("u 1 zero 1 B\n", r"line 1: expected 'utterance channel"),
        ("u 1 0 1 B x\n", r"line 1: expected 'utterance channel"),
        ("u 1 0 0.6 B\nu 1 0.5 0.5 S\n", r"'u': the alignment of u\.flac has overlapping intervals: 'S' from 0\.5000"),
        ("u\tB,S\nu\tB,S\n", r"line 2: utterance 'u' has a line before"),
        ("u 1 0 0 B\nu 1 1 0 S\n", r"ali\.ctm: the labels last 0\.00 s of the 1\.0 s of the alignments, the rest are gaps"),
        ("u 1 0 0.04 B\nu 1 0.96 0.04 S\n", r"ali\.ctm: the labels last 0\.08 s of the 1\.0 s"),
        ("u 1 0 0.5 sil\nu 1 0.5 0.5 <eps>\n", r"ali\.ctm: every label is silence \('sil', '<eps>'\); give alignments of phones"),
    ],
)
def test_a_ctm_or_frame_list_that_cannot_be_trusted_is_refused(content: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "ali.ctm").write_text(content)
    with pytest.raises(SoftHubertError, match=complaint):
        Alignments(tmp_path / "ali.ctm", _manifest(tmp_path, {"u.flac": 1.0}))


@pytest.mark.parametrize(
    "content",
    [
        ";; made by us\nu 1 0 0.5 B\nu 1 0.5 0.5 S\n",
        "\n;; a comment\n;; another\n\nu 1 0 0.5 B 0.98\nu 1 0.5 0.5 S 1.0\n",
        "u 1 0.5 0.5 S NA\nu 1 0 0.5 B NA\n",
        "\ufeffu 1 0 0.5 B\r\nu 1 0.5 0.5 S\r\n",
        "u A 0.00 5e-1 B\nother A 0 1 T\nu A .5 0.50 S\n",
        "\ufeffu\t" + ",".join(["B"] * 25 + ["S"] * 24) + "\n",
    ],
)
def test_a_ctm_or_frame_list_is_read_with_comments_confidences_marks_and_in_any_order(content: str, tmp_path: Path) -> None:
    (tmp_path / "ali.ctm").write_bytes(content.encode())
    alignments = Alignments(tmp_path / "ali.ctm", _manifest(tmp_path, {"u.flac": 1.0}))
    assert [alignments.phones[phone] for phone in alignments.frames(0, 49, 50.0)] == ["B"] * 25 + ["S"] * 24


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lab_files_are_read_in_every_encoding_and_with_every_line_end(encoding: str, end: str, manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "19-198-0000.lab").write_bytes(f"0 0.5 B{end}0.5 1 S{end}".encode(encoding))
    assert _phones(Alignments(tmp_path, manifest), 0) == ["B", "S"]
    (tmp_path / "19-198-0000.lab").write_bytes(b"0 0.5 \xe4\n0.5 1 \xf6\n")
    with pytest.raises(SoftHubertError, match=r"19-198-0000\.lab, line 1: not UTF-8 text"):
        Alignments(tmp_path, manifest, phone_set="asis")
