"""Who is speaking: the .spk file, --speaker-from, or a guess that is said; the same in probing and scoring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import List, Optional, Sequence

import numpy as np
import pytest

from softhubert_plugin.asr.ctc_targets import write_letter_targets
from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import ShardWriter
from softhubert_plugin.features.subset import subset_manifest
from softhubert_plugin.manifests import Manifest, read_manifest, write_manifest, write_transcripts
from softhubert_plugin.speakers import Speakers, known_speakers, speakers_of

DIGITS = [f"{digit}_{speaker}_{take}.wav" for digit in range(3) for speaker in ("jackson", "theo") for take in range(2)]


def _manifest(folder: Path, names: Sequence[str], spk: Optional[str] = None) -> Manifest:
    write_manifest(folder / "train.tsv", folder, [(name, 16_000) for name in names])
    if spk is not None:
        (folder / "train.spk").write_text(spk)
    return read_manifest(folder / "train.tsv")


@pytest.mark.parametrize(
    ("names", "speakers"),
    [
        (["84/121123/84-121123-0001.flac", "26/495/26-495-0000.flac"], ["84", "26"]),
        (["wavs/LJ001-0001.wav", "wavs/LJ002-0001.wav"], ["LJ001", "LJ002"]),
        (["p225_001.wav", "p226_001.wav"], ["p225", "p226"]),
        # A bare number before "_" is a speaker where a folder has that name (Multilingual LibriSpeech, Emotional Speech Database).
        (["audio/4800/10003/4800_10003_000000.flac", "audio/99/1/99_1_000000.flac"], ["4800", "99"]),
        # The folder of the same name tells a "_" of the speaker's from a "-" that comes later.
        (["p225/p225_001-mic1.flac", "p226/p226_001-mic1.flac"], ["p225", "p226"]),
        (["TRAIN/DR1/FCJF0/SA1.WAV", "TRAIN/DR1/MDAB0/SA1.WAV"], ["FCJF0", "MDAB0"]),
        (["spk1/001.flac", "spk2/001.flac"], ["spk1", "spk2"]),
    ],
)
def test_a_guess_follows_the_names_of_known_corpora_and_says_so(names: List[str], speakers: List[str], tmp_path: Path) -> None:
    found = speakers_of(_manifest(tmp_path, names))
    assert found.names == speakers and found.guessed
    said, some = found.described(), ", ".join(sorted(speakers))
    assert said.startswith("speakers guessed from ") and f"2 speakers in 2 utterances ({some})" in said and ".spk file" in said


@pytest.mark.parametrize(
    "names",
    [
        DIGITS,  # the number is what was said
        [f"recordings/{name}" for name in DIGITS],
        ["a.flac", "b.flac"],
        ["clips/a.flac", "clips/b.flac"],
        ["spk-1.flac", "b.flac"],
        ["-1.flac", "-2.flac"],
        ["7-jackson-0.wav", "3-theo-1.wav"],
        ["0001-alice.wav", "0002-alice.wav"],
        ["clips/common_voice_en_1.mp3", "clips/common_voice_en_2.mp3"],
        ["cmu_us_bdl_arctic/wav/arctic_a0001.wav", "cmu_us_slt_arctic/wav/arctic_a0001.wav"],
        ["Actor_01/03-01-06-01-02-01-12.wav", "Actor_02/03-01-06-01-01-01-01.wav"],
    ],
)
def test_names_that_do_not_tell_are_not_guessed_from(names: List[str], tmp_path: Path) -> None:
    manifest = _manifest(tmp_path, names)
    assert known_speakers(manifest) is None
    with pytest.raises(SoftHubertError, match=r"train\.tsv: names such as .* do not let the speakers be guessed; give --speaker-from"):
        speakers_of(manifest)


@pytest.mark.parametrize(
    ("names", "rule", "speakers"),
    [
        (DIGITS[:4], "_([a-z]+)_", ["jackson", "jackson", "theo", "theo"]),
        (["recordings/7_jackson_0.wav"], r"^\d_(\w+)_", ["jackson"]),
        (["a/spk1/001.flac", "a/spk2/001.flac"], "([^/]+)/[^/]+$", ["spk1", "spk2"]),
        (["x/spk1/001.flac", "y/spk2/001.flac"], "folder", ["spk1", "spk2"]),
        # '^([^-]+)' fits the path too, where it would give a chapter.
        (["84/121/84-121-0.flac", "84/122/84-122-0.flac"], "^([^-]+)-", ["84", "84"]),
        (["84/121/84-121-0.flac", "84/122/84-122-0.flac"], r"(\d+)\.flac", ["0", "0"]),
    ],
)
def test_speakers_come_from_a_rule_that_is_given(names: List[str], rule: str, speakers: List[str], tmp_path: Path) -> None:
    found = speakers_of(_manifest(tmp_path, names), rule)
    assert found.names == speakers and not found.guessed and rule in found.described()


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("_([a-z]+_", "_([a-z]+_: not a regular expression (missing )"),
        ("_[a-z]+_", "has no group"),
        ("(a{99999999999})", "not a regular expression"),
        ("_(george)_", "finds no speaker in '0_jackson_0.wav'"),
        ("_(x*)", "finds no speaker in '0_jackson_0.wav'"),
        ("folder", "'0_jackson_0.wav' is in no folder"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(rule: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError) as raised:
        speakers_of(_manifest(tmp_path, DIGITS), rule)
    assert complaint in str(raised.value) and "--speaker-from" in str(raised.value)


def test_the_spk_file_beside_the_manifest_decides(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path, DIGITS[:3], "Mary Ann\tchapter 1\nTheo\nMary Ann\tchapter 2\n")
    assert speakers_of(manifest) == Speakers(["Mary Ann", "Theo", "Mary Ann"], "from train.spk")
    with_rule = speakers_of(manifest, "_([a-z]+)_")
    assert with_rule.names == ["Mary Ann", "Theo", "Mary Ann"] and "--speaker-from _([a-z]+)_ is not used" in with_rule.described()
    with pytest.raises(SoftHubertError, match="not a regular expression"):
        speakers_of(manifest, "(")


@pytest.mark.parametrize(
    ("spk", "complaint"),
    [
        ("a\nb\n", r"train\.spk: 2 lines for the 3 utterances of .*train\.tsv"),
        ("a\n\nb\n", r"train\.spk, line 2: expected a speaker, found none"),
        ("a\n\tchapter\nb\n", r"train\.spk, line 2: expected a speaker, found none"),
        (
            "0_jackson_0 jackson\n0_jackson_1 jackson\n0_theo_0 theo\n",
            r"train\.spk: its lines begin with the utterance, as Kaldi's utt2spk",
        ),
        ("0_jackson_0\tjackson\n0_jackson_1\tjackson\n0_theo_0\ttheo\n", r"train\.spk: its lines begin with the utterance"),
    ],
)
def test_a_spk_file_that_does_not_fit_is_refused(spk: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match=complaint):
        speakers_of(_manifest(tmp_path, DIGITS[:3], spk))


@pytest.mark.parametrize("second", ["{}", "{}-supervision"])
def test_recordings_that_are_their_own_speakers_keep_the_spk_file_that_was_written_of_them(second: str, tmp_path: Path) -> None:
    names = [Path(name).stem for name in DIGITS[:3]]
    spk = "".join(f"{name}\t{second.format(name)}\n" for name in names)
    assert speakers_of(_manifest(tmp_path, DIGITS[:3], spk)).names == names


def test_a_share_of_a_manifest_takes_its_speakers_along(tmp_path: Path) -> None:
    names = [f"{number:02d}.flac" for number in range(40)]
    manifest = _manifest(tmp_path, names, "".join(f"s{number % 7}\tx\n" for number in range(40)))
    subset = subset_manifest(manifest, 0.25, tmp_path / "features")
    assert speakers_of(subset).names == [f"s{int(name[:2]) % 7}" for name in subset.names] and len(subset) == 10
    (tmp_path / "train.spk").unlink()
    subset_manifest(manifest, 0.25, tmp_path / "features")
    assert not (tmp_path / "features" / "train.spk").exists(), "speakers of an earlier manifest were left"


def test_utterances_that_are_dropped_are_dropped_from_the_speakers(tmp_path: Path) -> None:
    _manifest(tmp_path, DIGITS[:3], "jackson\njackson\ntheo\n")
    write_transcripts(tmp_path, "train", ["A B", "Ä", "B A"])
    (tmp_path / "dict.ltr.txt").write_text("A 1\nB 1\n| 1\n")
    write_letter_targets(tmp_path, ["train"], tmp_path / "kept", dictionary=tmp_path / "dict.ltr.txt", drop=True)
    assert speakers_of(read_manifest(tmp_path / "kept" / "train.tsv")).names == ["jackson", "theo"]


@pytest.fixture()
def scored(tmp_path: Path) -> List[str]:
    """The arguments of a score of eleven spoken digits, one of them wrong."""
    _manifest(tmp_path, DIGITS)
    words = ["ZERO", "ONE", "TWO"]
    lines = [f"{words[int(name[0])]} (None-{index})\n" for index, name in enumerate(DIGITS)]
    (tmp_path / "ref").write_text("".join(lines))
    (tmp_path / "hyp").write_text("".join(["TEN (None-0)\n", *lines[1:]]))
    return ["score", str(tmp_path / "hyp"), str(tmp_path / "ref"), "--manifest", str(tmp_path / "train.tsv")]


def _rows(text: str) -> List[List[str]]:
    return [line.split()[:2] for line in text.splitlines()[-2:]]


def test_scores_are_by_the_people_of_the_spk_file(scored: List[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.spk").write_text("".join(name.split("_")[1] + "\n" for name in DIGITS))
    assert main([*scored, "--by-speaker", "--dest", str(tmp_path / "score.json")]) == 0
    said = capsys.readouterr()
    assert _rows(said.out) == [["jackson", "6"], ["theo", "6"]] and "Student's t over 2 speakers" in said.out and said.err == ""
    stored = json.loads((tmp_path / "score.json").read_text())
    assert stored["per_utterance"]["speaker"][:4] == ["jackson", "jackson", "theo", "theo"] and stored["speakers_from"] == "from train.spk"
    (tmp_path / "train.spk").write_text("jackson\n")
    with pytest.raises(SystemExit, match="2"):
        main(scored)
    assert capsys.readouterr().err.count("\n") == 1


def test_scores_are_by_the_rule_given_and_against_another_system_too(
    scored: List[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*scored, "--against", scored[2], "--by-speaker", "--speaker-from", "_([a-z]+)_"]) == 0
    said = capsys.readouterr()
    assert _rows(said.out) == [["jackson", "6"], ["theo", "6"]] and said.out.count("Student's t over 2 speakers") == 2
    assert said.err == "softhubert: speakers from --speaker-from _([a-z]+)_: 2 speakers in 12 utterances (jackson, theo)\n"


def test_scores_without_known_speakers_are_over_utterances_and_say_what_to_give(
    scored: List[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(scored) == 0
    said = capsys.readouterr()
    assert "over 12 utterances" in said.out and said.err == ""
    with pytest.raises(SystemExit):
        main([*scored, "--by-speaker"])
    error = capsys.readouterr().err
    assert "the speaker of '0_jackson_0' is not known; give --manifest with a .spk file beside it, or --speaker-from" in error
    assert error.count("\n") == 1


def test_a_guess_is_said_when_scoring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ref").write_text("A (19-1-0)\nB (26-1-0)\n")
    assert main(["score", str(tmp_path / "ref"), str(tmp_path / "ref"), "--by-speaker"]) == 0
    said = capsys.readouterr()
    assert _rows(said.out) == [["19", "1"], ["26", "1"]]
    assert "speakers guessed from file names up to the first '-': 2 speakers in 2 utterances (19, 26); give --speaker-from" in said.err


def test_utterances_of_one_name_are_scored_by_their_relative_paths(tmp_path: Path) -> None:
    from softhubert_plugin.scoring.score import score_files

    _manifest(tmp_path, ["spk1/001.flac", "spk2/001.flac"], "ann\nbob\n")
    (tmp_path / "ref").write_text("A (spk2/001.flac)\nB (spk1/001.flac)\n")
    score = score_files(tmp_path / "ref", tmp_path / "ref", manifest=tmp_path / "train.tsv")
    assert score.speakers == ["bob", "ann"] and score.ids == ["spk2/001.flac", "spk1/001.flac"]
    (tmp_path / "stems").write_text("A (001)\nB (spk1/001.flac)\n")
    with pytest.raises(SoftHubertError, match=r"lists several utterances '001'; name them by their relative paths"):
        score_files(tmp_path / "stems", tmp_path / "stems", manifest=tmp_path / "train.tsv")


@pytest.fixture()
def dump(tmp_path: Path) -> List[str]:
    """The arguments of a probe of random features of five digits by four people."""
    rng = np.random.default_rng(0)
    names = [f"{digit}_{speaker}_0.wav" for digit in range(5) for speaker in ("ann", "bob", "cas", "dan")]
    write_manifest(tmp_path / "train.tsv", tmp_path, [(name, 400 + 320 * 39) for name in names])
    phones = [np.repeat(rng.integers(0, 3, 10), 4) for _ in names]
    lines = (f"{name[:-4]}\t{','.join(['AA', 'B', 'sil'][phone] for phone in of)}\n" for name, of in zip(names, phones))
    (tmp_path / "phones.tsv").write_text("".join(lines))
    info = {"kind": "hubert", "frame_rate": 50.0, "layer": 1}
    with ShardWriter(tmp_path / "all" / "layer1", "train", 0, 1, info, dtype="float32") as shard:
        for of in phones:
            shard.add((np.eye(3)[of] + 0.1 * rng.standard_normal((len(of), 3))).astype(np.float32))
    return [
        "probe", str(tmp_path / "all"), "train", "1", "--manifest", str(tmp_path / "train.tsv"),
        "--alignments", str(tmp_path / "phones.tsv"), "--dest", str(tmp_path / "probe"), "--clusters", "0", "--device", "cpu",
    ]  # fmt: skip


def test_probing_never_takes_digits_for_people(dump: List[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(dump)
    assert "names such as '0_ann_0.wav' do not let the speakers be guessed" in capsys.readouterr().err
    assert main([*dump, "--speaker-from", "_([a-z]+)_"]) == 0
    said = capsys.readouterr()
    sentence = "speakers from --speaker-from _([a-z]+)_: 4 speakers in 20 utterances (ann, bob, cas, …)"
    assert said.err.startswith(f"softhubert: {sentence}\n") and said.out.rstrip().endswith(sentence)
    assert "alignments in frames of 20 ms: 0 of 800 frames have no phone (0.0 %); utterances without alignment: 0" in said.out
    result = json.loads((tmp_path / "probe" / "layers.json").read_text())
    assert sorted(name for part in result["speakers"].values() for name in part) == ["ann", "bob", "cas", "dan"]
    assert result["speakers_from"] == sentence
    assert (result["frames"], result["frames_without_phone"]) == (800, 0)


def test_probing_needs_three_people_however_many_names_there_are(
    dump: List[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.spk").write_text("ann\nbob\n" * 10)
    with pytest.raises(SystemExit, match="2"):
        main(dump)
    error = capsys.readouterr().err
    assert "2 speakers (ann, bob): probing trains" in error and "(speakers from train.spk)" in error and error.count("\n") == 1
