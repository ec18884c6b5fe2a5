"""Probing a model that was briefly pretrained on generated speech: layers differ, and all beat the majority baseline. Takes minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_quality import fairseq_script

from softhubert_plugin.alignments.utterances import UNLABELLED, Alignments
from softhubert_plugin.features.hubert import dump_hubert
from softhubert_plugin.features.mfcc import dump_mfcc
from softhubert_plugin.gmm.dump_gmm_posteriors import dump_gmm_posteriors
from softhubert_plugin.manifests import read_manifest, write_cluster_dictionary
from softhubert_plugin.probing.label_quality import measure_labels
from softhubert_plugin.probing.probe import probe_layers

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart's experiment folder after 300 updates of the soft system."""
    exp = tmp_path_factory.mktemp("pretrained")
    command = ["bash", str(REPOSITORY / "examples" / "quickstart" / "run.sh"), "--exp", str(exp), "--systems", "gmm"]
    command += ["--utterances", "480", "--pretrain-updates", "300", "--finetune-updates", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "SOFTHUBERT_VENV": sys.prefix})
    assert done.returncode == 0, done.stdout + done.stderr
    return exp


@pytest.mark.slow
def test_layers_differ_by_more_than_their_intervals_and_beat_the_majority(pretrained: Path, tmp_path: Path) -> None:
    checkpoint = pretrained / "systems" / "gmm" / "pretrain" / "checkpoints" / "checkpoint_last.pt"
    dump_hubert(pretrained / "data", "train", checkpoint, "0-3", 1, 0, tmp_path / "all", dtype="float16")
    manifest, alignments = pretrained / "data" / "train.tsv", pretrained / "data" / "alignments"
    probe_layers(tmp_path / "all", "train", 1, manifest, alignments, tmp_path / "probe", mfcc_dir=pretrained / "mfcc", max_frames=20_000)
    result = json.loads((tmp_path / "probe" / "layers.json").read_text())
    print(json.dumps([{key: row[key] for key in ("layer", "accuracy", "pnmi", "majority")} for row in result["layers"]]))
    accuracies = [row["accuracy"] for row in result["layers"]]
    assert all(row["low"] > result["mfcc"]["majority"] for row in accuracies)
    best, worst = max(accuracies, key=lambda row: row["value"]), min(accuracies, key=lambda row: row["value"])
    assert best["low"] > worst["high"]
    chosen = next(row for row in result["layers"] if row["layer"] == result["layer"])
    assert chosen["accuracy"]["value"] > best["value"] - 0.01  # it was chosen on other speakers


@pytest.mark.slow
def test_quality_of_clusters_on_generated_speech_equals_fairseqs_script(pretrained: Path, tmp_path: Path) -> None:
    data = pretrained / "data"
    dump_mfcc(data, "valid", 1, 0, tmp_path / "mfcc")
    dump_gmm_posteriors(tmp_path / "mfcc", "valid", pretrained / "gmm.safetensors", 1, 0, tmp_path, hard=True)
    (tmp_path / "valid_0_1.km").rename(tmp_path / "valid.km")
    write_cluster_dictionary(tmp_path, "km", 50)
    measure_labels(tmp_path / "valid.km", data / "valid.tsv", data / "alignments", label_rate=100, dest=tmp_path / "ours.json")
    ours = json.loads((tmp_path / "ours.json").read_text())

    script, manifest = fairseq_script(), read_manifest(data / "valid.tsv")
    hypotheses = script.read_lab(data / "valid.tsv", tmp_path / "valid.km")
    aligned = Alignments(data / "alignments", manifest)
    references = {}
    for index in range(len(manifest)):
        name = manifest.utterance_id(index)
        phones = aligned.frames(index, len(hypotheses[name]), 100.0)
        references[name] = phones[: int((phones != UNLABELLED).sum())]  # frames beyond the alignment come last
    joint, *_ = script.comp_joint_prob(references, hypotheses)
    information, by_phone, *_ = script.comp_norm_mutual_info(joint)
    expected = {"phone_purity": script.comp_purity(joint, 0)[1], "cluster_purity": script.comp_purity(joint, 1)[1], "pnmi": by_phone}
    for name, value in {**expected, "mutual_information": information}.items():
        assert ours["hard"][name]["value"] == pytest.approx(value, abs=5e-5), name
    assert 0.2 < ours["hard"]["pnmi"]["value"] < 0.9
