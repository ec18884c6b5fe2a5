"""Cut sets of Lhotse become manifests, one utterance per supervision; what is in no file is refused and never opened."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Dict, List

import pytest
import soundfile
from small_corpora import TEXTS, ManifestCommand, read_corpus, sound

from softhubert_plugin.alignments.formats import read_textgrid
from softhubert_plugin.alignments.utterances import Alignments
from softhubert_plugin.manifests import read_manifest

lhotse = pytest.importorskip("lhotse")

from lhotse import CutSet, MonoCut, MultiCut, Recording, SupervisionSegment  # noqa: E402
from lhotse.supervision import AlignmentItem  # noqa: E402


@pytest.fixture()
def manifest(capsys: pytest.CaptureFixture[str]) -> ManifestCommand:
    """The command ``softhubert manifest``."""
    return ManifestCommand(capsys)


def _supervision(recording: Any, number: int, **changes: Any) -> Any:
    """A supervision of 0.8 s with words and phones, which starts after ``number`` seconds."""
    start = float(number)
    phones = [("HH", 0.1, 0.2), ("AH0", 0.3, 0.25), ("L", 0.55, 0.2)]
    alignment = {
        "word": [AlignmentItem(TEXTS[number % 6], start + 0.1, 0.65)],
        "phone": [AlignmentItem(symbol, start + begin, duration) for symbol, begin, duration in phones],
    }
    settings = {"text": TEXTS[number % 6], "speaker": f"anna{number % 3}", "alignment": alignment, "channel": 0, "duration": 0.8, **changes}
    return SupervisionSegment(id=f"sup{number}", recording_id=recording.id, start=start, **settings)


def _meeting(folder: Path, *, supervisions: int = 6, channels: int = 1) -> Any:
    """A cut of a whole recording of eight seconds that holds several supervisions."""
    recording = Recording.from_file(sound(folder / "meeting.wav", 8.0, rate=24_000, channels=channels))
    return MonoCut("meeting", 0.0, 8.0, 0, [_supervision(recording, number) for number in range(supervisions)], recording=recording)


def _write(path: Path, *cuts: Any) -> Path:
    CutSet.from_cuts(cuts).to_file(path)
    return path


def _edited(path: Path, edit: Any) -> Path:
    """Change the first cut of a file as JSON."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    edit(lines[0])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_every_supervision_becomes_an_utterance_with_its_alignments(tmp_path: Path, manifest: ManifestCommand) -> None:
    cuts = _write(tmp_path / "cuts.jsonl.gz", _meeting(tmp_path))
    said = manifest("lhotse", f"test={cuts}", "--dest", tmp_path / "out")
    expected = [f"audio/meeting/sup{n}.flac|{TEXTS[n]}|anna{n % 3}" for n in range(6)]
    assert read_corpus(tmp_path / "out", "test")["test"] == expected
    listed = read_manifest(tmp_path / "out" / "test.tsv")
    assert listed.sizes.tolist() == [12_800] * 6
    assert "phones of 6 utterances" in said and "words of 6 utterances" in said
    intervals = read_textgrid(tmp_path / "out" / "alignments" / "audio" / "meeting" / "sup3.TextGrid")
    assert [(round(start, 4), round(end, 4), label) for start, end, label in intervals] == [
        (0.0, 0.1, ""), (0.1, 0.3, "HH"), (0.3, 0.55, "AH0"), (0.55, 0.75, "L"), (0.75, 0.8, ""),
    ]  # fmt: skip
    alignments = Alignments(tmp_path / "out" / "alignments", listed)
    assert alignments.phones == ["AH", "HH", "L", "sil"] and alignments.missing == []
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*") if path.suffix in (".flac", ".TextGrid")}
    manifest("lhotse", f"test={cuts}", "--dest", tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_cuts_of_a_part_of_a_recording_keep_their_times(tmp_path: Path, manifest: ManifestCommand) -> None:
    cut = _meeting(tmp_path)
    whole = _write(tmp_path / "whole.jsonl", cut)
    trimmed = _write(tmp_path / "trimmed.jsonl", *CutSet.from_cuts([cut]).trim_to_supervisions(keep_overlapping=False))
    window = _write(tmp_path / "window.jsonl", cut.truncate(offset=1.9, duration=3.0))
    for name, path in (("whole", whole), ("trimmed", trimmed), ("window", window)):
        manifest("lhotse", f"test={path}", "--dest", tmp_path / name)
    for name, numbers in (("trimmed", range(6)), ("window", (2, 3, 4))):
        for number in numbers:
            part = Path("meeting") / f"sup{number}"
            one, other = (soundfile.read(tmp_path / each / "audio" / part.with_suffix(".flac"))[0] for each in ("whole", name))
            assert (one == other).all()
            one, other = (
                (tmp_path / each / "alignments" / "audio" / part.with_suffix(".TextGrid")).read_text() for each in ("whole", name)
            )
            assert one == other
    assert len(read_manifest(tmp_path / "window" / "test.tsv")) == 3


def test_a_recording_that_is_one_utterance_is_used_as_it_is(tmp_path: Path, manifest: ManifestCommand) -> None:
    recordings = [Recording.from_file(sound(tmp_path / "wav" / f"{number}.flac", 0.8)) for number in range(3)]
    cuts = [MonoCut(f"c{number}", 0.0, 0.8, 0, recording=recording) for number, recording in enumerate(recordings)]
    for number, cut in enumerate(cuts):
        cut.supervisions = [SupervisionSegment(f"s{number}", cut.recording.id, 0.0, 0.8, 0, text=TEXTS[number], speaker=f"ben{number}")]
    said = manifest("lhotse", f"test={_write(tmp_path / 'cuts.jsonl', *cuts)}", "--dest", tmp_path / "out")
    assert read_corpus(tmp_path / "out", "test")["test"] == [f"{n}.flac|{TEXTS[n]}|ben{n}" for n in range(3)]
    assert not (tmp_path / "out" / "audio").exists() and "segments" not in said and "alignments" not in said


def test_cuts_without_supervisions_have_no_transcripts(tmp_path: Path, manifest: ManifestCommand) -> None:
    cut = _meeting(tmp_path, supervisions=0)
    said = manifest(
        "lhotse", f"train={_write(tmp_path / 'cuts.jsonl', cut.truncate(duration=2), cut.truncate(offset=3))}", "--dest", tmp_path / "out"
    )
    assert read_manifest(tmp_path / "out" / "train.tsv").sizes.tolist() == [32_000, 80_000]
    assert "no transcripts" in said and not (tmp_path / "out" / "train.wrd").exists()


def test_the_channel_of_a_supervision_is_cut(tmp_path: Path, manifest: ManifestCommand) -> None:
    recording = Recording.from_file(sound(tmp_path / "stereo.wav", 8.0, channels=2))
    supervisions = [
        _supervision(recording, 0, channel=0),
        _supervision(recording, 1, channel=1),
        _supervision(recording, 2, channel=[0, 1]),
    ]
    cut = MultiCut("both", 0.0, 8.0, [0, 1], supervisions, recording=recording)
    manifest("lhotse", f"test={_write(tmp_path / 'cuts.jsonl', cut)}", "--dest", tmp_path / "out")
    samples, _ = soundfile.read(tmp_path / "stereo.wav")
    for number, expected in enumerate((samples[:, 0], samples[:, 1], samples.mean(1))):
        found, _ = soundfile.read(tmp_path / "out" / "audio" / "stereo" / f"sup{number}.flac")
        assert found == pytest.approx(expected[16_000 * number : 16_000 * number + 12_800], abs=1e-4)


def _recording(change: Dict[str, Any]) -> Any:
    return lambda cut: cut["recording"].update(change)


def _source(kind: str, source: str) -> Any:
    return lambda cut: cut["recording"]["sources"][0].update(type=kind, source=source)


FAULTS: Dict[str, Any] = {
    "a command": (_source("command", "touch {here}/ran"), "the audio comes from a 'command'"),
    "an address": (_source("url", "http://localhost:1/a.wav"), "the audio comes from a 'url'"),
    "bytes": (_source("memory", "UklGRg=="), "the audio comes from a 'memory'"),
    "a file that is not there": (_source("file", "{here}/none.wav"), "no such audio file"),
    "a file that is a command": (_source("file", "touch {here}/ran |"), "no such audio file"),
    "a changed speed": (_recording({"transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}), "changed when it is read"),
    "no recording": (lambda cut: cut.pop("recording"), "only features"),
    "another channel": (lambda cut: cut.update(channel=5), "expected one channel, or all of one file; found 5"),
    "a start in letters": (lambda cut: cut.update(start="x"), "expected the start of the cut in seconds, found 'x'"),
    "a start that is nothing": (lambda cut: cut.update(start=float("nan")), "expected the start of the cut in seconds, found 'nan'"),
    "a start after the end": (lambda cut: cut.update(start=9.0), "which is 8.00 s long"),
    "a supervision over the end": (lambda cut: cut["supervisions"][0].update(duration=99.0), "not all inside it"),
    "a supervision of no length": (lambda cut: cut["supervisions"][0].update(duration=0.0), "expected a duration above 0 s"),
    "a text that is a list": (lambda cut: cut["supervisions"][0].update(text=["GO"]), "expected text for the text"),
    "a text that is empty": (lambda cut: cut["supervisions"][0].update(text=" "), "the transcript is empty"),
    "no text": (lambda cut: cut["supervisions"][0].pop("text"), "expected a text, as other utterances have"),
    "a mixed cut": (lambda cut: cut.update(type="MixedCut"), "a MixedCut, whose audio is mixed or padded"),
    "a padding cut": (lambda cut: cut.update(type="PaddingCut"), "a PaddingCut, whose audio is mixed or padded"),
    "an unknown cut": (lambda cut: cut.update(type="HairCut"), "Lhotse cannot read this cut"),
    "an unknown field": (lambda cut: cut.update(colour="red"), "Lhotse cannot read this cut"),
    "no sources": (lambda cut: cut["recording"].pop("sources"), "Lhotse cannot read this cut"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_cut_that_cannot_be_used_is_named_and_nothing_is_run(kind: str, tmp_path: Path, manifest: ManifestCommand) -> None:
    edit, message = FAULTS[kind]
    other = Recording.from_file(sound(tmp_path / "other.wav", 2.0))
    good = MonoCut("good", 0.0, 2.0, 0, [_supervision(other, 0)], recording=other)
    cuts = _edited(_write(tmp_path / "cuts.jsonl", _meeting(tmp_path, supervisions=1), good), edit)
    cuts.write_text(cuts.read_text().replace("{here}", str(tmp_path)))
    said = manifest.refused("lhotse", f"test={cuts}", "--dest", tmp_path / "out")
    assert f"{cuts}, line 1" in said and message in said
    said = manifest("lhotse", f"test={cuts}", "--dest", tmp_path / "out", "--skip-unreadable")
    assert message in said and "test 1 utterances" in said and "1 skipped" in said
    assert not (tmp_path / "ran").exists()


def test_padded_and_mixed_cuts_of_lhotses_own_are_refused(tmp_path: Path, manifest: ManifestCommand) -> None:
    cut = _meeting(tmp_path)
    for number, changed in enumerate((cut.pad(duration=10.0), cut.mix(cut, snr=10), cut.resample(16_000), cut.perturb_speed(1.1))):
        path = _write(tmp_path / f"{number}.jsonl", changed)
        assert "save_audios" in manifest.refused("lhotse", path, "--dest", tmp_path / "out")


def test_other_manifests_of_lhotses_and_other_files_are_refused_with_the_way_out(tmp_path: Path, manifest: ManifestCommand) -> None:
    cut = _meeting(tmp_path)
    recordings, supervisions = CutSet.from_cuts([cut]).decompose(tmp_path / "parts")[:2]
    for name, part in (("recordings", recordings), ("supervisions", supervisions)):
        part.to_file(tmp_path / f"{name}.jsonl")
        said = manifest.refused("lhotse", tmp_path / f"{name}.jsonl", "--dest", tmp_path / "out")
        assert "lhotse cut simple" in said
    contents: Dict[str, Any] = {
        "empty.jsonl": (b"\n", "empty"),
        "half.jsonl": (b'{"id": "a', "line 1: expected a JSON object"),
        "list.jsonl": (b"[1]\n", "line 1: expected a JSON object"),
        "latin.jsonl": (b"{}\n\xe9\n", "line 1: expected a cut"),
        "bytes.jsonl": (b"\xe9\n", "line 1: not UTF-8"),
        "cut.jsonl.gz": (gzip.compress(b'{"id": "a"}\n' * 1000)[:40], "damaged compressed data"),
        "plain.jsonl.gz": (b'{"id": "a"}\n', "damaged compressed data"),
        "cuts.yaml": (b"- id: a\n", "lhotse copy cuts.yaml"),
    }
    for name, (content, message) in contents.items():
        (tmp_path / name).write_bytes(content)
        said = manifest.refused("lhotse", tmp_path / name, "--dest", tmp_path / "out")
        assert name in said and message in said
    for name in ("none.jsonl", f"pipe:touch {tmp_path / 'ran'}; cat cuts.jsonl", "http://localhost:1/cuts.jsonl"):
        assert "no such file" in manifest.refused("lhotse", name, "--dest", tmp_path / "out")
    assert not (tmp_path / "ran").exists()


ALIGNMENTS: Dict[str, Any] = {
    "overlapping": ([["HH", 0.1, 0.4], ["AH0", 0.2, 0.4]], "overlaps itself"),
    "after the end": ([["HH", 0.1, 0.4], ["AH0", 0.5, 0.7]], "has 'AH0' from 0.500 to 1.200 s, but the audio is 0.800 s long"),
    "before the start": ([["HH", -0.4, 0.4]], "has 'HH' from -0.400 to 0.000 s, but the audio is 0.800 s long"),
    "backwards": ([["HH", 0.4, -0.1]], "overlaps itself"),
    "no number": ([["HH", "x", 0.1]], "expected the start in the alignment in seconds"),
}


@pytest.mark.parametrize("kind", ALIGNMENTS)
def test_alignments_that_do_not_fit_are_named_or_left_out(kind: str, tmp_path: Path, manifest: ManifestCommand) -> None:
    items, message = ALIGNMENTS[kind]
    cuts = _write(tmp_path / "cuts.jsonl", _meeting(tmp_path, supervisions=2))
    _edited(cuts, lambda cut: cut["supervisions"][0]["alignment"].update(phone=items))
    assert message in manifest.refused("lhotse", f"test={cuts}", "--dest", tmp_path / "out")
    said = manifest("lhotse", f"test={cuts}", "--dest", tmp_path / "out", "--skip-unreadable")
    assert message in said and "phones of 1 utterances" in said and "test 2 utterances" in said


def test_words_alone_and_other_kinds_of_alignment_are_said(tmp_path: Path, manifest: ManifestCommand) -> None:
    cuts = _write(tmp_path / "cuts.jsonl", _meeting(tmp_path, supervisions=1))

    def edit(cut: Dict[str, Any]) -> None:
        alignment = cut["supervisions"][0]["alignment"]
        alignment["pdf"] = alignment.pop("phone")
        alignment["word"] += [['a "b"', 0.75, 0.0], ["x  y", 0.76, 0.01]]

    said = manifest("lhotse", f"test={_edited(cuts, edit)}", "--dest", tmp_path / "out")
    assert "words alone are aligned" in said and "left out: pdf" in said
    text = (tmp_path / "out" / "alignments" / "audio" / "meeting" / "sup0.TextGrid").read_text()
    assert 'name = "words"' in text and 'text = "x y"' in text and "phones" not in text and "a b" not in text


def test_a_file_that_praat_itself_would_write_is_read_the_same(tmp_path: Path) -> None:
    from praatio import textgrid

    from softhubert_plugin.corpora.textgrids import write_textgrid

    words: List[Any] = [(0.1, 0.4, 'say "hi"'), (0.4, 0.4005, "é"), (1e-05, 0.05, "x")]
    write_textgrid(tmp_path / "a.TextGrid", {"words": words, "phones": [(0.0, 0.5, "AA")]}, 0.5, "here")
    grid = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=False)
    assert [tuple(entry) for entry in grid.getTier("words").entries] == [(1e-05, 0.05, "x"), (0.1, 0.4, 'say "hi"'), (0.4, 0.4005, "é")]
    assert [tuple(entry) for entry in grid.getTier("phones").entries] == [(0.0, 0.5, "AA")]
