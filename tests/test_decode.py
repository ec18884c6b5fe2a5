"""Decoding, compared with fairseq's own decoders on a small random model whose frames differ as much as a trained model's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np
import pytest
import soundfile
import torch
from shapes import TINY

from softhubert_plugin.asr.acoustic import AcousticModel
from softhubert_plugin.asr.beam import BeamDecoder, BeamSettings, read_lexicon
from softhubert_plugin.asr.decode import decode_split
from softhubert_plugin.asr.language_model import write_language_model
from softhubert_plugin.asr.processes import in_processes
from softhubert_plugin.asr.tune import read_tuned, tune_weights
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.manifests import write_letter_dictionary, write_manifest, write_transcripts
from tests.benchmarks.finetuned import write_finetuned_checkpoint

REPOSITORY = Path(__file__).parents[1]
WORDS = ["THE", "CAT", "SAT", "ON", "A", "MAT", "AND", "ATE", "NOT", "THAT", "TEN", "HENS", "IN", "TEA"]
FILES = ("hypo.units", "hypo.word", "ref.units", "ref.word")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve utterances of filtered noise (0.4 to 3.2 s), a fine-tuned checkpoint, and text for a language model."""
    folder = tmp_path_factory.mktemp("decode")
    rng = np.random.default_rng(0)
    entries, texts = [], []
    for number in range(12):
        samples = int(rng.integers(6_400, 51_200))
        noise = rng.standard_normal(samples).cumsum()
        soundfile.write(folder / f"7-{number}.flac", 0.3 * np.sin(noise) * np.sin(np.arange(samples) / (900 + 90 * number)), 16_000)
        entries.append((f"7-{number}.flac", samples))
        texts.append(" ".join(rng.choice(WORDS, size=rng.integers(1, 6))))
    write_manifest(folder / "test.tsv", folder, entries)
    write_transcripts(folder, "test", texts)
    write_letter_dictionary(folder, texts)
    (folder / "model").mkdir()
    write_finetuned_checkpoint(folder / "model" / "checkpoint.pt", **TINY)
    (folder / "text").write_text("".join(" ".join(rng.choice(WORDS, size=rng.integers(2, 8))) + "\n" for _ in range(200)))
    return folder


def _lines(folder: Path) -> Dict[str, List[str]]:
    return {name: sorted((folder / name).read_text().splitlines()) for name in FILES}


