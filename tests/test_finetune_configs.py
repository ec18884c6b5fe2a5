"""The fine-tuning configurations: the published hyper-parameters, and only keys that fairseq knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import fairseq
import pytest
import yaml

CONFIGS = Path(__file__).parents[1] / "config" / "finetune"
EXAMPLES = Path(fairseq.__file__).parent / "examples"
PUBLISHED = {
    "base_960h": EXAMPLES / "wav2vec" / "config" / "finetuning" / "base_960h.yaml",
    "base_100h": EXAMPLES / "wav2vec" / "config" / "finetuning" / "base_100h.yaml",
    "base_10h": EXAMPLES / "hubert" / "config" / "finetune" / "base_10h.yaml",
    "base_1h": EXAMPLES / "wav2vec" / "config" / "finetuning" / "base_1h.yaml",
}
LEARNING = ("optimization", "optimizer", "lr_scheduler", "criterion", "model")


def _flat(section: Dict[str, Any]) -> Dict[str, str]:
    return {key: repr(float(value)) if isinstance(value, (int, float)) else str(value) for key, value in section.items()}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_hyper_parameters_are_the_published_ones(name: str) -> None:
    ours, theirs = (yaml.safe_load(path.read_text()) for path in (CONFIGS / f"{name}.yaml", PUBLISHED[name]))
    for section in LEARNING:
        expected = {key: value for key, value in _flat(theirs[section]).items() if key != "_name"}
        found = _flat(ours[section])
        assert {key: found.get(key) for key in expected} == expected, section
    assert ours["dataset"]["max_tokens"] == theirs["dataset"]["max_tokens"]
    batch = [
        config["distributed_training"]["distributed_world_size"] * config["optimization"].get("update_freq", [1])[0]
        for config in (ours, theirs)
    ]
    assert batch[0] == batch[1]
    assert str(PUBLISHED[name].relative_to(EXAMPLES.parent.parent)) in (CONFIGS / f"{name}.yaml").read_text()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_key_is_one_that_fairseq_knows(path: Path) -> None:
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.models.hubert.hubert_asr import HubertCtcConfig
    from omegaconf import OmegaConf

    from softhubert_plugin.settings import SoftHubertPretrainingConfig

    config = yaml.safe_load(path.read_text())
    schemas = {"task": SoftHubertPretrainingConfig, "model": HubertCtcConfig}
    known = OmegaConf.to_container(OmegaConf.structured(FairseqConfig()))
    for section, values in config.items():
        if section in schemas:
            allowed = set(OmegaConf.to_container(OmegaConf.structured(schemas[section]())))
        elif isinstance(known.get(section), dict):
            allowed = set(known[section])
        else:
            continue
        assert set(values) - {"_name"} <= allowed, section
