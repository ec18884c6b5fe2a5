"""Exports to torchaudio, and to fairseq without this plugin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
import torchaudio
from safetensors.torch import load_file
from shapes import CODEWORDS, FULL, SHAPES, save_finetuned, save_pretrained

from softhubert_plugin.checkpoints.load import load_checkpoint, read_checkpoint
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.exchange.export_fairseq import export_fairseq
from softhubert_plugin.exchange.export_torchaudio import export_torchaudio

LENGTHS = (16_000, 12_600, 9_700)  # for these lengths, fairseq and torchaudio count the same frames as padding
PUBLISHED = "DistilHuBERT as published, small"
EVERYWHERE = {name: shape for name, shape in SHAPES.items() if name != PUBLISHED}


def _batch(normalize: bool) -> Dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    waveforms = [0.1 * torch.randn(length, generator=generator) for length in LENGTHS]
    if normalize:
        waveforms = [F.layer_norm(waveform, waveform.shape) for waveform in waveforms]
    source = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
    return {"source": source, "padding_mask": torch.arange(source.shape[1]) >= torch.tensor(LENGTHS)[:, None]}


def _close(one: torch.Tensor, other: torch.Tensor) -> None:
    for row, length in enumerate(LENGTHS[: len(one)]):
        frames = (length - 400) // 320 + 1
        torch.testing.assert_close(one[row, :frames], other[row, :frames], atol=1e-5, rtol=0)


def _open(folder: Path) -> Any:
    """Open an exported model as its README explains."""
    description = json.loads((folder / "model.json").read_text())
    model = torchaudio.models.wav2vec2_model(**description["arguments"])
    model.load_state_dict(load_file(str(folder / "model.safetensors")))
    return model.eval()


@pytest.mark.parametrize("name", [*EVERYWHERE, *(pytest.param(name, marks=pytest.mark.slow) for name in FULL)])
@torch.inference_mode()
def test_every_layer_and_the_logits_are_the_same_in_torchaudio(name: str, tmp_path: Path) -> None:
    shape = {**SHAPES, **FULL}[name]
    for save in (save_pretrained, save_finetuned):
        checkpoint = save(tmp_path / f"{save.__name__}.pt", shape)
        export_torchaudio(checkpoint, tmp_path / save.__name__)
        theirs, loaded = _open(tmp_path / save.__name__), load_checkpoint(checkpoint)
        batch = _batch(loaded.normalize)
        for given, lengths in ((batch, torch.tensor(LENGTHS)), ({"source": batch["source"][:1], "padding_mask": None}, None)):
            layers, _ = theirs.extract_features(given["source"], lengths)
            assert len(layers) == len(loaded.encoder.encoder.layers)
            for number, layer in enumerate(layers, start=1):
                _close(layer, loaded.encoder.extract_features(**given, output_layer=number)[0])
            final, _ = theirs(given["source"], lengths)
            ours = loaded.encoder.extract_features(**given)[0]
            _close(final, ours if save is save_pretrained else loaded.model.w2v_encoder.proj(ours))


def test_what_torchaudio_and_fairseq_cannot_build_is_refused(tmp_path: Path) -> None:
    checkpoint = save_pretrained(tmp_path / "ckpt.pt", SHAPES[PUBLISHED])
    with pytest.raises(SoftHubertError, match="export it to transformers"):
        export_torchaudio(checkpoint, tmp_path / "out")
    with pytest.raises(SoftHubertError, match="export it to transformers"):
        export_fairseq(checkpoint, tmp_path / "out.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["ckpt.pt"]


def _complete_fairseq() -> None:
    """Skip the test with fairseq-fixed. It reads ``cfg.autoregressive``, which its ``hubert_ctc`` lacks, so it cannot fine-tune."""
    import inspect

    from fairseq.models.hubert import hubert_asr

    if "cfg.autoregressive" in inspect.getsource(hubert_asr) and not hasattr(hubert_asr.HubertCtcConfig(), "autoregressive"):
        pytest.skip("fairseq-fixed cannot build its own hubert_ctc")


def _without_plugin(*arguments: Any, cwd: Path) -> None:
    command = [sys.executable, str(Path(__file__).parent / "without_plugin.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]


@pytest.mark.parametrize("name", ["Base, small", pytest.param("DistilHuBERT, small", marks=pytest.mark.slow)])
def test_stock_fairseq_dumps_features_and_fine_tunes_without_the_plugin(name: str, corpus: Path, tmp_path: Path) -> None:
    checkpoint = save_pretrained(tmp_path / "ckpt.pt", SHAPES[name])
    stock = tmp_path / "stock.pt"
    export_fairseq(checkpoint, stock)
    _without_plugin("dump", corpus, "train", stock, 2, 1, 0, tmp_path / "features", cwd=tmp_path)
    encoder, lines = load_checkpoint(checkpoint).encoder, (corpus / "train.tsv").read_text().splitlines()
    expected = []
    for line in lines[1:]:
        samples, _ = soundfile.read(f"{lines[0]}/{line.split()[0]}", dtype="float32")
        with torch.inference_mode():
            expected.append(encoder.extract_features(torch.from_numpy(samples)[None], output_layer=2)[0][0].numpy())
    np.testing.assert_allclose(np.load(tmp_path / "features" / "train_0_1.npy"), np.concatenate(expected), atol=1e-5, rtol=0)
    _complete_fairseq()

    import fairseq

    recipe = Path(fairseq.__file__).parent / "examples" / "hubert" / "config" / "finetune"
    settings = [f"task.data={corpus}", f"task.label_dir={corpus}", f"model.w2v_path={stock}", f"hydra.run.dir={tmp_path / 'tuned'}"]
    settings += [
        "common.cpu=true",
        "common.fp16=false",
        "common.tensorboard_logdir=null",
        "optimization.max_update=2",
        "checkpoint.save_interval=1",
    ]
    settings += ["distributed_training.nprocs_per_node=1", "distributed_training.ddp_backend=legacy_ddp", "model.mask_channel_length=4"]
    settings += ["model.freeze_finetune_updates=0", "dataset.validate_interval=1", "checkpoint.best_checkpoint_metric=loss"]
    _without_plugin("train", "--config-dir", recipe, "--config-name", "base_10h", *settings, cwd=tmp_path)
    tuned = torch.load(tmp_path / "tuned" / "checkpoints" / "checkpoint_last.pt", weights_only=False)
    assert tuned["optimizer_history"][-1]["num_updates"] == 2
    kept = "encoder.layers.0.fc1.weight"
    torch.testing.assert_close(tuned["model"][f"w2v_encoder.w2v_model.{kept}"], encoder.state_dict()[kept], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["Large, small", pytest.param("Base, small", marks=pytest.mark.slow)])
def test_a_fine_tuned_export_gives_the_same_logits_without_the_plugin(name: str, tmp_path: Path) -> None:
    _complete_fairseq()
    checkpoint = save_finetuned(tmp_path / "ckpt.pt", SHAPES[name])
    (tmp_path / "stock").mkdir()
    export_fairseq(checkpoint, tmp_path / "stock" / "ctc.pt")
    loaded = load_checkpoint(checkpoint)
    batch = _batch(loaded.normalize)
    for part, tensor in batch.items():
        torch.save(tensor, tmp_path / f"{part}.pt")
    _without_plugin("infer", tmp_path / "stock" / "ctc.pt", tmp_path, cwd=tmp_path)
    found = torch.load(tmp_path / "scores.pt")
    with torch.inference_mode():
        _close(found["scores"], loaded.model(**batch)["encoder_out"].transpose(0, 1))
    assert found["symbols"] == loaded.task.target_dictionary.symbols
    (tmp_path / "stock" / "dict.ltr.txt").write_text("A 1\n")
    with pytest.raises(SoftHubertError, match=r"dict.ltr.txt: already exists, with other symbols"):
        export_fairseq(checkpoint, tmp_path / "stock" / "again.pt")


def test_exported_codewords_are_at_the_rows_that_stock_labels_name(tmp_path: Path) -> None:
    """fairseq's dictionaries begin with four special symbols, so cluster 0 is row 4."""
    checkpoint = save_pretrained(tmp_path / "ckpt.pt", SHAPES["Base, small"])
    export_fairseq(checkpoint, tmp_path / "stock.pt")
    before, after = read_checkpoint(checkpoint)["model"], read_checkpoint(tmp_path / "stock.pt")["model"]
    assert after["label_embs_concat"].shape[0] == CODEWORDS + 4
    assert torch.equal(after["label_embs_concat"][4:], before["label_embs_concat"])
    assert after["label_embs_concat"][:4].norm(dim=-1).min() > 0.1
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items() if name != "label_embs_concat")
    again = load_checkpoint(tmp_path / "stock.pt")
    assert type(again.model).__name__ == "HubertModel" and len(again.task.dictionaries[0]) == CODEWORDS + 4
