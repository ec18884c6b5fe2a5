"""``softhubert_plugin.load``: features, soft units (posteriors), and untrusted files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Tuple

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from shapes import SHAPES, SMALL, save_finetuned, save_pretrained

import softhubert_plugin
from softhubert_plugin.api import SpeechEncoder
from softhubert_plugin.checkpoints.contents import defaults
from softhubert_plugin.checkpoints.load import load_checkpoint
from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shards import read_shard
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.models.teacher import Teacher
from softhubert_plugin.tasks.soft_hubert_pretraining import SoftHubertPretrainingTask

REPOSITORY = Path(__file__).parents[1]


def _noise(*lengths: int) -> list:
    generator = torch.Generator().manual_seed(4)
    return [0.1 * torch.randn(length, generator=generator) for length in lengths]


@pytest.mark.parametrize("name", ["Base, small", "Large, small", "DistilHuBERT, small"])
def test_features_equal_fairseqs_and_do_not_depend_on_the_batch(name: str, tmp_path: Path) -> None:
    checkpoint = save_pretrained(tmp_path / "ckpt.pt", SHAPES[name])
    model, loaded = softhubert_plugin.load(checkpoint), load_checkpoint(checkpoint)
    waveforms = _noise(16_000, 9_999, 401)
    padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
    lengths = [len(waveform) for waveform in waveforms]
    for layer in range(1, model.layers + 1):
        features, frames = model.extract_features(waveforms, layer=layer)
        assert frames.tolist() == [49, 30, 1]
        assert torch.equal(features, model.extract_features(padded, layer, lengths).values)
        for row, waveform in enumerate(waveforms):
            given = F.layer_norm(waveform, waveform.shape) if loaded.normalize else waveform
            with torch.inference_mode():
                expected, _ = loaded.encoder.extract_features(given[None], output_layer=layer)
            torch.testing.assert_close(features[row, : frames[row]], expected[0], atol=1e-5, rtol=0)
            assert not features[row, frames[row] :].any()
    last = model.extract_features(waveforms[0].numpy())
    torch.testing.assert_close(last.values, model.extract_features(waveforms, model.layers).values[:1], atol=1e-5, rtol=0)
    assert (model.frame_rate, model.dimension) == (50.0, 32)


@pytest.fixture(scope="module")
def model_and_mixture(tmp_path_factory: pytest.TempPathFactory) -> Tuple[Path, Path, Path]:
    """A folder of audio with its manifest, a checkpoint, and a mixture that the command line fitted on the checkpoint's layer 2."""
    folder = tmp_path_factory.mktemp("units")
    checkpoint = save_pretrained(folder / "ckpt.pt", SMALL)
    rows = []
    for number, waveform in enumerate(_noise(*range(16_000, 48_000, 4_000))):
        soundfile.write(folder / f"{number}.wav", waveform.numpy(), 16_000, subtype="FLOAT")
        rows.append(f"{number}.wav\t{len(waveform)}\n")
    (folder / "train.tsv").write_text(f"{folder}\n{''.join(rows)}")
    features = str(folder / "layer2")
    assert main(["features", "hubert", str(folder), "train", str(checkpoint), "2", "1", "0", features]) == 0
    assert main(["gmm", "learn", features, "train", "1", str(folder / "gmm.safetensors"), "5", "--perplexity", "2"]) == 0
    return folder, checkpoint, folder / "gmm.safetensors"


def test_posteriors_equal_those_of_the_features_that_the_command_line_dumps(model_and_mixture: Tuple[Path, Path, Path]) -> None:
    folder, checkpoint, gmm = model_and_mixture
    model = softhubert_plugin.load(checkpoint, mixture=gmm)
    waveforms = [torch.from_numpy(soundfile.read(folder / f"{number}.wav", dtype="float32")[0]) for number in (0, 5)]
    posteriors, frames = model.posteriors(waveforms)
    shard = read_shard(folder / "layer2", "train", 0, 1)
    for row, utterance in enumerate((0, 5)):
        dumped = torch.from_numpy(np.array(shard.frames[shard.offsets[utterance] : shard.offsets[utterance + 1]]))
        expected = GaussianMixture.load(gmm).predict_proba(dumped)
        torch.testing.assert_close(posteriors[row, : frames[row]].double(), expected, atol=1e-4, rtol=0)
    inside = torch.arange(posteriors.shape[1]) < frames[:, None]
    torch.testing.assert_close(posteriors[inside].sum(-1), torch.ones(int(frames.sum())))
    assert not posteriors[~inside].any()


