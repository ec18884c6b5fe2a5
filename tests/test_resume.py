"""Training on real speech: the loss falls, and a run that is killed and resumed ends with the weights of an uninterrupted run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from noise_corpus import label_corpus, write_corpus
from omegaconf import OmegaConf
from trainers import build_trainer

from softhubert_plugin.cli import main

REPOSITORY = Path(__file__).parents[1]
UPDATES, KILL_AFTER = 300, 100


@pytest.fixture(scope="module")
def labelled_speech(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment folder: real LibriSpeech utterances with soft labels of 50 components."""
    exp = tmp_path_factory.mktemp("speech")
    data, mfcc, gmm, labels = (str(exp / name) for name in ("data", "mfcc", "gmm.safetensors", "labels"))
    assert main(["manifest", "folder", str(speech / "LibriSpeech"), "--dest", data, "--ext", "flac", "--valid-percent", "0.05"]) == 0
    for split in ("train", "valid"):
        assert main(["features", "mfcc", data, split, "1", "0", mfcc]) == 0
    assert main(["gmm", "learn", mfcc, "train", "1", gmm, "50", "--percent", "0.1", "--iterations", "20"]) == 0
    for split in ("train", "valid"):
        assert main(["gmm", "dump", mfcc, split, gmm, "1", "0", labels]) == 0
        assert main(["labels", "merge", labels, split, "1"]) == 0
    return exp


def _command(exp: Path, run: Path, optimizer: str) -> List[str]:
    return [
        str(Path(sys.prefix) / "bin" / "fairseq-hydra-train"),
        *("--config-dir", str(REPOSITORY / "config" / "pretrain"), "--config-name", "soft_hubert_tiny"),
        *(f"task.data={exp / 'data'}", f"task.label_dir={exp / 'labels'}", f"hydra.run.dir={run}"),
        *(f"common.user_dir={REPOSITORY / 'softhubert_plugin'}", f"optimization.max_update={UPDATES}"),
        f"optimizer._name={optimizer}",
        # Layer drop and dropout must also be the same after resuming.
        *("model.dropout=0.1", "model.encoder_layerdrop=0.1", "dataset.num_workers=1"),
        *(f"checkpoint.save_interval_updates={KILL_AFTER}", "dataset.validate_interval_updates=100"),
    ]


def _start(exp: Path, run: Path, optimizer: str) -> subprocess.Popen:
    run.mkdir(exist_ok=True)
    environment = {**os.environ, "HYDRA_FULL_ERROR": "1", "PYTHONPATH": str(REPOSITORY)}
    with open(run / "output.log", "a", encoding="utf-8") as log:
        return subprocess.Popen(_command(exp, run, optimizer), stdout=log, stderr=log, env=environment, cwd=run)


def _finish(training: subprocess.Popen, run: Path) -> None:
    assert training.wait() == 0, (run / "output.log").read_text()[-3000:]


def _weights(run: Path) -> Dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "checkpoint_last.pt", weights_only=True)["model"]


def _losses(run: Path) -> List[float]:
    lines = (run / "output.log").read_text().splitlines()
    logged = [line[line.index("{") :] for line in lines if "[train_inner]" in line and "{" in line]
    return [float(json.loads(line)["loss"]) for line in logged]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "fused_adamw"])
def test_a_killed_and_resumed_run_ends_like_an_uninterrupted_one_and_the_loss_falls(
    labelled_speech: Path, tmp_path: Path, optimizer: str
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    _finish(_start(labelled_speech, whole, optimizer), whole)
    training = _start(labelled_speech, broken, optimizer)
    saved = broken / "checkpoints" / "checkpoint_last.pt"
    while not saved.exists() and training.poll() is None:
        time.sleep(0.05)
    # Wait until it has made updates that no checkpoint holds.
    logged = len(_losses(broken))
    while len(_losses(broken)) < logged + 2 and training.poll() is None:
        time.sleep(0.05)
    training.kill()
    training.wait()
    before = len(_losses(broken))
    _finish(_start(labelled_speech, broken, optimizer), broken)
    assert before < len(_losses(whole))
    expected, found = _weights(whole), _weights(broken)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    losses = _losses(whole)
    assert sum(losses[-3:]) < 0.85 * sum(losses[:3]), losses


SMALL = ["model.encoder_layers=1", "model.encoder_embed_dim=32", "model.encoder_ffn_embed_dim=32", "common.cpu=true"]


def _trainer(corpus: Path, *overrides: str, config: str = "pretrain") -> Any:
    folders = [f"task.data={corpus}", f"task.label_dir={corpus / 'labels' if config == 'pretrain' else corpus}"]
    configs, small = [REPOSITORY / "config" / config / "soft_hubert_tiny.yaml"], SMALL if config == "pretrain" else []
    trainer = build_trainer(configs, [*folders, *small, *overrides])
    OmegaConf.set_struct(trainer.cfg, True)  # as fairseq-hydra-train does
    return trainer


def _save(trainer: Any, path: Path) -> None:
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(path), {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0, "version": 2}})


