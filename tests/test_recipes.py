"""The pretraining recipes: they are complete, they keep their batch size, and hard and soft twins differ only in their labels."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest
from omegaconf import OmegaConf

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.tasks.batch_size import check_batch, fitting

CONFIGS = Path(__file__).parents[1] / "config" / "pretrain"
DISTILLED = "distilhubert_base_librispeech"  # has its own batch for one GPU, so it needs no run
RECIPES = sorted(path.stem for path in CONFIGS.glob("*_librispeech*.yaml") if path.stem != DISTILLED)
RUNS = sorted(path.stem for path in (CONFIGS / "run").glob("*.yaml"))


def _compose(recipe: str, run: str, **optimization: Any) -> Any:
    """Merge a recipe and a run as hydra does, with each value where the task finds it."""
    cfg = OmegaConf.merge(OmegaConf.load(CONFIGS / f"{recipe}.yaml"), OmegaConf.load(CONFIGS / "run" / f"{run}.yaml"))
    return OmegaConf.merge(cfg, {"optimization": optimization})


def _check(cfg: Any) -> None:
    task = cfg.task  # its values refer to the trainer's settings
    check_batch(
        task.batch_seconds,
        world_size=task.world_size,
        update_freq=task.update_freq,
        max_tokens=task.max_tokens,
        sample_rate=task.sample_rate,
    )


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_keeps_its_batch_on_every_number_of_gpus(recipe: str, run: str) -> None:
    cfg = _compose(recipe, run)
    if "large" in recipe:  # has a larger batch: what the message says is right
        with pytest.raises(SoftHubertError) as refused:
            _check(cfg)
        said = [part.strip("'") for part in re.findall(r"'optimization\.\S+'|dataset\.max_tokens=\d+", str(refused.value))]
        cfg = OmegaConf.merge(cfg, OmegaConf.from_dotlist(said))
    _check(cfg)
    assert cfg.model.label_rate == cfg.task.label_rate
    assert cfg.distributed_training.distributed_world_size % cfg.distributed_training.nprocs_per_node == 0


def _composed_for_slurm(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Print the recipe as hydra gives it to its launcher. Nothing is submitted."""
    paths = [f"task.data={tmp_path}", f"task.label_dir={tmp_path}", f"hydra.sweep.dir={tmp_path}"]
    launcher = ["+run=slurm", "hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu"]
    command = [str(Path(sys.executable).parent / "fairseq-hydra-train"), "--config-dir", str(CONFIGS)]
    recipe = ["--config-name", "soft_hubert_base_librispeech"]
    return subprocess.run(
        [*command, *recipe, "--cfg", "hydra", *launcher, *paths],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_slurm_run_composes_with_hydras_launcher(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="bash install.sh --extras slurm")
    done = _composed_for_slurm(tmp_path)
    assert done.returncode == 0, done.stderr
    launcher = OmegaConf.create(done.stdout).hydra.launcher
    cfg = _compose("soft_hubert_base_librispeech", "slurm")
    assert launcher.nodes * launcher.gpus_per_node == cfg.distributed_training.distributed_world_size
    assert (launcher.partition, launcher.submitit_folder) == ("gpu", f"{tmp_path}/submitit/%j")


def test_without_the_launcher_the_slurm_run_says_what_is_missing(tmp_path: Path) -> None:
    # hydra's plugins share a namespace package. A regular empty package that comes first on the path hides them all.
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "__init__.py").touch()
    done = _composed_for_slurm(tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    assert "Could not load hydra/launcher/submitit_slurm" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_recipe_without_a_run_does_not_start() -> None:
    cfg = OmegaConf.load(CONFIGS / "soft_hubert_base_librispeech.yaml")
    assert OmegaConf.is_missing(cfg.optimization, "update_freq")
    assert OmegaConf.is_missing(cfg.distributed_training, "distributed_world_size")


@pytest.mark.parametrize("rest", ["base_librispeech", "base_librispeech_iter2", "distil_size_librispeech"])
def test_the_hard_twin_differs_only_in_its_labels(rest: str) -> None:
    soft, hard = (OmegaConf.load(CONFIGS / f"{name}_{rest}.yaml") for name in ("soft_hubert", "hubert_km"))
    assert (list(soft.task.labels), list(hard.task.labels)) == (["gmm"], ["km"])
    soft.task.labels = hard.task.labels
    assert soft == hard


def test_the_small_model_is_base_with_two_layers() -> None:
    small, base = (OmegaConf.load(CONFIGS / f"soft_hubert_{size}_librispeech.yaml") for size in ("distil_size", "base"))
    assert small.model.pop("encoder_layers") == OmegaConf.load(CONFIGS / f"{DISTILLED}.yaml").model.encoder_layers == 2
    assert small == base


@pytest.mark.parametrize("gpus", [1, 2, 8])
def test_distillation_keeps_its_batch_of_24_utterances_on_every_number_of_gpus(gpus: int) -> None:
    cfg = OmegaConf.load(CONFIGS / f"{DISTILLED}.yaml")
    assert cfg.dataset.max_tokens == cfg.dataset.batch_size * cfg.task.max_sample_size
    cfg.distributed_training.distributed_world_size, cfg.dataset.max_tokens = gpus, cfg.dataset.max_tokens // gpus
    _check(cfg)
    assert cfg.task.batch_seconds * cfg.task.sample_rate == 24 * cfg.task.max_sample_size


def test_base_and_large_equal_fairseqs_recipes_except_for_names_and_machines() -> None:
    import fairseq

    folder = Path(fairseq.__file__).parent / "examples" / "hubert" / "config" / "pretrain"
    for ours, theirs in (
        ("soft_hubert_base_librispeech_iter2", "hubert_base_librispeech"),
        ("soft_hubert_large_librispeech", "hubert_large_librivox"),
    ):
        one, other = OmegaConf.load(CONFIGS / f"{ours}.yaml"), OmegaConf.load(folder / f"{theirs}.yaml")
        for group in ("optimizer", "lr_scheduler", "model", "criterion", "optimization", "task", "dataset"):
            for key in other[group]:
                if key not in ("_name", "data", "label_dir", "labels", "label_rate", "skip_masked", "skip_nomask"):
                    assert one[group][key] == other[group][key], f"{ours}: {group}.{key}"


@pytest.mark.parametrize(("world_size", "expected"), [(1, ["'optimization.update_freq=[32]'"]), (16, ["'optimization.update_freq=[2]'"])])
def test_a_wrong_batch_is_refused_with_the_right_numbers(world_size: int, expected: List[str]) -> None:
    assert fitting(2800, world_size, 1_400_000, 16_000) == expected
    with pytest.raises(SoftHubertError) as refused:
        check_batch(2800, world_size=world_size, update_freq=[5], max_tokens=1_400_000, sample_rate=16_000)
    assert expected[0] in str(refused.value)


@pytest.mark.parametrize("world_size", [3, 5, 6, 7, 12, 24, 48, 64])
def test_numbers_of_gpus_that_do_not_divide_the_batch_get_settings_that_fit(world_size: int) -> None:
    settings = dict(part.strip("'").split("=") for part in fitting(2800, world_size, 1_400_000, 16_000))
    frequency = int(settings["optimization.update_freq"].strip("[]"))
    tokens = int(settings.get("dataset.max_tokens", 1_400_000))
    assert tokens <= 1_400_000
    check_batch(2800, world_size=world_size, update_freq=[frequency], max_tokens=tokens, sample_rate=16_000)