def _infer(work: Path, results: Path, config: str, *overrides: str) -> None:
    """Run fairseq's infer.py on one utterance at a time, because in batches it decodes padding too."""
    command = [sys.executable, "-m", "softhubert_plugin", "fairseq-tool", "speech_recognition/new/infer.py"]
    command += ["--config-dir", str(REPOSITORY / "config" / "decode"), "--config-name", config, f"task.data={work}"]
    command += [f"common_eval.path={work}/model/checkpoint.pt", f"common_eval.results_path={results}", "dataset.batch_size=1", *overrides]
    environment = {**os.environ, "HYDRA_FULL_ERROR": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=results.parent, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_greedy_hypotheses_equal_infer_pys_whatever_the_batch_and_the_processes(work: Path, tmp_path: Path) -> None:
    _infer(work, tmp_path / "theirs", "viterbi")
    theirs = _lines(tmp_path / "theirs")
    assert len(set(theirs["hypo.units"])) == 12 and max(map(len, theirs["hypo.units"])) > 60
    for name, processes, max_seconds in (("one", 1, 0.0), ("batched", 1, 10.0), ("two", 2, None)):
        decode_split(work, "test", work / "model" / "checkpoint.pt", tmp_path / name, processes=processes, max_seconds=max_seconds)
        assert _lines(tmp_path / name) == theirs


def test_batched_scores_equal_those_of_one_utterance_alone(work: Path) -> None:
    from softhubert_plugin.manifests import read_manifest

    model, manifest = AcousticModel(work / "model" / "checkpoint.pt"), read_manifest(work / "test.tsv")
    waveforms = [model.read(manifest, index) for index in range(6)]
    for alone, together in zip([model.logits([waveform])[0] for waveform in waveforms], model.logits(waveforms)):
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_letter_alignments_equal_those_of_fairseqs_own_scores(work: Path, tmp_path: Path) -> None:
    from torchaudio.functional import forced_align

    from softhubert_plugin.asr.letter_alignment import align_split, letter_intervals
    from softhubert_plugin.checkpoints.load import load_checkpoint

    (tmp_path / "test.tsv").write_text((work / "test.tsv").read_text())
    (tmp_path / "test.ltr").write_text("C A T | A |\n" * 12)
    align_split(tmp_path, "test", work / "model" / "checkpoint.pt", tmp_path / "letters", device="cpu")
    loaded = load_checkpoint(work / "model" / "checkpoint.pt")
    dictionary = loaded.task.target_dictionary
    labels = torch.tensor([[dictionary.index(letter) for letter in "CAT|A|"]], dtype=torch.int32)
    for number in range(12):
        samples, rate = soundfile.read(work / f"7-{number}.flac", dtype="float32")
        source = torch.from_numpy(samples)[None]
        with torch.no_grad():
            scores = loaded.model(source=source, padding_mask=torch.zeros_like(source, dtype=torch.bool))["encoder_out"][:, 0]
        path, _ = forced_align(scores.log_softmax(-1)[None], labels, blank=0)
        expected = letter_intervals(path[0].tolist(), 0, 320 / rate, len(samples) / rate)
        names = ["sil" if symbol is None or dictionary[symbol] == "|" else dictionary[symbol] for _, _, symbol in expected]
        lines = [f"{start:.4f} {end:.4f} {name}" for (start, end, _), name in zip(expected, names)]
        assert (tmp_path / "letters" / f"7-{number}.lab").read_text().splitlines() == lines and names.count("A") == 2
    (tmp_path / "test.ltr").write_text("C A T |\n" * 11 + "C <s> |\n")  # the blank is not a letter
    with pytest.raises(SoftHubertError, match=r"test\.ltr, line 12: the letter '<s>' is not a letter of"):
        align_split(tmp_path, "test", work / "model" / "checkpoint.pt", tmp_path / "letters", device="cpu")


def test_generated_lines_hold_the_reference_and_the_n_best(work: Path, tmp_path: Path) -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    decode_split(work, "test", work / "model" / "checkpoint.pt", tmp_path, search=BeamSettings(beam=8, nbest=3), processes=1)
    lines = (tmp_path / "generate.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == [f"{kind}-{number}" for number in range(12) for kind in "THHH"]
    first = [line.split("\t") for line in lines[:4]]
    assert f"{first[1][2]} (None-0)" in (tmp_path / "hypo.word").read_text()
    scores = [float(fields[1]) for fields in first[1:]]
    assert scores == sorted(scores, reverse=True)


def test_greedy_and_searched_hypotheses_of_one_run_equal_those_of_two(work: Path, tmp_path: Path) -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    checkpoint, search = work / "model" / "checkpoint.pt", BeamSettings(beam=8, nbest=2)
    decode_split(work, "test", checkpoint, tmp_path / "greedy", processes=2)  # each of one thread; more threads round otherwise
    decode_split(work, "test", checkpoint, tmp_path / "beam", search=search, processes=2)
    decode_split(work, "test", checkpoint, tmp_path / "both", search=search, greedy=tmp_path / "beside", processes=2)
    for alone, together in (("greedy", "beside"), ("beam", "both")):
        written = sorted(path.name for path in (tmp_path / alone).iterdir())
        assert written == sorted(path.name for path in (tmp_path / together).iterdir())
        for name in set(written) - {"decode.json"}:
            assert (tmp_path / alone / name).read_bytes() == (tmp_path / together / name).read_bytes(), name
        settings = [json.loads((tmp_path / folder / "decode.json").read_text()) for folder in (alone, together)]
        assert settings[0]["search"] == settings[1]["search"] and settings[0].keys() == settings[1].keys()


def test_greedy_hypotheses_need_a_search_and_a_folder_beside_it(work: Path, tmp_path: Path) -> None:
    checkpoint = work / "model" / "checkpoint.pt"
    with pytest.raises(SoftHubertError, match="but there is no search; .*out has them"):
        decode_split(work, "test", checkpoint, tmp_path / "out", greedy=tmp_path / "greedy")
    with pytest.raises(SoftHubertError, match="give another folder"):
        decode_split(work, "test", checkpoint, tmp_path / "out", search=BeamSettings(), greedy=tmp_path / "x" / ".." / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lexicon_free", [False, True])
def test_kenlm_hypotheses_equal_fairseqs_flashlight_decoder(work: Path, tmp_path: Path, lexicon_free: bool) -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    pytest.importorskip("kenlm")
    units = "letters" if lexicon_free else "words"
    write_language_model([work / "text"], tmp_path / "lm", order=3, units=units, dictionary=work / "model" / "dict.ltr.txt")
    settings = BeamSettings(
        lm=str(tmp_path / "lm" / "lm.arpa"),
        lexicon=None if lexicon_free else str(tmp_path / "lm" / "lexicon.txt"),
        beam=20, beam_threshold=30.0, lm_weight=1.5, word_score=0.5, sil_score=-0.5,
    )  # fmt: skip
    decode_split(work, "test", work / "model" / "checkpoint.pt", tmp_path / "ours", search=settings, processes=2)
    overrides = [f"decoding.lmpath={settings.lm}", "decoding.beam=20", "decoding.beamthreshold=30", "decoding.lmweight=1.5"]
    overrides += ["decoding.wordscore=0.5", "decoding.silweight=-0.5"]
    if lexicon_free:
        overrides += ["decoding.lexicon=null", "decoding.unitlm=true"]
    else:
        overrides += [f"decoding.lexicon={settings.lexicon}"]
    _infer(work, tmp_path / "theirs", "kenlm", *overrides)
    ours, theirs = _lines(tmp_path / "ours"), _lines(tmp_path / "theirs")
    assert ours["hypo.units"] == theirs["hypo.units"] and len(set(ours["hypo.units"])) > 6
    if lexicon_free:  # here fairseq prints its symbols as words
        assert all(words for words in ours["hypo.word"])
    else:
        assert ours["hypo.word"] == theirs["hypo.word"]
        assert {word for line in ours["hypo.word"] for word in line.split()[:-1]} <= set(WORDS)


def test_tuning_finds_the_best_of_its_grid_and_decoding_uses_it(work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    pytest.importorskip("kenlm")
    from softhubert_plugin.scoring.score import score_files

    write_language_model([work / "text"], tmp_path / "lm", order=2)
    search = BeamSettings(lm=str(tmp_path / "lm" / "lm.arpa"), lexicon=str(tmp_path / "lm" / "lexicon.txt"), beam=10)
    checkpoint = work / "model" / "checkpoint.pt"
    said = tune_weights(work, "test", checkpoint, tmp_path / "t.json", search=search, processes=2, weights=(0.0, 2.0), scores=(-4.0, 4.0))
    weight, score = read_tuned(tmp_path / "t.json")
    best = BeamSettings(lm=search.lm, lexicon=search.lexicon, beam=10, lm_weight=weight, word_score=score)
    decode_split(work, "test", checkpoint, tmp_path / "out", search=best, processes=1)
    found = score_files(tmp_path / "out" / "hypo.word", tmp_path / "out" / "ref.word")
    tuned = json.loads((tmp_path / "t.json").read_text())
    assert f"WER {100 * found.wer:.2f} %" in said and tuned["wer"] == pytest.approx(found.wer)
    assert tuned["wer"] == min(point["wer"] for point in tuned["tried"]) and len(tuned["tried"]) >= 12
    assert len({point["errors"] for point in tuned["tried"]}) > 1
    assert "the LM" not in capfd.readouterr().err  # KenLM's own messages, which it prints once per setting


@pytest.mark.parametrize(
    ("lexicon", "units", "complaint"),
    [
        ("CAFÉ\tC A F É |\nCAT\tC A T |\n", "words", r"spells with 1 symbols that the model does not have: 'É' \(1 words\)"),
        ("cat\tC A T |\n", "words", "has none of the 1 words .*is one in capitals"),
        ("CAT\n", "words", "line 1: expected a word and its spelling"),
        (None, "words", "lacks 27 of the model's symbols .*one of letters"),
    ],
)
def test_a_lexicon_and_a_model_that_do_not_fit_are_refused(
    work: Path, tmp_path: Path, lexicon: Optional[str], units: str, complaint: str
) -> None:
    pytest.importorskip("kenlm")
    pytest.importorskip("flashlight.lib.text.decoder")
    write_language_model([work / "text"], tmp_path / "lm", order=2, units=units)
    if lexicon is not None:
        (tmp_path / "lexicon.txt").write_text(lexicon)
    model = AcousticModel(work / "model" / "checkpoint.pt")
    settings = BeamSettings(lm=str(tmp_path / "lm" / "lm.arpa"), lexicon=None if lexicon is None else str(tmp_path / "lexicon.txt"))
    with pytest.raises(SoftHubertError, match=complaint):
        BeamDecoder(settings, model.symbols, model.blank, model.end)


@pytest.mark.parametrize("program", ["decode", "tune"])
def test_most_words_in_another_case_are_refused_before_anything_is_decoded(program: str, work: Path, tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    pytest.importorskip("flashlight.lib.text.decoder")
    write_language_model([work / "text"], tmp_path / "lm", order=2)
    lines = (tmp_path / "lm" / "lexicon.txt").read_text().splitlines()
    (tmp_path / "lexicon.txt").write_text(
        "\n".join([lines[0], *(line.partition("\t")[0].lower() + "\t" + line.partition("\t")[2] for line in lines[1:])])
    )
    search = BeamSettings(lm=str(tmp_path / "lm" / "lm.arpa"), lexicon=str(tmp_path / "lexicon.txt"), beam=5)
    with pytest.raises(SoftHubertError, match="has only 1 of the 14 words of .* In another case, 13 of these 13 are there"):
        if program == "decode":
            decode_split(work, "test", work / "model" / "checkpoint.pt", tmp_path / "out", search=search, processes=2)
        else:
            tune_weights(work, "test", work / "model" / "checkpoint.pt", tmp_path / "out", search=search, processes=2)
    assert not (tmp_path / "out").exists()


def test_the_fit_is_said_once_however_many_processes_decode(work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("kenlm")
    pytest.importorskip("flashlight.lib.text.decoder")
    write_language_model([work / "text"], tmp_path / "lm", order=2)
    search = BeamSettings(lm=str(tmp_path / "lm" / "lm.arpa"), lexicon=str(tmp_path / "lm" / "lexicon.txt"), beam=5)
    decode_split(work, "test", work / "model" / "checkpoint.pt", tmp_path / "out", search=search, processes=2)
    assert capfd.readouterr().err.count("knows 14 (100.0 %) of the 14 words") == 1


def test_a_configuration_in_fairseqs_form_is_read_and_options_override_it(tmp_path: Path) -> None:
    from softhubert_plugin.asr.beam import read_search_config, search_settings

    kenlm = REPOSITORY / "config" / "decode" / "kenlm.yaml"
    assert read_search_config(REPOSITORY / "config" / "decode" / "viterbi.yaml") == {}
    chosen = search_settings({"lm": "lm.arpa", "lexicon": "lexicon.txt", "beam": 7, "nbest": None}, kenlm)
    assert chosen == BeamSettings("lm.arpa", "lexicon.txt", beam=7, beam_threshold=100, lm_weight=2, word_score=-1)
    with pytest.raises(SoftHubertError, match=r"kenlm\.yaml: does not set --lm and --lexicon; set it there"):
        search_settings({"beam": 7}, kenlm)
    (tmp_path / "windows.yaml").write_bytes(b"\xef\xbb\xbf" + kenlm.read_bytes().replace(b"\n", b"\r\n"))
    assert read_search_config(tmp_path / "windows.yaml") == read_search_config(kenlm)
    for setting, complaint in (
        ("beam: many", "beam is 'many', expected a whole number from 1"),
        ("lmpath: [a]", r"lmpath is .*'a'.*, expected a path"),
        ("nbest: true", "nbest"),
    ):
        (tmp_path / "odd.yaml").write_text(f"decoding: {{type: kenlm, {setting}}}")
        with pytest.raises(SoftHubertError, match=rf"odd\.yaml: decoding\.{complaint}"):
            read_search_config(tmp_path / "odd.yaml")
    (tmp_path / "deep.yaml").write_text("[" * 3000)
    with pytest.raises(SoftHubertError, match=r"deep\.yaml: not YAML of plain values"):
        read_search_config(tmp_path / "deep.yaml")
    (tmp_path / "tuned.json").write_text('{"lm_weight": NaN, "word_score": 1}')
    with pytest.raises(SoftHubertError, match=r"tuned\.json: lm_weight and word_score are"):
        read_tuned(tmp_path / "tuned.json")
    (tmp_path / "tuned.json").write_text("[" * 100_000)
    with pytest.raises(SoftHubertError, match=r"tuned\.json: not valid JSON"):
        read_tuned(tmp_path / "tuned.json")
    (tmp_path / "latin.yaml").write_bytes(b"decoding: {type: kenlm}  # caf\xe9")
    with pytest.raises(SoftHubertError, match=r"latin\.yaml, line 1: not UTF-8 text"):
        read_search_config(tmp_path / "latin.yaml")
    (tmp_path / "lm.yaml").write_text("decoding: {type: fairseqlm}")
    with pytest.raises(SoftHubertError, match="fairseqlm"):
        read_search_config(tmp_path / "lm.yaml")


def test_search_settings_are_refused_without_a_search(work: Path, tmp_path: Path) -> None:
    from softhubert_plugin.asr.beam import search_settings

    assert search_settings({"lm": None, "nbest": None}) is None
    with pytest.raises(SoftHubertError, match="--lm-weight, --nbest: settings of a beam search, but this is greedy"):
        search_settings({"lm": None, "lm_weight": 1.5, "nbest": 3})
    with pytest.raises(SoftHubertError, match="--beam 0: expected 1 or more"):
        search_settings({"beam": 0})
    with pytest.raises(SoftHubertError, match="--lexicon-from: a model of letters decodes without"):
        write_language_model([work / "text"], tmp_path, units="letters", lexicon_from=work / "text")


def test_a_killed_process_is_reported_in_one_line() -> None:
    work = in_processes(lambda: lambda number: os.kill(os.getpid(), 9), [1, 2], 2, "cpu")
    with pytest.raises(SoftHubertError, match="one of 2 processes was killed"):
        list(work)


def test_missing_or_damaged_models_and_devices_are_refused(work: Path, tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    (tmp_path / "broken.arpa").write_text("not a model")
    symbols = ["<s>", "<pad>", "</s>", "<unk>", "|", "A"]
    for settings, complaint in (
        (BeamSettings(lm=str(tmp_path / "none.arpa")), "no such language model"),
        (BeamSettings(lm=str(tmp_path / "broken.arpa")), "not a language model that KenLM reads"),
        (BeamSettings(lexicon=str(tmp_path / "none.txt")), "no such lexicon"),
    ):
        with pytest.raises(SoftHubertError, match=complaint):
            BeamDecoder(settings, symbols, 0, 2)
    with pytest.raises(SoftHubertError, match="tuning needs a language model"):
        tune_weights(work, "test", work / "model" / "checkpoint.pt", tmp_path / "t.json", search=None)
    with pytest.raises(SoftHubertError, match="--device nonsense: not usable"):
        AcousticModel(work / "model" / "checkpoint.pt", "nonsense")
    with pytest.raises(SoftHubertError, match="the lexicon is empty"):
        (tmp_path / "empty.txt").write_text("")
        read_lexicon(tmp_path / "empty.txt")


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_scored(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "afile").write_text("kept")
    checkpoint, search = work / "model" / "checkpoint.pt", BeamSettings(lm="any")
    monkeypatch.setattr(AcousticModel, "__init__", lambda *_: pytest.fail("scores"))
    for dest in (tmp_path / "afile", tmp_path / "afile" / "below" / "it"):
        with pytest.raises(SoftHubertError, match="there is a file in the place of its folder"):
            decode_split(work, "test", checkpoint, dest, processes=1)
    with pytest.raises(SoftHubertError, match="there is a file in the place of its folder"):
        decode_split(work, "test", checkpoint, tmp_path / "new", search=search, greedy=tmp_path / "afile", processes=1)
    with pytest.raises(SoftHubertError, match="there is a folder of this name"):
        tune_weights(work, "test", checkpoint, tmp_path, search=search, processes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["afile"] and (tmp_path / "afile").read_text() == "kept"


def test_references_of_an_earlier_decoding_do_not_stay_beside_hypotheses_of_a_split_without(work: Path, tmp_path: Path) -> None:
    checkpoint = work / "model" / "checkpoint.pt"
    decode_split(work, "test", checkpoint, tmp_path / "out", processes=1)
    assert (tmp_path / "out" / "ref.word").exists() and (tmp_path / "out" / "ref.units").exists()
    (tmp_path / "test.tsv").write_text("\n".join((work / "test.tsv").read_text().splitlines()[:3]) + "\n")
    decode_split(tmp_path, "test", checkpoint, tmp_path / "out", processes=1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["decode.json", "generate.txt", "hypo.units", "hypo.word"]
