"""Listing a folder of audio: links and every case of an extension are followed, and whatever is left out is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import List

import fairseq
import pytest
import soundfile
from odd_audio import waveform

from softhubert_plugin.cli import main
from softhubert_plugin.corpora.listing import list_audio, parse_extensions
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import read_manifest, refuse_name, write_manifest


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _listed(folder: Path, *options: str) -> List[str]:
    """Run the command with no validation part, and return the names in the manifest."""
    dest = folder.parent / "lists"
    assert main(["manifest", "folder", str(folder), "--dest", str(dest), "--valid-percent", "0", *options]) == 0
    return read_manifest(dest / "train.tsv").names


def _refused(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["manifest", "folder", str(folder), "--dest", str(folder.parent / "lists"), *options])
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_linked_folders_are_followed_as_fairseqs_script_does(tmp_path: Path) -> None:
    for name in ("corpus/a.flac", "elsewhere/b.flac", "elsewhere/deep/c.flac"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, waveform(samples=800), 16_000)
    (tmp_path / "corpus" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "corpus" / "d.flac").symlink_to("a.flac")
    names = _listed(tmp_path / "corpus")
    assert names == ["a.flac", "d.flac", "linked/b.flac", "linked/deep/c.flac"]
    script = Path(fairseq.__file__).parent / "examples" / "wav2vec" / "wav2vec_manifest.py"
    command = [sys.executable, str(script), str(tmp_path / "corpus"), "--dest", str(tmp_path / "theirs"), "--valid-percent", "0"]
    subprocess.run(command, check=True, capture_output=True)
    theirs = read_manifest(tmp_path / "theirs" / "train.tsv").names  # it writes where links lead
    assert {os.path.realpath(tmp_path / "corpus" / name) for name in theirs} == {
        os.path.realpath(tmp_path / "corpus" / name) for name in names
    }


def test_transcripts_of_another_order_are_not_left_beside_a_new_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio, lists = tmp_path / "corpus", tmp_path / "lists"
    audio.mkdir()
    for number, name in enumerate(("a.flac", "b.flac", "c.flac")):
        soundfile.write(audio / name, waveform(samples=800 + number), 16_000)
    names = _listed(audio)
    for kind in ("spk", "ltr", "wrd"):  # of people who add them, in the manifest's order
        (lists / f"train.{kind}").write_text("A\nB\nC\n")
    assert _listed(audio) == names and (lists / "train.spk").exists()
    write_manifest(lists / "train.tsv", audio, [("c.flac", 802), ("b.flac", 801), ("a.flac", 800)])
    before = (lists / "train.tsv").read_bytes()
    for kind in ("wrd", "ltr", "spk"):
        assert f"lists/train.{kind}: belongs to the train.tsv that is there" in _refused(audio, capsys, "--valid-percent", "0")
        (lists / f"train.{kind}").unlink()
    assert (lists / "train.tsv").read_bytes() == before
    assert _listed(audio) == names


def test_a_split_of_an_earlier_run_that_shares_files_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "corpus").mkdir()
    for name in ("a.flac", "b.flac"):
        soundfile.write(tmp_path / "corpus" / name, waveform(samples=800), 16_000)
    command = ["manifest", "folder", str(tmp_path / "corpus"), "--dest", str(tmp_path / "lists"), "--valid-percent"]
    assert main([*command, "0.5"]) == 0 and "warning" not in capsys.readouterr().out
    (tmp_path / "lists" / "train-1.tsv").write_bytes((tmp_path / "lists" / "train.tsv").read_bytes())  # a part of train, on purpose
    (tmp_path / "lists" / "notes.tsv").write_text("no\nmanifest\n")
    assert main([*command, "0"]) == 0
    warning, said = capsys.readouterr().out.splitlines()
    assert warning.startswith(f"warning: {tmp_path}/lists/valid.tsv of an earlier run shares 1 utterances with train; remove valid.*")
    assert said == f"{tmp_path}/lists: 2 files in train.tsv"


def test_a_circle_of_links_ends_and_every_file_is_listed_once(tmp_path: Path) -> None:
    _touch(tmp_path, "root/z/1.wav", "root/z/deep/2.wav", "outside/3.wav")
    (tmp_path / "root" / "a").symlink_to("z")
    (tmp_path / "root" / "z" / "deep" / "up").symlink_to("../..")
    (tmp_path / "root" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "back").symlink_to(tmp_path / "root")
    (tmp_path / "outside" / "here").symlink_to(".")
    found = list_audio(tmp_path / "root", ["wav"])
    assert found.names == ["out/3.wav", "z/1.wav", "z/deep/2.wav"] and found.problems == []
    assert found.left_out == {"linked folder that is listed under another name": 4}


def test_extensions_are_found_in_any_case_and_several_may_be_given(tmp_path: Path) -> None:
    assert parse_extensions("wav,.FLAC mp3,wav") == ["wav", "flac", "mp3"]
    for text in ("", " , ", "wav,."):
        with pytest.raises(SoftHubertError, match="--ext"):
            parse_extensions(text)
    (tmp_path / "audio").mkdir()
    for name, kind in {"one.wav": "WAV", "TWO.WAV": "WAV", "three.Flac": "FLAC", "four.aiff": "AIFF", "five.wave": "WAV"}.items():
        soundfile.write(tmp_path / "audio" / name, waveform(samples=800), 16_000, format=kind)
    assert _listed(tmp_path / "audio", "--ext", "wav") == ["TWO.WAV", "one.wav"]
    both = ["TWO.WAV", "one.wav", "three.Flac"]
    assert _listed(tmp_path / "audio", "--ext", ".wav,flac") == _listed(tmp_path / "audio", "--ext", "WAV", "--ext", "flac") == both
    assert _listed(tmp_path / "audio") == ["three.Flac"]


def test_what_was_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "a.flac", waveform(samples=800), 16_000)
    _touch(
        tmp_path / "audio",
        "b.mp3",
        "c.MP3",
        "d.m4a",
        "notes.txt",
        "folder.flac/e.ogg",
        "g.flac ",
        "h.wav.",
        "._a.flac",
        ".trash/f.flac",
        "__MACOSX/._a.flac",
    )
    assert _listed(tmp_path / "audio") == ["a.flac"]
    said, written = capsys.readouterr().out.splitlines()
    assert said.startswith("left out: ") and written.endswith("1 files in train.tsv")
    assert sorted(said[len("left out: ") :].split(", ")) == [
        *("1 × .m4a", "1 × .ogg", "2 × .mp3", "2 × name that ends in a dot or a space", "3 × hidden by a dot")
    ]
    line = _refused(tmp_path / "audio", capsys, "--ext", "wav,opus")
    assert "no .wav or .opus files below it, but " in line and "2 .mp3" in line and "1 .flac" in line
    assert "no such folder" in _refused(tmp_path / "none", capsys)


UNHOLDABLE = {
    b"caf\xe9.flac": r"caf\xe9.flac: the name is not UTF-8",
    b"two\nlines.flac": r"two\nlines.flac: the name has a line end or a tab",
    b"car\rriage.flac": r"car\rriage.flac: the name has a line end or a tab",
    b"ta\tb.flac": r"ta\tb.flac: the name has a line end or a tab",
    b" space.flac": " space.flac: the name begins with white space",
    "\u3000wide.flac".encode(): r"\u3000wide.flac: the name begins with white space",
    "\ufeffmark.flac".encode(): r"\ufeffmark.flac: the name begins with a byte order mark",
    b"\xff/inside.flac": r"\xff/inside.flac: the name is not UTF-8",
}


@pytest.mark.parametrize("name", UNHOLDABLE, ids=lambda name: repr(name)[2:-1])
def test_a_name_that_a_manifest_cannot_hold_is_named_while_listing(name: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "audio"
    bad = os.fsencode(folder) + b"/" + name
    os.makedirs(os.path.dirname(bad))
    for path in (bad, os.fsencode(folder / "good, \u2028 and ü .flac")):
        with open(path, "wb") as stream:
            soundfile.write(stream, waveform(samples=800), 16_000, format="FLAC")
    assert UNHOLDABLE[name] in _refused(folder, capsys) and not (tmp_path / "lists").exists()
    for options in ([], ["--resample-to", str(tmp_path / "copies")]):
        capsys.readouterr()
        assert _listed(folder, "--skip-unreadable", *options) == ["good, \u2028 and ü .flac"]
        skipped, *_, written = capsys.readouterr().out.splitlines()
        assert skipped.startswith("skipped ") and UNHOLDABLE[name] in skipped and written.endswith("1 files in train.tsv, 1 skipped")


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines", b"end\r", b"space ", "wide\u2003".encode()])
def test_a_folder_whose_name_a_manifest_cannot_hold_is_named(name: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    with open(os.fsencode(folder / "a.flac"), "wb") as stream:
        soundfile.write(stream, waveform(samples=800), 16_000, format="FLAC")
    line = _refused(folder, capsys)
    assert "which a manifest cannot hold; rename the folder" in line and line.isprintable()
    (tmp_path / "plain").mkdir()
    os.rename(folder / "a.flac", tmp_path / "plain" / "a.flac")
    assert "rename the folder" in _refused(tmp_path / "plain", capsys, "--resample-to", os.fspath(folder))


def test_no_manifest_is_written_with_such_a_name(tmp_path: Path) -> None:
    for name in ("a\tb", "a\nb", " a", "\udce9", "\ud800"):
        with pytest.raises(SoftHubertError, match="which a manifest cannot hold"):
            write_manifest(tmp_path / "train.tsv", tmp_path, [("good.flac", 1), (name, 1)])
    assert not list(tmp_path.iterdir())
    refuse_name("inner space, trailing space \x85\u2028 and ü ")


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path, "open/a.wav", "closed/b.wav")
    scandir = os.scandir

    def guarded(path: str) -> object:  # root may read everything, so permissions are pretended
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = list_audio(tmp_path, ["wav"])
    assert found.names == ["open/a.wav"]
    assert found.problems == [f"{tmp_path}/closed: the folder cannot be read (Permission denied); change its permissions or remove it"]
