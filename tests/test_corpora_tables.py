"""Tables of utterances become manifests, transcripts and speakers; what is wrong in one is named with its file and line."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import soundfile
from small_corpora import TEXTS, ManifestCommand, common_voice, ljspeech, read_corpus, sound, table

from softhubert_plugin.audio.check import check_audio
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import read_dictionary, read_manifest

ROWS = [(f"audio/{number}.wav", TEXTS[number], f"person{number % 3}") for number in range(6)]


@pytest.fixture()
def manifest(capsys: pytest.CaptureFixture[str]) -> ManifestCommand:
    """The command ``softhubert manifest``."""
    return ManifestCommand(capsys)


def test_a_table_becomes_splits_without_common_speakers(tmp_path: Path, manifest: ManifestCommand) -> None:
    said = manifest("table", table(tmp_path / "in" / "clips.csv", ROWS), "--dest", tmp_path / "out")
    found = read_corpus(tmp_path / "out", "train", "valid", "test")
    assert sorted(chain(*found.values())) == sorted(f"{path}|{text}|{speaker}" for path, text, speaker in ROWS)
    speakers = [{line.rsplit("|", 1)[1] for line in lines} for lines in found.values()]
    assert [len(each) for each in speakers] == [1, 1, 1] and len(set.union(*speakers)) == 3
    assert "train 2 utterances of 1 speakers" in said and "warning" not in said
    before = (tmp_path / "out" / "train.tsv").read_bytes()
    manifest("table", tmp_path / "in" / "clips.csv", "--dest", tmp_path / "out")
    assert (tmp_path / "out" / "train.tsv").read_bytes() == before


def test_every_kind_of_table_says_the_same(tmp_path: Path, manifest: ManifestCommand) -> None:
    folder = tmp_path / "in"
    plain = table(folder / "a.csv", ROWS)
    kinds = {
        "tabs.tsv": table(folder / "tabs.tsv", ROWS, delimiter="\t"),
        "tabs.txt": table(folder / "tabs.txt", ROWS, delimiter="\t"),
        "semicolons.csv": table(folder / "semicolons.csv", ROWS, delimiter=";"),
        "bars.csv": table(folder / "bars.csv", ROWS, delimiter="|"),
        "no suffix": table(folder / "list", ROWS),
        "mark.csv": folder / "mark.csv",
        "windows.csv": folder / "windows.csv",
        "quoted.csv": folder / "quoted.csv",
        "lines.jsonl": folder / "lines.jsonl",
        "lines.json": folder / "lines.json",
    }
    content = plain.read_bytes()
    kinds["mark.csv"].write_bytes(b"\xef\xbb\xbf" + content)
    kinds["windows.csv"].write_bytes(content.replace(b"\n", b"\r\n"))
    quoted = [",".join(f'"{field}"' for field in line.split(",")) for line in content.decode().splitlines()]
    kinds["quoted.csv"].write_text("\n\n".join(quoted))
    objects = "".join(json.dumps({"speaker": speaker, "path": path, "text": text, "extra": [1]}) + "\n" for path, text, speaker in ROWS)
    kinds["lines.jsonl"].write_text("\ufeff" + objects, "utf-8")
    kinds["lines.json"].write_text("\n" + objects)
    manifest("table", plain, "--dest", tmp_path / "plain")
    expected = read_corpus(tmp_path / "plain", "train", "valid", "test")
    for name, path in kinds.items():
        manifest("table", path, "--dest", tmp_path / name)
        assert read_corpus(tmp_path / name, "train", "valid", "test") == expected, name


def test_columns_and_paths_have_the_names_that_the_user_says(tmp_path: Path, manifest: ManifestCommand) -> None:
    rows = [(f"{number}", f'HE SAID, ""{TEXTS[number]}""', number) for number in range(4)]
    for row in rows:
        sound(tmp_path / "wav" / f"{row[0]}.wav")
    lines = "\n".join(f'{number},"{text}",{reader},{"dev" if number == "3" else "train"}' for number, text, reader in rows)
    (tmp_path / "list.csv").write_text(f"id,sentence,reader,set\n{lines}\n")
    options = ["--path", "id", "--path-pattern", "{}.wav", "--root", tmp_path / "wav", "--text", "sentence", "--speaker", "reader"]
    manifest("table", tmp_path / "list.csv", "--dest", tmp_path / "out", *options, "--split", "set", "--normalise", "punctuation")
    found = read_corpus(tmp_path / "out", "train", "dev")
    assert found["dev"] == ["3.wav|HE SAID COME IN NOW|3"] and len(found["train"]) == 3
    assert read_manifest(tmp_path / "out" / "dev.tsv").root == tmp_path / "wav"
    said = manifest.refused("table", tmp_path / "list.csv", "--dest", tmp_path / "no")
    assert "list.csv: the column 'path' is not there; its columns are 'id', 'sentence', 'reader', 'set'" in said
    said = manifest.refused("table", tmp_path / "list.csv", "--dest", tmp_path / "no", "--path", "id", "--text", "words")
    assert "'words' is not there" in said
    (tmp_path / "twice.csv").write_text("path,text,text\n")
    assert "'text' is twice there" in manifest.refused("table", tmp_path / "twice.csv", "--dest", tmp_path / "no", "--text", "text")


def test_a_table_without_header_has_numbered_columns(tmp_path: Path, manifest: ManifestCommand) -> None:
    path = table(tmp_path / "list.txt", ROWS, delimiter="|", header=None)
    manifest("table", path, "--dest", tmp_path / "out", "--no-header", "--path", 1, "--text", 2, "--speaker", 3)
    assert sum(map(len, read_corpus(tmp_path / "out", "train", "valid", "test").values())) == 6


def test_segments_are_cut_at_their_times(tmp_path: Path, manifest: ManifestCommand) -> None:
    sound(tmp_path / "long.wav", 4.0, rate=44_100, channels=2)
    rows = [
        ("long.wav", "ONE", 0.5, 1.0, 1.5),
        ("long.wav", "TWO", 2.0, 1.25, 3.25),
        ("whole.wav", "THREE", "", "", ""),
        ("whole2.wav", "FOUR", 0, 0.6, ""),
    ]
    path = table(tmp_path / "t.csv", rows, header="path,text,start,duration,end")
    manifest("table", path, "--dest", tmp_path / "out", "--valid-percent", 0, "--test-percent", 0)
    listed = read_manifest(tmp_path / "out" / "train.tsv")
    check_audio(listed)
    assert listed.sizes.tolist() == [16_000, 20_000, 9_600, 9_600]
    assert [name.rsplit("/", 1)[-1] for name in listed.names] == [
        "long-00000500-00001500.flac",
        "long-00002000-00003250.flac",
        "whole.wav",
        "whole2.wav",
    ]
    loudness = [float(np.abs(soundfile.read(listed.audio_path(index))[0]).mean()) for index in (0, 1)]
    assert 2 < loudness[1] / loudness[0] < 3.5  # the loudness rises with time: (2 + 3.25) / (0.5 + 1.5) = 2.6


def test_the_preset_of_ljspeech_takes_the_text_in_words_and_converts_the_audio(tmp_path: Path, manifest: ManifestCommand) -> None:
    options = ["--preset", "ljspeech", "--dest", tmp_path / "out", "--normalise", "upper", "punctuation"]
    said = manifest("table", ljspeech(tmp_path / "lj"), *options)
    found = read_corpus(tmp_path / "out", "train", "valid", "test")
    assert sorted(line.split("|")[1] for line in chain(*found.values())) == sorted(TEXTS)
    assert "6 recordings converted to 16 kHz" in said and "a speaker may be in several splits" in said
    assert not list((tmp_path / "out").glob("*.spk"))


def test_the_preset_of_common_voice_keeps_its_splits_speakers_and_quotation_marks(tmp_path: Path, manifest: ManifestCommand) -> None:
    tables = common_voice(tmp_path / "cv" / "en")
    manifest("table", *tables, "--preset", "commonvoice", "--dest", tmp_path / "out")
    found = read_corpus(tmp_path / "out", "train", "dev", "test")
    assert found["dev"][1] == 'audio/clips/common_voice_en_dev1.flac|"Go on!" he said.|dev-person1'
    said = manifest.refused("table", *tables, "--preset", "commonvoice", "--dest", tmp_path / "cv" / "en")
    assert "is in the folder that is written to" in said
    assert tables[0].read_text().startswith("client_id\t")


def test_the_preset_of_nemo_reads_offsets_and_durations(tmp_path: Path, manifest: ManifestCommand) -> None:
    sound(tmp_path / "a.wav", 2.0)
    rows: List[Dict[str, Any]] = [{"audio_filepath": "a.wav", "text": "ONE", "duration": 2.0, "offset": None}]
    rows += [{"audio_filepath": str(tmp_path / "a.wav"), "text": "TWO", "duration": 0.5, "offset": 1}]
    (tmp_path / "m.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest("table", f"test={tmp_path / 'm.json'}", "--preset", "nemo", "--dest", tmp_path / "out")
    assert read_manifest(tmp_path / "out" / "test.tsv").sizes.tolist() == [32_000, 8_000]


FAULTS = {
    "no text": ("a.wav,,anna", "line 3: the transcript is empty"),
    "no path": (",GO ON,anna", "line 3: expected a path of an audio file, found none"),
    "no speaker": ("a.wav,GO ON,", "line 3: expected a speaker, as other utterances have; found none"),
    "no such file": ("b.wav,GO ON,anna", "line 3: no such audio file"),
    "a folder": ("folder,GO ON,anna", "line 3: "),
    "not audio": ("text.wav,GO ON,anna", "line 3: "),
    "too few columns": ("a.wav,GO ON", "line 3: expected 3 columns, found 2"),
    "too many columns": ("a.wav,GO, ON,anna", "line 3: expected 3 columns, found 4"),
    "twice": ("first.wav,GO ON,anna", "line 3: the same utterance as"),
    "twice, written otherwise": ("./first.wav,OTHER,anna", "line 3: the same utterance as"),
    "a bar": ("a.wav,GO|ON,anna", "line 3: the transcript has a '|'"),
    "a name that is too long": ("x" * 300 + ".wav,GO ON,anna", "line 3: expected a path of an audio file, found 304 characters"),
    "a tab in the speaker": ("a.wav,GO ON,an\tna", "line 3: expected a speaker without tabs"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_faulty_row_is_named_or_left_out_and_counted(kind: str, tmp_path: Path, manifest: ManifestCommand) -> None:
    row, message = FAULTS[kind]
    for name in ("first.wav", "a.wav", "last.wav"):
        sound(tmp_path / name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.wav").write_text("not audio")
    path = tmp_path / "t.csv"
    path.write_text(f"path,text,speaker\nfirst.wav,ONE,anna\n{row}\nlast.wav,TWO,ben\n")
    options = [f"train={path}", "--dest", tmp_path / "out"]
    said = manifest.refused("table", *options)
    assert f"{path}, {message}" in said and "--skip-unreadable" in said
    assert not (tmp_path / "out" / "train.tsv").exists()
    said = manifest("table", *options, "--skip-unreadable")
    assert f"skipped {path}, {message}" in said and "1 skipped" in said
    assert [line.split("|")[0] for line in read_corpus(tmp_path / "out", "train")["train"]] == ["first.wav", "last.wav"]


def test_marks_within_fields_are_dropped_and_zero_characters_are_refused(tmp_path: Path, manifest: ManifestCommand) -> None:
    names = ["a.wav", "b.wav", "c.wav"]
    texts, speakers = ["\ufeffGO", "GO \ufeff O\ufeffN", "NO"], ["\ufeffanna", "anna", "ben"]
    columns = zip(["a.wav", "b.wav", "\ufeff c.wav"], texts, speakers)
    rows = [dict(zip(("path", "text", "speaker"), row)) for row in columns]
    for name in names:
        sound(tmp_path / name)
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = manifest("table", f"train={path}", "--dest", tmp_path / "out")
    assert read_corpus(tmp_path / "out", "train")["train"] == ["a.wav|GO|anna", "b.wav|GO ON|anna", "c.wav|NO|ben"] and "2 speakers" in said
    assert read_dictionary(tmp_path / "out" / "dict.ltr.txt") == ["O", "|", "G", "N"]
    for column, message in (("text", "the transcript has broken characters: 'N\\x00O'"), ("speaker", "expected a speaker without tabs")):
        path.write_text("".join(json.dumps({**row, column: "N\0O"} if row is rows[1] else row) + "\n" for row in rows))
        assert f"{path}, line 2: {message}" in manifest.refused("table", f"train={path}", "--dest", tmp_path / "out")


TIMES = {
    "not a number": ("a", "1", "expected the start in seconds, found 'a'"),
    "no number": ("nan", "1", "expected the start in seconds, found 'nan'"),
    "endless": ("0", "inf", "expected the duration in seconds, found 'inf'"),
    "a comma": ('"0,5"', "1", "expected the start in seconds, found '0,5'"),
    "python's number": ("0", "1_0", "expected the duration in seconds, found '1_0'"),
    "huge": ("0", "1e300", "which is 3.00 s long; found 0 to 1e+300 s"),
    "before": ("-1", "2", "which is 3.00 s long; found -1 to 1 s"),
    "after": ("3.5", "1", "which is 3.00 s long; found 3.5 to 4.5 s"),
    "over the end": ("2.5", "1", "which is 3.00 s long; found 2.5 to 3.5 s"),
    "in milliseconds": ("500", "1000", "which is 3.00 s long; found 500 to 1500 s"),
    "nothing": ("1", "0", "expected a duration above 0 s, found 0"),
    "backwards": ("1", "-1", "expected a duration above 0 s, found -1"),
    "less than a sample": ("1", "0.00001", "has no samples"),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times_that_the_audio_does_not_have_are_refused_with_its_length(kind: str, tmp_path: Path, manifest: ManifestCommand) -> None:
    start, duration, message = TIMES[kind]
    sound(tmp_path / "a.wav", 3.0)
    path = tmp_path / "t.csv"
    path.write_text(f"path,text,start,duration\na.wav,ONE,0,1\na.wav,TWO,{start},{duration}\n")
    said = manifest.refused("table", path, "--dest", tmp_path / "out")
    assert f"{path}, line 3: " in said and message in said
    said = manifest("table", f"train={path}", "--dest", tmp_path / "out", "--skip-unreadable")
    assert "train 1 utterances" in said and "1 skipped" in said


def test_a_duration_and_an_end_that_contradict_each_other_are_refused_until_one_is_named(tmp_path: Path, manifest: ManifestCommand) -> None:
    sound(tmp_path / "a.wav", 3.0)
    (tmp_path / "t.csv").write_text("path,text,start,duration,end\na.wav,ONE,1,0.5,2\n")
    assert "contradict" in manifest.refused("table", tmp_path / "t.csv", "--dest", tmp_path / "out")
    for column, samples in (("duration", 8_000), ("end", 16_000)):
        manifest("table", f"test={tmp_path / 't.csv'}", "--dest", tmp_path / column, f"--{column}", column)
        assert read_manifest(tmp_path / column / "test.tsv").sizes.tolist() == [samples]
    options = ["--dest", tmp_path / "out", "--duration", "duration", "--end", "end"]
    assert "say the same" in manifest.refused("table", tmp_path / "t.csv", *options)


BROKEN = {
    "latin-1": (b"path,text\na.wav,caf\xe9\n", "line 2: not UTF-8"),
    "utf-16": ("path,text\na.wav,go\n".encode("utf-16"), "UTF-16 text"),
    "zero bytes": (b"path,text\na.wav,\0go\n", "line 2: a zero byte"),
    "an open quotation mark": (b'path,text\na.wav,"go\nb.wav,on\n', "line 2: not a row of a table"),
    "a stray quotation mark": (b'path,text\na.wav,"go" on\n', "line 2: not a row of a table"),
    "a column twice": (b"path,text,text\na.wav,go,on\n", "the column 'text' is twice there"),
    "a spreadsheet": (b"PK\x03\x04\x14\x00\x06", "a zip archive, as spreadsheets are, expected text; unpack it, or save"),
    "a table of Parquet": (b"PAR1\x15\x04", "a Parquet file, expected text; write it as CSV or JSON lines"),
    "nothing": (b"", "empty"),
    "blank lines": (b"\n \n\n", "empty"),
    "a header alone": (b"path,text\n", "no utterance can be used"),
    "a JSON array": (b'[{"path": "a.wav"}]', "one JSON array"),
    "half a JSON object": (b'{"path": "a.wav"}\n{"path": "a', "line 2: expected a JSON object"),
    "a JSON number": (b'{"path": "a.wav"}\n7\n', "line 2: expected a JSON object"),
    "deep JSON": (b'{"path": "a.wav"}\n' + b'{"a":' * 100_000 + b"\n", "line 2: expected a JSON object"),
    "a JSON object without path": (b'{"text": "go"}\n', "line 1: has no 'path', only text"),
    "a number for a path": (b'{"path": 7}\n', "line 1: expected text for the path, found '7'"),
    "a list for a text": (b'{"path": "a.wav", "text": ["go"]}\n', "line 1: expected text for the text"),
    "half a character": (b'{"path": "a.wav", "text": "\\ud800"}\n', "line 1: the transcript has broken characters"),
    "half a character in a path": (b'{"path": "\\ud800.wav"}\n', "line 1: expected a path of an audio file without"),
    "a line break in a path": (b'{"path": "a\\n.wav"}\n', "line 1: expected a path of an audio file without"),
    "true for a time": (b'{"path": "a.wav", "start": true}\n', "line 1: expected the start in seconds, found 'True'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_table_is_refused_in_one_line(kind: str, tmp_path: Path, manifest: ManifestCommand) -> None:
    content, message = BROKEN[kind]
    sound(tmp_path / "a.wav")
    path = tmp_path / ("t.jsonl" if b"JSON" in kind.encode() or content[:1] == b"{" else "t.csv")
    path.write_bytes(content)
    said = manifest.refused("table", path, "--dest", tmp_path / "out")
    assert str(path) in said and message in said


def test_a_quoted_field_over_several_lines_is_text_in_csv_and_a_fault_elsewhere(tmp_path: Path, manifest: ManifestCommand) -> None:
    for name in ("a.wav", "b.wav"):
        sound(tmp_path / name)
    (tmp_path / "t.csv").write_text('path,text\na.wav,"GO\nON, NOW"\nb.wav,\n')
    said = manifest.refused("table", f"train={tmp_path / 't.csv'}", "--dest", tmp_path / "out")
    assert f"{tmp_path / 't.csv'}, line 4: the transcript is empty" in said
    manifest("table", f"train={tmp_path / 't.csv'}", "--dest", tmp_path / "out", "--skip-unreadable")
    assert (tmp_path / "out" / "train.wrd").read_text() == "GO ON, NOW\n"
    (tmp_path / "t.tsv").write_text('path\ttext\na.wav\t"GO\nb.wav\tON"\n')
    assert "line 2" in manifest.refused("table", tmp_path / "t.tsv", "--dest", tmp_path / "out")
    manifest("table", f"train={tmp_path / 't.tsv'}", "--dest", tmp_path / "out", "--no-quoting", "--normalise", "punctuation")
    assert (tmp_path / "out" / "train.wrd").read_text() == "GO\nON\n"


def test_without_speakers_the_division_is_by_utterance_and_says_so(tmp_path: Path, manifest: ManifestCommand) -> None:
    path = table(tmp_path / "t.csv", [row[:2] for row in ROWS], header="path,text")
    said = manifest("table", path, "--dest", tmp_path / "out", "--valid-percent", 0.34, "--test-percent", 0.17)
    assert "warning: divided by utterance, so a speaker may be in several splits" in said
    assert {split: len(lines) for split, lines in read_corpus(tmp_path / "out", "train", "valid", "test").items()} == {
        "train": 3,
        "valid": 2,
        "test": 1,
    }
    first = (tmp_path / "out" / "train.tsv").read_text()
    manifest("table", path, "--dest", tmp_path / "other", "--valid-percent", 0.34, "--test-percent", 0.17, "--seed", 7)
    assert (tmp_path / "other" / "train.tsv").read_text() != first


def test_too_few_speakers_for_the_splits_are_refused_with_the_ways_out(tmp_path: Path, manifest: ManifestCommand) -> None:
    path = table(tmp_path / "t.csv", [(row[0], row[1], "anna") for row in ROWS])
    said = manifest.refused("table", path, "--dest", tmp_path / "out")
    assert "1 speakers for train, valid and test" in said and "--by-utterance" in said
    said = manifest("table", path, "--dest", tmp_path / "out", "--by-utterance")
    assert "warning: 1 of 1 speakers are in several splits" in said
    said = manifest("table", path, "--dest", tmp_path / "alone", "--valid-percent", 0, "--test-percent", 0)
    assert "train 6 utterances of 1 speakers" in said and not (tmp_path / "alone" / "valid.tsv").exists()
    for share in ("1", "-0.1", "nan"):
        assert "--valid-percent" in manifest.refused("table", path, "--dest", tmp_path / "out", "--valid-percent", share)


def test_named_splits_are_kept_and_shared_speakers_are_said(tmp_path: Path, manifest: ManifestCommand) -> None:
    rows = [("a.wav", "ONE", "anna", "train"), ("b.wav", "TWO", "anna", "test"), ("c.wav", "THREE", "ben", "train")]
    path = table(tmp_path / "t.csv", rows, header="path,text,speaker,split")
    said = manifest("table", path, "--dest", tmp_path / "out")
    assert "warning: 1 of 2 speakers are in several splits" in said
    assert {split: len(lines) for split, lines in read_corpus(tmp_path / "out", "train", "test").items()} == {"train": 2, "test": 1}
    for split in ("../train", "a b", ".hidden", "a/b"):
        table(tmp_path / "u.csv", [*rows, ("d.wav", "FOUR", "ben", split)], header="path,text,speaker,split")
        assert "line 5: expected the name of a split" in manifest.refused("table", tmp_path / "u.csv", "--dest", tmp_path / "out")
    table(tmp_path / "u.csv", [*rows, ("d.wav", "FOUR", "ben", "")], header="path,text,speaker,split")
    assert "line 5: expected a split, as other utterances have" in manifest.refused("table", tmp_path / "u.csv", "--dest", tmp_path / "out")
    assert "no split, but others have one" in manifest.refused("table", f"train={path}", path, "--dest", tmp_path / "out")


def test_a_corpus_without_transcripts_leaves_none_of_an_earlier_run(tmp_path: Path, manifest: ManifestCommand) -> None:
    path = table(tmp_path / "t.csv", ROWS)
    manifest("table", f"train={path}", "--dest", tmp_path / "out")
    assert (tmp_path / "out" / "train.wrd").exists() and (tmp_path / "out" / "train.spk").exists()
    path = table(tmp_path / "u.csv", [row[:1] for row in ROWS], header="path")
    said = manifest("table", f"train={path}", "--dest", tmp_path / "out")
    assert "no transcripts" in said
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["dict.ltr.txt", "train.tsv"]


def test_splits_of_an_earlier_run_that_share_utterances_are_named(tmp_path: Path, manifest: ManifestCommand) -> None:
    path = table(tmp_path / "t.csv", ROWS)
    manifest("table", path, "--dest", tmp_path / "out")
    said = manifest("table", path, "--dest", tmp_path / "out", "--valid-percent", "0", "--test-percent", "0")
    for split in ("valid", "test"):
        assert f"warning: {tmp_path}/out/{split}.tsv of an earlier run shares 2 utterances with train" in said
    assert "warning" not in manifest("table", path, "--dest", tmp_path / "out")


def test_the_dictionary_has_the_letters_of_all_splits_and_keeps_its_order(tmp_path: Path, manifest: ManifestCommand) -> None:
    out, dictionary = tmp_path / "out", tmp_path / "out" / "dict.ltr.txt"
    texts = {"train": "ABBA", "test": "BEE", "dev": "AB", "more": "CAB"}
    paths = {split: table(tmp_path / f"{split}.csv", [(f"{split}.wav", text)], header="path,text") for split, text in texts.items()}
    manifest("table", f"train={paths['train']}", "--dest", out)
    assert read_dictionary(dictionary) == ["A", "B", "|"]
    said = manifest("table", f"test={paths['test']}", "--dest", out)
    assert read_dictionary(dictionary) == ["B", "A", "E", "|"] and "dict.ltr.txt also has the letters of train" in said
    before = dictionary.read_bytes()
    said = manifest("table", f"dev={paths['dev']}", "--dest", out)
    assert dictionary.read_bytes() == before and "dict.ltr.txt" not in said and "3 letters" in said
    manifest("table", f"train={paths['more']}", "--dest", out)  # C is new
    assert set(read_dictionary(dictionary)) == set("ABCE|")
    manifest("table", *(f"{split}={paths[split]}" for split in ("train", "test", "dev")), "--dest", out)  # everything again
    assert set(read_dictionary(dictionary)) == set("ABE|")


def test_audio_at_another_rate_is_refused_with_the_remedy_which_works(tmp_path: Path, manifest: ManifestCommand) -> None:
    for number, (rate, channels) in enumerate([(16_000, 1), (48_000, 1), (11_025, 1), (16_000, 2), (8_000, 2)]):
        sound(tmp_path / f"{number}.wav", 1.0, rate=rate, channels=channels)
    path = table(tmp_path / "t.csv", [(f"{number}.wav", "GO") for number in range(5)], header="path,text")
    said = manifest.refused("table", f"train={path}", "--dest", tmp_path / "out")
    assert f"{path}, line 3: " in said and "--resample-to" in said
    said = manifest("table", f"train={path}", "--dest", tmp_path / "out", "--resample-to", tmp_path / "out" / "16k")
    assert "4 recordings converted to 16 kHz and one channel" in said
    listed = read_manifest(tmp_path / "out" / "train.tsv")
    check_audio(listed)
    assert listed.sizes.tolist() == [16_000] * 5 and listed.root == tmp_path
    assert {soundfile.info(str(listed.audio_path(index))).channels for index in range(5)} == {1}


def test_the_command_offers_every_preset_and_every_column() -> None:
    from softhubert_plugin.commands import manifests
    from softhubert_plugin.corpora import table as tables

    assert tuple(tables.PRESETS) == manifests._PRESETS and tuple(manifests._COLUMNS) == tables.COLUMNS


def test_a_name_that_only_looks_like_a_split_is_a_file(tmp_path: Path) -> None:
    from softhubert_plugin.corpora.listed import named_inputs

    (tmp_path / "a=b.csv").write_text("")
    assert named_inputs([str(tmp_path / "a=b.csv")]) == [(None, tmp_path / "a=b.csv")]
    assert named_inputs(["dev-clean=x=y.csv"]) == [("dev-clean", Path("x=y.csv"))]
    with pytest.raises(SoftHubertError, match="no split, but others have one"):
        named_inputs(["train=a.csv", "b.csv"])
