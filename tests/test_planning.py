"""The plan of a recipe: disk space and GPU hours for an amount of speech."""

from __future__ import annotations

import pytest

from softhubert_plugin.planning import LABEL_BYTES, plan, plan_tables


def test_sizes_follow_from_frames_and_widths() -> None:
    stages = {stage.number: stage for stage in plan(960, 1)}
    assert stages[1].disk == pytest.approx(960 * 3600 * 100 * 39 * 4 / 1e9)
    assert stages[3].disk == pytest.approx(960 * 3600 * 100 * LABEL_BYTES / 1e9)
    assert stages[5].disk == pytest.approx(0.1 * 960 * 3600 * 50 * 768 * 13 * 2 / 1e9)
    assert stages[6].disk == pytest.approx(960 * 3600 * 50 * (768 * 2 + LABEL_BYTES) / 1e9)


def test_pretraining_takes_the_published_gpu_hours() -> None:
    stages = {stage.number: stage for stage in plan(960, 1)}
    assert stages[4].gpu_hours == pytest.approx(2.5 * 9.5 * 32) and stages[7].gpu_hours == pytest.approx(4 * 9.5 * 32)
    double = {stage.number: stage for stage in plan(960, 2)}
    assert double[4].gpu_hours == 2 * stages[4].gpu_hours and double[1] == stages[1]


def test_the_plan_names_all_stages_for_each_amount_of_speech() -> None:
    text = plan_tables([100, 960, 60_000], systems=2, gpus=8, percent=0.1)
    assert text.count("pretraining, iteration 2") == 3 and "60000 h of speech, Large" in text
