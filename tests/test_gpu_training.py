"""Training where there is a GPU, shown on a pretended one: nothing crashes, no update waits for the device, losses equal the CPU's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from noise_corpus import SPLITS, label_corpus, write_corpus
from pretended_gpu import pretend
from shapes import SMALL, save_pretrained
from trainers import build_trainer

import softhubert_plugin
from softhubert_plugin.cli import main
from softhubert_plugin.configurations import configuration_folder
from softhubert_plugin.manifests import write_cluster_dictionary
from softhubert_plugin.models import products

PLUGIN = Path(softhubert_plugin.__file__).parent
CONFIGS = configuration_folder()
# fairseq's trainer reads the norm of the gradients and the loss scale back once per update, and the statistics when it logs them.
FAIRSEQS_OWN = re.compile(r" @ (fairseq/trainer\.py|logging/meters\.py|optim/(fp16_optimizer|dynamic_loss_scaler|amp_optimizer)\.py):")
HALF = {"fp16", "bf16"}
RANDOM = {"dropout and layer drop"}
SETTINGS: Dict[str, List[str]] = {
    "whole utterances": [],
    "crops": ["task.pad_audio=false"],
    "one utterance per batch": ["dataset.batch_size=1"],
    "hard labels": ["task.labels=[km]"],
    "two label sets": ["task.labels=[gmm,km]"],
    "masked frames only": ["criterion.pred_nomask_weight=0"],
    "softer targets, weighed by confidence": ["criterion.target_temperature=2", "criterion.confidence_weight=1"],
    "masked channels": ["model.mask_channel_prob=0.3", "model.mask_channel_length=8"],
    "post-norm, one projection": ["model.layer_norm_first=false", "model.untie_final_proj=false"],
    "Large's front end": ["model.extractor_mode=layer_norm", "task.normalize=true"],
    "frozen front end": ["model.freeze_feature_extractor=true"],
    "frozen layer": ["model.freeze_layers=1"],
    "layer frozen for a while": ["model.freeze_layers=1", "model.freeze_updates=2"],
    "activations computed again": ["model.checkpoint_activations=true"],
    "two batches per update": ["optimization.update_freq=[2]"],
    "fairseq's adam": ["optimizer._name=adam"],
    "bfloat16 products": ["model.autocast_bf16=true"],
    "fp16": ["common.fp16=true"],
    "bf16": ["common.bf16=true"],
    "dropout and layer drop": ["model.dropout=0.1", "model.attention_dropout=0.1", "model.encoder_layerdrop=0.5"],
}
PRECISIONS: Dict[str, List[str]] = {
    "float32": [],
    "on the CPU": ["common.cpu=true"],
    "fp16": ["common.fp16=true"],
    "bf16": ["common.bf16=true"],
    "amp": ["common.amp=true"],
    "bfloat16 products": ["model.autocast_bf16=true"],
    "memory-efficient fp16": ["common.fp16=true", "common.memory_efficient_fp16=true", "optimizer._name=adam"],
    "memory-efficient bf16": ["common.bf16=true", "common.memory_efficient_bf16=true", "optimizer._name=adam"],
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus with soft and hard labels."""
    folder = label_corpus(write_corpus(tmp_path_factory.mktemp("corpus")))
    for split in SPLITS:
        hard = ["gmm", "dump", str(folder / "mfcc"), split, str(folder / "gmm.safetensors"), "1", "0", str(folder / "hard"), "--hard"]
        assert main(hard) == 0
        (folder / "labels" / f"{split}.km").write_bytes((folder / "hard" / f"{split}_0_1.km").read_bytes())
    write_cluster_dictionary(folder / "labels", "km", 8)
    return folder


def _tiny(labelled: Path) -> List[str]:
    paths = [f"task.data={labelled}", f"task.label_dir={labelled / 'labels'}", f"common.user_dir={PLUGIN}"]
    return [*paths, "common.cpu=false", "model.encoder_layers=2", "lr_scheduler.warmup_updates=2", "dataset.max_tokens=40000"]


def _updates(config: str, overrides: List[str], gpu: Any = None, count: int = 3) -> List[Dict[str, Any]]:
    """Train for some updates in this process: the loss, waits and launches of each."""
    trainer = build_trainer([CONFIGS / config], overrides)
    trainer.begin_epoch(1)
    batches = list(trainer.get_train_iterator(1).next_epoch_itr(shuffle=False))
    size = trainer.cfg.optimization.update_freq[0]
    found = []
    for number in range(count):
        if gpu is not None:
            gpu.forget()
        # Batches are used as they come, the last ones again and again if there are not enough.
        chosen = [batches[(number * size + part) % len(batches)] for part in range(size)]
        output = trainer.train_step(chosen)
        waits, launches = ([], {}) if gpu is None else (list(gpu.waits), dict(gpu.launches))
        found.append({"loss": None if output is None else float(output["loss"]), "waits": waits, "launches": launches})
    return found


