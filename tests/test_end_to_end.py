"""The whole road with a few updates: its parts must fit, resume, and agree with fairseq's own tools. Learning is not tested."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch

from softhubert_plugin.alignments.utterances import Alignments
from softhubert_plugin.asr.decode import decode_split
from softhubert_plugin.asr.letter_alignment import align_split
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.manifests import read_manifest

REPOSITORY = Path(__file__).parents[1]
needs_submitit = pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs submitit: bash install.sh --extras slurm")
ENVIRONMENT = {**os.environ, "SOFTHUBERT_VENV": sys.prefix, "HYDRA_FULL_ERROR": "1"}


def _quickstart(exp: Path, *options: str) -> subprocess.CompletedProcess:
    small = ["--utterances", "32", "--pretrain-updates", "3", "--finetune-updates", "3"]
    command = ["bash", str(REPOSITORY / "examples" / "quickstart" / "run.sh"), "--exp", str(exp), *small, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)


def _results(exp: Path) -> Dict[str, Any]:
    results = json.loads((exp / "report" / "results.json").read_text())
    for system in results["systems"]:
        del system["seconds"]
    return results


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment folder of a quickstart with three updates per training."""
    exp = tmp_path_factory.mktemp("road")
    done = _quickstart(exp)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-5].startswith("system")
    return exp


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_plain(key) and _plain(entry) for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return value is None or type(value) in (bool, int, float, str, torch.Tensor)


def _checkpoint(road: Path, system: str, stage: str) -> Path:
    return road / "systems" / system / stage / "checkpoints" / f"checkpoint_{'best' if stage == 'finetune' else 'last'}.pt"


def test_both_systems_are_compared_on_the_same_unseen_speakers(road: Path) -> None:
    results = _results(road)
    assert [system["name"] for system in results["systems"]] == ["hard k-means", "soft GMM"]
    hard, soft = results["systems"]
    utterances = len((road / "data" / "test.tsv").read_text().splitlines()) - 1
    assert hard["utterances"] == soft["utterances"] == utterances > 0
    assert (hard["target_perplexity"], hard["pretraining_updates"], hard["finetuning_updates"]) == (1.0, 3, 3)
    # The mixture was calibrated on held-out utterances. It is more certain about the few utterances that it was fitted on.
    assert GaussianMixture.load(road / "gmm.safetensors").metadata["perplexity"] == pytest.approx(4, rel=1e-3)
    assert 1.5 < soft["target_perplexity"] < 4.4
    page = (road / "report" / "index.html").read_text()
    assert page.count("<svg") == 5


def test_training_and_decoding_give_no_warning(road: Path) -> None:
    """Output before the plugin is loaded does not count: hydra and fairseq print warnings that the plugin cannot silence yet."""
    for stage in ("pretrain-km", "pretrain-gmm", "finetune-km", "finetune-gmm", "decode-km", "decode-gmm"):
        output = (road / "logs" / f"{stage}.log").read_text()
        loaded = 0 if stage.startswith("decode") else output.index("[fairseq_cli.train]")
        warned = [line for line in output[loaded:].splitlines() if re.search(r"^\S+:\d+: \w*Warning: ", line)]
        assert [line for line in warned if "/fairseq/" not in line or "SyntaxWarning" not in line] == [], stage


def test_a_killed_stage_is_redone_others_are_kept_and_the_table_is_the_same(road: Path) -> None:
    before = _results(road)
    shutil.rmtree(road / "systems" / "gmm" / "finetune" / "checkpoints")
    done = _quickstart(road)
    assert done.returncode == 0, done.stdout + done.stderr
    redone = [line.split()[0] for line in done.stdout.splitlines() if re.fullmatch(r"  \S+ +[0-9]+ s( .*to go)?", line)]
    assert redone == ["finetune-gmm"]
    assert _results(road) == before


