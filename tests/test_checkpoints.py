"""Checkpoints: stock ones are rebuilt with their weights, none of them runs code, and bad files are refused by name."""

from __future__ import annotations

import os
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from softhubert_plugin.checkpoints.load import load_checkpoint, read_checkpoint, register_plugin
from softhubert_plugin.errors import SoftHubertError


class _Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_a_stock_checkpoint_is_rebuilt_with_its_weights(stock_checkpoint: Path) -> None:
    loaded = load_checkpoint(stock_checkpoint)
    saved = torch.load(stock_checkpoint, weights_only=True)["model"]
    rebuilt = loaded.model.state_dict()
    assert rebuilt.keys() == saved.keys()
    assert all(torch.equal(rebuilt[name], saved[name]) for name in saved)
    assert loaded.model.label_embs_concat.shape[0] == 24  # 20 clusters and fairseq's four special symbols
    assert not loaded.normalize


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(stock_checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(stock_checkpoint, weights_only=True)
    state["extra_state"] = _Attack(tmp_path / "ran")
    torch.save(state, tmp_path / "evil.pt")
    with pytest.raises(SoftHubertError, match="more than plain data"):
        load_checkpoint(tmp_path / "evil.pt")
    state = torch.load(stock_checkpoint, weights_only=True)
    state["cfg"]["model"]["conv_feature_layers"] = f"[(16,10,5)] + [__import__('os').system('touch {tmp_path / 'ran'}')]"
    torch.save(state, tmp_path / "evil.pt")
    with pytest.raises(SoftHubertError, match="conv_feature_layers"):
        load_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_fairseqs_own_loader_runs_no_code_either(tmp_path: Path) -> None:
    """Fine-tuning reads the pretrained model with this loader. Without the plugin it would run the code before torch 2.6."""
    from fairseq.checkpoint_utils import load_checkpoint_to_cpu

    register_plugin()
    torch.save({"model": {}, "extra_state": _Attack(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint_to_cpu(str(tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()


def test_a_file_that_is_not_a_checkpoint_is_refused_by_name(stock_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(SoftHubertError, match="none.pt: no such checkpoint"):
        read_checkpoint(tmp_path / "none.pt")
    content = stock_checkpoint.read_bytes()
    for name, data in (("short.pt", content[: len(content) // 2]), ("empty.pt", b""), ("text.pt", b"not a checkpoint")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SoftHubertError, match=name):
            read_checkpoint(tmp_path / name)
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(SoftHubertError, match="other.pt: not a checkpoint of fairseq"):
        read_checkpoint(tmp_path / "other.pt")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_name_of_endless_letters_is_refused_at_once(legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"cfg": {}, "model": {}}, path, _use_new_zipfile_serialization=not legacy)
    named = b"\x80\x02c" + b"(" * 200_000 + b"\nx\n."
    if legacy:
        content = path.read_bytes()
        path.write_bytes(content[: content.rindex(b"\x80\x02}")] + named)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("checkpoint/data.pkl", named)
    started = time.monotonic()
    with pytest.raises(SoftHubertError, match="checkpoint.pt: truncated, damaged or not .*it names a class of 200002 letters"):
        read_checkpoint(path)
    assert time.monotonic() - started < 5


def test_weights_that_do_not_fit_the_configuration_are_refused(stock_checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(stock_checkpoint, weights_only=True)
    state["cfg"]["model"]["encoder_layers"] = 3
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(SoftHubertError, match="do not fit the configuration"):
        load_checkpoint(tmp_path / "odd.pt")