def _ours(updates: List[Dict[str, Any]]) -> List[str]:
    return [wait for update in updates for wait in update["waits"] if not FAIRSEQS_OWN.search(wait)]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_training_step_mixes_no_devices_and_waits_for_none(setting: str, labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A layer that is run again in the backward pass, where nothing pretends, must take the same way through the code as before.
    monkeypatch.setattr(products, "onednn_multiplies_faster", lambda: False)
    overrides = [*_tiny(labelled), *SETTINGS[setting]]
    with pretend() as gpu:
        on_gpu = _updates("pretrain/soft_hubert_tiny.yaml", overrides, gpu)
    assert _ours(on_gpu) == []
    losses = [update["loss"] for update in on_gpu]
    assert all(sum(update["launches"].values()) > 100 for update in on_gpu)
    if setting not in RANDOM:
        float32 = [override for override in overrides if override.partition("=")[0] not in ("common.fp16", "common.bf16")]
        on_cpu = [update["loss"] for update in _updates("pretrain/soft_hubert_tiny.yaml", float32)]
        assert losses == pytest.approx(on_cpu, rel=3e-2 if setting in HALF else 1e-4)


@pytest.fixture(scope="module")
def runs(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Path]:
    """The whole of ``fairseq-hydra-train``, once for each of :data:`PRECISIONS` and once without any GPU: the folder of each run."""
    root = tmp_path_factory.mktemp("runs")
    asked = {"no GPU": (0, ["common.cpu=true"]), **{name: (1, overrides) for name, overrides in PRECISIONS.items()}}
    folders = {name: root / str(number) for number, name in enumerate(asked)}
    plan = []
    for name, (count, overrides) in asked.items():
        folders[name].mkdir()
        arguments = ["--config-dir", str(CONFIGS / "pretrain"), "--config-name", "soft_hubert_tiny", *_tiny(labelled)]
        arguments += [f"hydra.run.dir={folders[name] / 'run'}", "optimization.max_update=6", "common.log_interval=2", *overrides]
        plan.append({"gpus": count, "folder": str(folders[name]), "arguments": arguments})
    (root / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, str(Path(__file__).with_name("train_on_pretended_gpu.py")), str(root / "plan.json")]
    environment = {**os.environ, "HYDRA_FULL_ERROR": "1", "PYTHONPATH": str(PLUGIN.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=root, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return folders


def _updates_of(folder: Path) -> List[Dict[str, Any]]:
    """The updates of a whole run, which must have ended well."""
    assert (folder / "status").read_text() == "0", (folder / "output.txt").read_text()[-4000:]
    assert (folder / "run" / "checkpoints" / "checkpoint_last.pt").is_file()
    found: List[Dict[str, Any]] = json.loads((folder / "updates.json").read_text())
    return found


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_whole_run_of_six_updates_has_the_losses_of_a_machine_without_gpu(precision: str, runs: Dict[str, Path]) -> None:
    expected = [update["loss"] for update in _updates_of(runs["no GPU"])]
    updates = _updates_of(runs[precision])
    assert len(updates) == 6
    assert [update["loss"] for update in updates] == pytest.approx(expected, rel=1e-4 if precision in ("float32", "on the CPU") else 3e-2)
    launches = [sum(update["launches"].values()) for update in updates]
    assert max(launches) == 0 if precision == "on the CPU" else min(launches) > 100
    assert _ours(updates) == []


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["common.fp16=true", "common.memory_efficient_fp16=true"], "optimizer._name=adam"),
        (["common.bf16=true", "common.memory_efficient_bf16=true"], "optimizer._name=adam"),
        (["common.fp16=true", "model.autocast_bf16=true"], "common.fp16=false"),
        (["common.bf16=true", "model.autocast_bf16=true"], "common.bf16=false"),
    ],
)
def test_precisions_that_do_not_go_together_are_refused_in_one_line(
    overrides: List[str], complaint: str, labelled: Path, pretended_gpu: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        _updates("pretrain/soft_hubert_tiny.yaml", [*_tiny(labelled), *overrides])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert refused.value.code == 2
    assert said.startswith("softhubert: error: ") and complaint in said


def test_fused_adamw_multiplies_clips_and_steps_in_ten_launches(labelled: Path) -> None:
    with pretend() as gpu:
        trainer = build_trainer([CONFIGS / "pretrain" / "soft_hubert_tiny.yaml"], _tiny(labelled))
        parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        trainer.optimizer.step()  # which makes the moments
        gpu.forget()
        trainer.optimizer.multiply_grads(0.5)
        norm = trainer.clip_grad_norm(1.0)
        trainer.optimizer.step()
        launches = sum(gpu.launches.values())
        assert gpu.waits == []
        count = sum(parameter.numel() for parameter in parameters)
        assert len(parameters) > 30 and launches <= 10, gpu.launches
        assert float(norm) == pytest.approx(0.5 * count**0.5, rel=1e-4)
        assert float(sum(parameter.grad.double().square().sum() for parameter in parameters)) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("overrides", [["common.amp=true"], ["common.amp=true", "optimizer._name=adam"]])
def test_amp_steps_with_the_whole_gradient(overrides: List[str], labelled: Path, pretended_gpu: Any) -> None:
    trainer = build_trainer([CONFIGS / "pretrain" / "soft_hubert_tiny.yaml"], [*_tiny(labelled), *overrides])
    seen: List[torch.Tensor] = []
    inner = trainer.optimizer.fp32_optimizer if hasattr(trainer.optimizer, "fp32_optimizer") else trainer.optimizer._optimizer
    (parameter, *_) = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    inner.optimizer.register_step_pre_hook(lambda *_: seen.append(parameter.grad.clone()))
    trainer.optimizer.backward((3 * parameter).sum())
    trainer.optimizer.clip_grad_norm(0.0)
    trainer.optimizer.step()
    assert len(seen) == 1
    torch.testing.assert_close(seen[0].cpu(), torch.full(parameter.shape, 3.0))


@pytest.mark.parametrize(
    "precision", [["common.bf16=true", "common.fp16_no_flatten_grads=true"], ["common.fp16=true", "common.fp16_no_flatten_grads=true"], []]
)
def test_what_is_frozen_for_a_while_does_not_move(precision: List[str], labelled: Path, pretended_gpu: Any) -> None:
    frozen = ["model.freeze_layers=1", "model.freeze_updates=100", "optimizer.weight_decay=0.5", "optimization.lr=[0.1]"]
    trainer = build_trainer([CONFIGS / "pretrain" / "soft_hubert_tiny.yaml"], [*_tiny(labelled), *frozen, *precision])
    trainer.begin_epoch(1)
    model = trainer.model
    before = {name: parameter.detach().float().cpu().clone() for name, parameter in model.named_parameters()}
    batches = list(trainer.get_train_iterator(1).next_epoch_itr(shuffle=False))
    for _ in range(3):
        trainer.train_step(batches[:1])
    kept = {id(parameter) for parameter in model.frozen.parameters(model)}
    moved = {name: not torch.equal(parameter.detach().float().cpu(), before[name]) for name, parameter in model.named_parameters()}
    assert kept and not any(moved[name] for name, parameter in model.named_parameters() if id(parameter) in kept)
    assert moved["encoder.layers.1.fc1.weight"]


@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_fine_tuning_has_the_losses_of_a_cpu(precision: str, labelled: Path, tmp_path: Path) -> None:
    checkpoint = save_pretrained(tmp_path / "pretrained.pt", SMALL)
    overrides = [f"task.data={labelled}", f"task.label_dir={labelled}", f"model.w2v_path={checkpoint}", "common.cpu=false"]
    overrides += [f"common.user_dir={PLUGIN}", "model.apply_mask=false", "model.mask_channel_prob=0"]
    overrides += [f"model.{name}=0" for name in ("dropout", "attention_dropout", "activation_dropout", "final_dropout", "dropout_input")]
    with pretend() as gpu:
        half = ["common.fp16=true"] if precision == "fp16" else []
        on_gpu = [update["loss"] for update in _updates("finetune/soft_hubert_tiny.yaml", [*overrides, *half], gpu)]
    on_cpu = [update["loss"] for update in _updates("finetune/soft_hubert_tiny.yaml", overrides)]
    assert on_gpu == pytest.approx(on_cpu, rel=3e-2 if precision == "fp16" else 1e-4)


def test_distillation_has_the_losses_of_a_cpu_and_waits_for_nothing(labelled: Path, tmp_path: Path) -> None:
    teacher = save_pretrained(tmp_path / "teacher.pt", SMALL)
    overrides = [f"task.data={labelled}", f"model.teacher={teacher}", "common.cpu=false", "common.fp16=false", "dataset.num_workers=0"]
    overrides += [f"common.user_dir={PLUGIN}", "task.min_sample_size=400", "task.batch_seconds=null"]
    overrides += ["dataset.train_subset=train", "dataset.valid_subset=valid", "common.tensorboard_logdir=null", "dataset.batch_size=2"]
    overrides += [f"model.{name}={json.dumps(value)}" for name, value in {**SMALL, "encoder_layers": 2, "predicted_layers": [1, 3]}.items()]
    overrides += [f"model.{name}=0.0" for name in ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop")]
    overrides += [f"model.{name}=0.0" for name in ("dropout_input", "dropout_features")]
    with pretend() as gpu:
        on_gpu = _updates("pretrain/distilhubert_base_librispeech.yaml", overrides, gpu)
    on_cpu = _updates("pretrain/distilhubert_base_librispeech.yaml", overrides)
    assert [update["loss"] for update in on_gpu] == pytest.approx([update["loss"] for update in on_cpu], rel=1e-4)
    assert _ours(on_gpu[1:]) == []  # the first update brings the teacher to the device