@pytest.fixture(scope="module")
def resumable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus with labels of eight components, and of another mixture in ``other``; ``checkpoint.pt`` is trained on the first."""
    corpus = label_corpus(write_corpus(tmp_path_factory.mktemp("resumable")))
    mfcc, gmm, other = (str(corpus / name) for name in ("mfcc", "other.safetensors", "other"))
    assert main(["gmm", "learn", mfcc, "train", "1", gmm, "8", "--perplexity", "3", "--iterations", "2", "--seed", "7"]) == 0
    assert main(["gmm", "dump", mfcc, "train", gmm, "1", "0", other]) == 0
    assert main(["labels", "merge", other, "train", "1"]) == 0
    _save(_trainer(corpus), corpus / "checkpoint.pt")
    return corpus


def _refused(trainer: Any, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        trainer.load_checkpoint(str(checkpoint))
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("softhubert: error: ")]
    assert str(checkpoint) in line
    return line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("task.label_dir={corpus}/other", "labels of the clustering "),
        ("task.normalize=true", "with task.normalize=false, now true; choose another hydra.run.dir, or restore the setting"),
        ("model.encoder_attention_heads=8", "with model.encoder_attention_heads=4, now 8"),
        ("model.layer_norm_first=false", "with model.layer_norm_first=true, now false"),
        ("+model.activation_fn=relu", "with model.activation_fn=gelu, now relu"),
        ("model.encoder_layers=2", "with model.encoder_layers=1, now 2"),
        ("model.final_dim=16", "with model.final_dim=64, now 16"),
        ("model.freeze_layers=1", "with model.freeze_layers=0, now 1; restore the setting, or go on with the weights alone"),
        ("optimizer._name=adam", "with optimizer._name=fused_adamw, now adam; restore the setting, or go on with the weights alone"),
    ],
)
def test_a_training_is_not_resumed_with_other_settings(
    override: str, expected: str, resumable: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = _trainer(resumable, override.format(corpus=resumable).lstrip("+"))
    assert expected in _refused(trainer, resumable / "checkpoint.pt", capsys)


def test_it_is_resumed_with_what_may_change_and_where_a_part_is_reset(resumable: Path, tmp_path: Path) -> None:
    checkpoint = resumable / "checkpoint.pt"
    assert _trainer(resumable, "optimization.lr=[0.1]", "model.dropout=0.1").load_checkpoint(str(checkpoint)) is not None
    assert _trainer(resumable, "task.normalize=true").load_checkpoint(str(checkpoint), reset_optimizer=True) is not None
    other = _trainer(resumable, f"task.label_dir={resumable / 'other'}", "checkpoint.reset_dataloader=true")
    assert other.load_checkpoint(str(checkpoint)) is not None
    older = torch.load(checkpoint, weights_only=True)
    del older["task_state"]["label_sources"]
    torch.save(older, tmp_path / "older.pt")
    assert _trainer(resumable, f"task.label_dir={resumable / 'other'}").load_checkpoint(str(tmp_path / "older.pt")) is not None


def test_a_fine_tuning_is_not_resumed_with_its_letters_in_another_order(
    resumable: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [f"model.w2v_path={resumable / 'checkpoint.pt'}", "model.normalize=false", f"model.data={resumable}"]
    _save(_trainer(resumable, *overrides, config="finetune"), tmp_path / "tuned.pt")
    dictionary = resumable / "dict.ltr.txt"
    lines = dictionary.read_text().splitlines()
    dictionary.write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n")
    trainer = _trainer(resumable, *overrides, config="finetune")
    assert f"the dictionary {lines[0].split()[0]} {lines[1].split()[0]} " in _refused(trainer, tmp_path / "tuned.pt", capsys)
