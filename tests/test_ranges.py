"""Numbers of a configuration that are out of range are refused by name in one line, and a schedule that is too long is warned of."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
from noise_corpus import label_corpus, write_corpus
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from trainers import build_trainer

from softhubert_plugin.compat.first_settings import check_first_settings
from softhubert_plugin.compat.wrong_settings import refused_setting
from softhubert_plugin.configurations import configuration_folder
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.ranges import RANGES, check_ranges
from softhubert_plugin.tasks.objective import check_objective
from softhubert_plugin.tasks.schedule import warn_of_short_training

CONFIGS = configuration_folder()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return label_corpus(write_corpus(tmp_path_factory.mktemp("corpus")))


def _build(corpus: Path, config: str, *overrides: str) -> None:
    build_trainer([CONFIGS / config], [f"task.data={corpus}", f"task.label_dir={corpus / 'labels'}", "common.cpu=true", *overrides])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.encoder_attention_heads=5", "is not a multiple of model.encoder_attention_heads=5; change one of them"),
        ("model.encoder_attention_heads=0", "expected 1 or more"),
        ("model.conv_pos_groups=7", "is not a multiple of model.conv_pos_groups=7"),
        ("model.encoder_layers=0", "expected 1 or more"),
        ("model.encoder_embed_dim=-256", "expected 1 or more"),
        ("model.dropout=.nan", "expected 0 or more, and below 1"),
        ("model.attention_dropout=1.5", "expected 0 or more, and below 1"),
        ("model.encoder_layerdrop=-0.1", "expected 0 or more, and below 1"),
        ("model.logit_temp=0", "expected a number above 0"),
        ("model.mask_length=0", "expected 1 or more"),
        ("model.mask_prob=.inf", "expected 0 or more"),
        ("criterion.target_temperature=.nan", "expected a number above 0"),
        ("criterion.pred_masked_weight=-1", "expected 0 or more"),
        ("criterion.loss_weights=[.nan]", "expected 0 or more"),
        ("optimization.lr=[.nan]", "expected 0 or more"),
        ("optimization.update_freq=[0]", "expected 1 or more"),
        ("optimization.clip_norm=.nan", "expected 0 or more"),
        ("optimizer.weight_decay=-0.01", "expected 0 or more"),
        ("optimizer.adam_eps=0", "expected a number above 0"),
        ("task.frame_rate=0", "expected a number above 0"),
        ("task.label_rates=[-100]", "expected a number above 0"),
        ("task.max_sample_size=0", "expected 1 or more"),
    ],
)
def test_a_number_out_of_range_is_refused_by_its_name(
    override: str, expected: str, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        _build(labelled, "pretrain/soft_hubert_tiny.yaml", override)
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("softhubert: error: ")]
    assert override.partition("=")[0] in line and expected in line


@pytest.mark.parametrize("override", ["model.final_dropout=1", "model.mask_prob=-1", "model.layerdrop=.nan", "optimization.lr=[-1]"])
def test_so_is_one_of_fine_tuning(override: str, labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _build(labelled, "finetune/soft_hubert_tiny.yaml", f"task.label_dir={labelled}", "model.w2v_path=/nowhere", override)
    assert f"softhubert: error: {override.partition('=')[0]}=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"common": {"seed": -1}}, "common.seed=-1: expected a number from 0 to 4294967295"),
        ({"common": {"seed": 2**32}}, "common.seed=4294967296: expected"),
        ({"dataset": {"max_tokens": None}}, "dataset.max_tokens and dataset.batch_size are both null"),
        ({"common": {"seed": 2**32 - 1}}, ""),
    ],
)
def test_what_fairseq_uses_before_it_makes_a_task_is_checked_too(
    section: Dict[str, Any], expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fairseq_cli import train

    monkeypatch.setattr(train, "add_defaults", lambda cfg: None)
    check_first_settings()
    cfg = OmegaConf.merge({"common": {"seed": 1}, "dataset": {"max_tokens": 9, "batch_size": None}}, section)
    with pytest.raises(SystemExit) if expected else contextlib.nullcontext():
        train.add_defaults(cfg)
    assert expected in capsys.readouterr().err


def test_numbers_of_every_configuration_are_in_range() -> None:
    for path in sorted(CONFIGS.glob("*/*.yaml")):
        for section, settings in OmegaConf.load(path).items():
            if section in RANGES:
                check_ranges(str(section), OmegaConf.to_container(settings))


def test_what_is_absent_or_left_open_is_left_alone() -> None:
    check_ranges("model", None)
    check_ranges("model", {"encoder_layers": None, "dropout": 0, "activation_fn": "gelu", "logit_temp": "${task.frame_rate}"})
    with pytest.raises(SoftHubertError, match=r"^model\.dropout=1: expected 0 or more, and below 1$"):
        check_ranges("model", {"dropout": 1})


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (["lr_scheduler.warmup_updates=32000", "optimization.max_update=4000"], "lr_scheduler.warmup_updates=32000"),
        (["lr_scheduler.warmup_updates=40", "optimization.max_update=40"], "lr_scheduler.warmup_updates=40"),
        (["lr_scheduler.warmup_updates=40", "optimization.max_update=41"], ""),
        (["lr_scheduler.warmup_updates=40", "optimization.max_update=0"], ""),
    ],
)
def test_a_training_that_ends_in_its_warm_up_says_so(
    length: List[str], expected: str, labelled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _build(labelled, "pretrain/soft_hubert_tiny.yaml", *length)
    warned = [record.getMessage() for record in caplog.records if record.name.endswith("tasks.schedule")]
    assert len(warned) == bool(expected) and all(expected in line and "still rising" in line for line in warned)


@pytest.mark.parametrize(
    ("config", "updates", "expected"),
    [
        ("base_10h", 5000, ["warmup_steps", "freeze_finetune_updates"]),
        ("base_1h", 9000, ["freeze_finetune_updates"]),
        ("base_100h", 10, []),
    ],
)
def test_so_does_a_fine_tuning(config: str, updates: int, expected: List[str], caplog: pytest.LogCaptureFixture) -> None:
    cfg = OmegaConf.load(CONFIGS / "finetune" / f"{config}.yaml")
    warn_of_short_training(OmegaConf.merge(cfg, {"optimization": {"max_update": updates}}))
    assert [re.findall(r"\.(\w+)=", record.getMessage())[0] for record in caplog.records] == expected


def test_no_recipe_ends_before_its_schedule(caplog: pytest.LogCaptureFixture) -> None:
    for path in sorted(CONFIGS.glob("*/*.yaml")):
        warn_of_short_training(OmegaConf.load(path))
    warn_of_short_training(None)
    assert not caplog.records


def test_a_configuration_without_a_part_of_the_schedule_is_left_alone_and_frozen_layers_that_never_thaw_are_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for model in ({}, {"freeze_updates": 0}, {"freeze_updates": 99}, {"freeze_updates": 100}):  # 0 keeps them frozen on purpose
        assert not caplog.records
        cfg = OmegaConf.create({"model": model, "lr_scheduler": {}, "optimization": {"max_update": 100}})
        OmegaConf.set_struct(cfg, True)  # as fairseq-hydra-train does
        warn_of_short_training(cfg)
    (record,) = caplog.records
    assert "model.freeze_updates=100, but optimization.max_update=100: the frozen parts never thaw" in record.getMessage()


@pytest.mark.parametrize(
    ("config", "override", "expected"),
    [
        ("pretrain", "task.labels=gmm", "task.labels=gmm: expected a list; write 'task.labels=[gmm]'"),
        ("pretrain", "task.labels=null", "task.labels=null: expected a list; write 'task.labels=[…]'"),
        ("pretrain", "criterion.loss_weights=10", "criterion.loss_weights=10: expected a list; write 'criterion.loss_weights=[10]'"),
        ("pretrain", "task.label_pooling=median", "task.label_pooling=median: expected one of mean, pick"),
        ("pretrain", "model.encoder_layers=many", "model.encoder_layers=many: expected a whole number"),
        ("pretrain", "model.dropout=null", "model.dropout=null: expected a number"),
        ("pretrain", "model.encoder_layer=2", "model.encoder_layer: soft_hubert has no such setting; did you mean encoder_layers?"),
        (
            "finetune",
            "criterion._name=soft_hubert",
            "criterion.zero_infinity: soft_hubert has no such setting; remove it, or change criterion._name",
        ),
        ("finetune", "model.normalize=null", "task.normalize=null: expected true or false"),  # it is ${task.normalize}
    ],
)
def test_a_value_of_the_wrong_kind_is_named_with_its_section(config: str, override: str, expected: str, labelled: Path) -> None:
    with pytest.raises(OmegaConfBaseException) as stopped:
        _build(labelled, f"{config}/soft_hubert_tiny.yaml", override)
    assert refused_setting(stopped.value) == expected
    assert refused_setting(ValueError("another error")) is None


@pytest.mark.parametrize(
    ("config", "overrides", "expected"),
    [
        (
            "pretrain",
            ["model.mask_prob=0", "criterion.pred_nomask_weight=0"],
            "model.mask_prob=0 hides no frame, and criterion.pred_no",
        ),
        ("pretrain", ["model.skip_masked=true"], "model.skip_masked=true has no effect in soft_hubert; set criterion.pred_masked_weight=0"),
        ("pretrain", ["model.skip_nomask=true"], "model.skip_nomask=true has no effect in soft_hubert; set criterion.pred_nomask_weight=0"),
        ("pretrain", ["criterion.loss_weights=[10,5]"], "criterion.loss_weights=[10.0, 5.0]: the model has one extra loss"),
        ("pretrain", ["model._name=distil_hubert"], "criterion._name=soft_hubert does not train model._name=distil_hubert; set criterion"),
    ],
)
def test_a_training_that_would_learn_nothing_or_something_else_is_refused(
    config: str, overrides: List[str], expected: str, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        _build(labelled, f"{config}/soft_hubert_tiny.yaml", *overrides)
    assert stopped.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "criterion", "fitting"),
    [
        ("soft_hubert", "distil_hubert", "soft_hubert"),
        ("soft_hubert", "hubert", "soft_hubert"),
        ("hubert_ctc", "soft_hubert", "ctc"),
        ("distil_hubert", "ctc", "distil_hubert"),
        ("soft_hubert", "of_my_own", None),
        ("of_my_own", "soft_hubert", None),
    ],
)
def test_model_and_criterion_of_this_package_belong_together(model: str, criterion: str, fitting: Optional[str]) -> None:
    settings = (OmegaConf.create({"_name": model, "mask_prob": 0.5}), OmegaConf.create({"_name": criterion}))
    if fitting is None:
        check_objective(*settings)
        return
    with pytest.raises(
        SoftHubertError, match=f"criterion._name={criterion} does not train model._name={model}; set criterion._name={fitting}$"
    ):
        check_objective(*settings)


def test_a_training_on_the_frames_that_are_not_hidden_is_not(labelled: Path) -> None:
    _build(labelled, "pretrain/soft_hubert_tiny.yaml", "model.mask_prob=0", "model.encoder_layers=1")
    skipped = ["model.skip_nomask=true", "criterion.pred_nomask_weight=0", "model.encoder_layers=1"]
    _build(labelled, "pretrain/soft_hubert_tiny.yaml", *skipped)