def test_an_exported_folder_brings_its_mixture(model_and_mixture: Tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, checkpoint, gmm = model_and_mixture
    assert main(["export", "transformers", str(checkpoint), str(tmp_path / "out"), "--mixture", str(gmm)]) == 0
    one, other = softhubert_plugin.load(tmp_path / "out"), softhubert_plugin.load(checkpoint, mixture=gmm)
    torch.testing.assert_close(one.posteriors(_noise(8_000)).values, other.posteriors(_noise(8_000)).values)


def test_a_mixture_of_another_model_is_refused_or_warned_about(model_and_mixture: Tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, checkpoint, gmm = model_and_mixture
    with pytest.warns(UserWarning, match="fitted on another checkpoint"):
        softhubert_plugin.load(save_pretrained(tmp_path / "other.pt", SMALL, seed=9), mixture=gmm)
    with pytest.raises(SoftHubertError, match="layer 2 of 32 values, but .* 3 layers of 24"):
        softhubert_plugin.load(save_pretrained(tmp_path / "narrow.pt", SHAPES["equal widths, small"]), mixture=gmm)
    with pytest.raises(SoftHubertError, match="posteriors need a mixture"):
        softhubert_plugin.load(checkpoint).posteriors(_noise(8_000))


@pytest.mark.parametrize(
    ("waveforms", "complaint"),
    [
        ([torch.zeros(399)], "too short for a single frame"),
        ([torch.zeros(800, dtype=torch.int16)], "expected floats"),
        (torch.zeros(2, 3, 800), "expected floats"),
        ([], "0 waveforms"),
    ],
)
def test_invalid_waveforms_are_refused(waveforms: Any, complaint: str, tmp_path: Path) -> None:
    model = softhubert_plugin.load(save_pretrained(tmp_path / "ckpt.pt", SMALL))
    with pytest.raises(SoftHubertError, match=complaint):
        model.extract_features(waveforms)
    with pytest.raises(SoftHubertError, match="layer 9: this model has layers 1 to 3"):
        model.extract_features(torch.zeros(800), layer=9)


def test_a_fine_tuned_model_does_not_look_for_the_labels_of_its_pretraining(tmp_path: Path) -> None:
    """The files at the recorded path may have been replaced."""
    state = torch.load(save_finetuned(tmp_path / "ckpt.pt", SMALL), weights_only=True)
    state["cfg"]["model"]["w2v_args"]["task"].update(label_dir=str(tmp_path), labels=["gmm"])
    (tmp_path / "train.gmm").write_bytes(b"12345678{ not labels")
    torch.save(state, tmp_path / "ckpt.pt")
    expected = state["model"]["w2v_encoder.w2v_model.mask_emb"]
    assert torch.equal(softhubert_plugin.load(tmp_path / "ckpt.pt").encoder.mask_emb, expected)


def test_a_loaded_model_is_a_module_that_never_trains(tmp_path: Path) -> None:
    model = softhubert_plugin.load(save_finetuned(tmp_path / "ckpt.pt", SMALL))
    assert isinstance(torch.nn.Sequential(model).train()[0], SpeechEncoder) and not model.training and not model.encoder.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_example_draws_a_posteriorgram(model_and_mixture: Tuple[Path, Path, Path], tmp_path: Path) -> None:
    folder, checkpoint, gmm = model_and_mixture
    command = [sys.executable, str(REPOSITORY / "examples" / "posteriorgram.py"), str(folder / "3.wav")]
    command += [str(checkpoint), str(gmm), str(tmp_path / "picture.png")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MPLBACKEND": "Agg"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "87 frames" in done.stdout
    import matplotlib.image

    assert matplotlib.image.imread(tmp_path / "picture.png")[..., :3].std() > 0.05


class _Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("where", ["pickle", "front end", "transformers"])
def test_an_untrusted_checkpoint_runs_no_code_wherever_it_is_used(where: str, stock_checkpoint: Path, tmp_path: Path) -> None:
    """The checkpoint is loaded, used as a teacher, exported, and given to fine-tuning as its starting point."""
    ran, evil = tmp_path / "ran", tmp_path / "evil.pt"
    if where == "transformers":
        evil = tmp_path / "evil"
        assert main(["export", "transformers", str(stock_checkpoint), str(evil)]) == 0
        (evil / "model.safetensors").unlink()
        torch.save({"masked_spec_embed": _Attack(ran)}, evil / "pytorch_model.bin")
    else:
        state = torch.load(stock_checkpoint, weights_only=True)
        if where == "pickle":
            state["extra_state"] = _Attack(ran)
        else:
            state["cfg"]["model"]["conv_feature_layers"] = f"[(16,10,5)] + [__import__('os').system('touch {ran}')]"
        torch.save(state, evil)
    refusal = "refused, it holds more than|conv_feature_layers"
    for take in (softhubert_plugin.load, lambda path: Teacher(path, [1])):
        with pytest.raises(SoftHubertError, match=refusal):
            take(evil)
    for command in ("transformers", "torchaudio", "fairseq"):
        with pytest.raises(SystemExit):
            main(["export", command, str(evil), str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        _fine_tune(evil)
    assert not ran.exists() and not (tmp_path / "out").exists()


def _fine_tune(start: Path) -> None:
    """Do what our task does with ``model.w2v_path`` before the first update."""
    from fairseq.models.hubert.hubert_asr import HubertCtcConfig
    from omegaconf import OmegaConf

    from softhubert_plugin.settings import SoftHubertPretrainingConfig

    task_cfg = OmegaConf.merge(
        OmegaConf.structured(SoftHubertPretrainingConfig()),
        {"_name": "soft_hubert_pretraining", "fine_tuning": True, "labels": ["ltr"], "data": "", "train_subset": "train", "seed": 1},
    )
    task = SoftHubertPretrainingTask(task_cfg)
    task.load_state_dict({"target_symbols": ["A", "B"]})
    model = {"_name": "hubert_ctc", "w2v_path": str(start), "normalize": False, "data": ""}
    task.build_model(OmegaConf.create(defaults(HubertCtcConfig(), model)))


def test_a_harmless_stock_checkpoint_passes_the_same_checks(stock_checkpoint: Path) -> None:
    _fine_tune(stock_checkpoint)