def test_a_corpus_with_other_options_is_not_mixed_in(road: Path) -> None:
    before = _results(road)
    done = _quickstart(road, "--seed", "2")
    assert done.returncode == 2
    assert "choose another folder" in done.stderr
    assert _results(road) == before


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
@pytest.mark.parametrize("system", ["km", "gmm"])
def test_checkpoints_hold_only_plain_types(road: Path, system: str, stage: str) -> None:
    state = torch.load(_checkpoint(road, system, stage), weights_only=True)
    assert _plain({key: value for key, value in state.items() if key != "model"})
    assert all(type(value) is torch.Tensor for value in state["model"].values())


def test_a_fine_tuned_checkpoint_stands_alone_and_fairseqs_infer_finds_the_same_words(road: Path, tmp_path: Path) -> None:
    """The labels and the pretraining checkpoint are hidden for this test."""
    alone = tmp_path / "alone.pt"
    shutil.copy(_checkpoint(road, "gmm", "finetune"), alone)
    hidden = [(road / name, road / f"{name}.hidden") for name in ("labels", "systems")]
    for path, away in hidden:
        path.rename(away)
    try:
        decode_split(road / "data", "test", alone, tmp_path / "ours", max_seconds=0)  # one at a time, so that nothing is padded
        command = [sys.executable, "-m", "softhubert_plugin", "fairseq-tool", "speech_recognition/new/infer.py"]
        command += ["--config-dir", str(REPOSITORY / "config" / "decode"), "--config-name", "viterbi", f"task.data={road / 'data'}"]
        command += [f"common_eval.path={alone}", f"common_eval.results_path={tmp_path / 'theirs'}", "dataset.batch_size=1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=tmp_path)
    finally:
        for path, away in hidden:
            away.rename(path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for name in ("hypo.units", "hypo.word", "ref.units", "ref.word"):
        assert _lines(tmp_path / "ours" / name) == _lines(tmp_path / "theirs" / name)
    assert len({line.rpartition("(")[0] for line in _lines(tmp_path / "ours" / "ref.word")}) > 1


def test_letter_alignments_name_every_letter_in_order_and_cover_the_audio(road: Path, tmp_path: Path) -> None:
    said = align_split(road / "data", "test", _checkpoint(road, "gmm", "finetune"), tmp_path / "letters")
    manifest = read_manifest(road / "data" / "test.tsv")
    assert f"{len(manifest)} utterances" in said
    assert Alignments(tmp_path / "letters", manifest).phone_set == "letters"
    for index, transcript in enumerate((road / "data" / "test.ltr").read_text().splitlines()):
        rows = [line.split() for line in (tmp_path / "letters" / f"{manifest.utterance_id(index)}.lab").read_text().splitlines()]
        assert [letter for *_, letter in rows if letter != "sil"] == transcript.replace("|", "").split()
        assert float(rows[0][0]) == 0 and float(rows[-1][1]) == pytest.approx(manifest.sizes[index] / 16_000, abs=1e-4)
        assert all(row[1] == after[0] for row, after in zip(rows, rows[1:]))
    with pytest.raises(SoftHubertError, match="not a fine-tuned hubert_ctc model"):
        align_split(road / "data", "test", _checkpoint(road, "gmm", "pretrain"), tmp_path / "none")


def _recipe(name: str, exp: Path, road: Path, *options: str) -> subprocess.CompletedProcess:
    """Run a recipe on the quickstart's corpus, as on any corpus with manifests."""
    data = ["--data", str(road / "data"), "--train", "train", "--valid", "valid", "--tests", "test"]
    data += ["--alignments", str(road / "data" / "alignments")]
    command = [sys.executable, "-m", "softhubert_plugin", "recipe", name, "--exp", str(exp), *data, "--valid-utterances", "3", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)


@pytest.mark.parametrize(
    "jobs", [["--jobs", "2"], pytest.param(["--slurm", "--cluster", "local"], marks=[needs_submitit, pytest.mark.slow])]
)
def test_a_study_of_any_corpus_reports_over_seeds(jobs: List[str], road: Path, tmp_path: Path) -> None:
    saved = tmp_path / "results"
    small = ["--clusters", "8", "--pretrain-updates", "2", "--finetune-updates", "2", "--results", str(saved), *jobs]
    done = _recipe("study", tmp_path, road, *small, "--systems", "gmm", "--seeds", "1")
    assert done.returncode == 0 and "done before" not in done.stdout, done.stdout + done.stderr
    run = json.loads((saved / "gmm-seed1.json").read_text())
    for name, title, seed in (("gmm", "soft GMM", 2), ("gmm-shuffle", "soft GMM, shuffled", 1)):  # as if they had run elsewhere
        settings = {**run["settings"], "system": title, "target": name, "seed": seed}
        (saved / f"{name}-seed{seed}.json").write_text(json.dumps({**run, "name": title, "settings": settings}))
    done = _recipe("study", tmp_path, road, *small, "--systems", "gmm gmm-shuffle", "--seeds", "1 2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(saved.glob("*.json"))) == 4 and not (tmp_path / "seed2" / "systems" / "gmm").exists()
    assert not (tmp_path / "systems" / "gmm-shuffle").exists()
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    names = [f"soft GMM{shuffled}, seed {seed}" for shuffled in ("", ", shuffled") for seed in (1, 2)]
    assert [system["name"] for system in results["systems"]] == names
    assert all(system["masked_accuracy"] is not None for system in results["systems"]), "validation is on valid-3"
    (comparison,) = results["comparisons"]
    assert comparison["seeds"] == ["1", "2"] and comparison["by_seed"]["method"] == "Student's t over paired seeds"
    assert not (tmp_path / "mfcc").exists() and len((road / "data" / "valid-3.tsv").read_text().splitlines()) == 4
    folders = [tmp_path / "systems" / "gmm", tmp_path / "seed2" / "systems" / "gmm-shuffle"]
    assert all((folder / name).exists() for folder in folders for name in ("layers.json", "quality.json", "timings.tsv"))
    assert [(folder / "uncertainty" / "uncertainty.json").exists() for folder in folders] == [True, False]


@pytest.mark.skipif(importlib.util.find_spec("kenlm") is None, reason="needs kenlm and flashlight-text: bash install.sh --extras lm")
def test_all_stages_of_librispeech_run_on_a_corpus_with_its_own_splits(road: Path, tmp_path: Path) -> None:
    small = ["--clusters1", "8", "--clusters2", "8", "--beam", "2", "--systems", "gmm", "--percent", "0.5", "--nshard", "2"]
    for name in ("updates1", "updates2", "finetune-updates"):
        small += [f"--{name}", "2"]
    done = _recipe("librispeech", tmp_path, road, *small)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert [system["name"] for system in results["systems"]] == ["soft GMM"] and {"test", "test-lm"} == set(results["systems"][0]["scores"])
    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.npy")]
    assert left == [], "features stay on disk"
    manifest = read_manifest(road / "data" / "train.tsv")
    labels = open_soft_labels(tmp_path / "systems" / "gmm" / "iteration2" / "labels" / "gmm" / "train.gmm")
    assert len(labels) == len(manifest) and labels.info.label_rate == 50


def _lines(path: Path) -> List[str]:
    return sorted(path.read_text().splitlines())


def test_training_refuses_bad_labels_in_one_line(road: Path, tmp_path: Path) -> None:
    command = [str(Path(sys.prefix) / "bin" / "fairseq-hydra-train"), "--config-dir", str(REPOSITORY / "config" / "pretrain")]
    command += ["--config-name", "soft_hubert_tiny", f"task.data={road / 'data'}", f"task.label_dir={road / 'labels' / 'gmm'}"]
    command += [f"hydra.run.dir={tmp_path / 'run'}", "task.label_rate=50"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=tmp_path)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if "error" in line.lower()] == [done.stderr.splitlines()[-1]]
    assert "Traceback" not in done.stderr and "labels at 100 Hz, but task.label_rate is 50" in done.stderr
