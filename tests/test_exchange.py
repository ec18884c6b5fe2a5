"""Our checkpoints in transformers, and models of transformers here: equal outputs, and equal weights after a round trip."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest
import soundfile
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from shapes import CODEWORDS, FULL, LETTERS, SHAPES, save_finetuned, save_pretrained

from softhubert_plugin.checkpoints.load import LoadedModel, load_checkpoint, read_checkpoint
from softhubert_plugin.cli import main
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.exchange.export_fairseq import export_fairseq
from softhubert_plugin.exchange.export_torchaudio import export_torchaudio
from softhubert_plugin.exchange.export_transformers import export_transformers
from softhubert_plugin.exchange.import_transformers import import_transformers
from softhubert_plugin.gmm.mixture import GaussianMixture

# fairseq counts a frame as padding if its share of the samples is all padding. The other toolkits count the frames that the convolutions
# compute from padding. For these lengths, both are the same frames.
LENGTHS = (16_000, 12_600, 9_700)


@pytest.fixture(scope="session")
def transformers() -> Any:
    """The package ``transformers``. Tests that need it are skipped where it is not installed."""
    return pytest.importorskip("transformers", reason="bash install.sh --extras transformers")


def _noise(normalize: bool, lengths: Tuple[int, ...] = LENGTHS) -> Tuple[torch.Tensor, torch.Tensor]:
    """A padded batch of noise and its padding mask, both ``(utterances, samples)``."""
    generator = torch.Generator().manual_seed(5)
    return _padded([0.1 * torch.randn(length, generator=generator) for length in lengths], normalize)


def _padded(waveforms: List[torch.Tensor], normalize: bool) -> Tuple[torch.Tensor, torch.Tensor]:
    if normalize:
        waveforms = [F.layer_norm(waveform, waveform.shape) for waveform in waveforms]
    source = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
    return source, torch.arange(source.shape[1]) >= torch.tensor([len(waveform) for waveform in waveforms])[:, None]


def _frames(samples: int) -> int:
    return (samples - 400) // 320 + 1


@torch.inference_mode()
def _ours(loaded: LoadedModel, source: torch.Tensor, padding: Optional[torch.Tensor]) -> List[torch.Tensor]:
    """fairseq's own forward pass: every layer, then the final output."""
    layers = len(loaded.encoder.encoder.layers)
    return [loaded.encoder.extract_features(source, padding, output_layer=layer)[0] for layer in (*range(1, layers + 1), None)]


@torch.inference_mode()
def _theirs(model: Any, source: torch.Tensor, padding: Optional[torch.Tensor]) -> List[torch.Tensor]:
    mask = None if padding is None else (~padding).long()
    output = model(source, attention_mask=mask, output_hidden_states=True)
    states = list(output.hidden_states[1:])
    if model.config.do_stable_layer_norm and torch.equal(states[-1], output.last_hidden_state):
        states[-1] = None  # older versions give the output after the last norm instead of the last layer
    return [*states, output.last_hidden_state]


def _compare(found: List[torch.Tensor], expected: List[torch.Tensor], lengths: Tuple[int, ...]) -> None:
    assert len(found) == len(expected)
    for number, (one, other) in enumerate(zip(found, expected), start=1):
        for row, length in enumerate(lengths):
            if one is not None:
                frames = _frames(length)
                torch.testing.assert_close(one[row, :frames], other[row, :frames], atol=1e-5, rtol=0, msg=lambda m, n=number: f"{n}: {m}")


def _check_features(folder: Path, loaded: LoadedModel, transformers: Any, speech: Optional[List[torch.Tensor]] = None) -> None:
    model, info = transformers.HubertModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    model.eval()
    batches = [(*_noise(loaded.normalize), LENGTHS)]
    if speech is not None:
        batches.append((*_padded(speech, loaded.normalize), tuple(map(len, speech))))
    for source, padding, lengths in batches:
        alone = source[:1, : lengths[0]]
        _compare(_theirs(model, alone, None), _ours(loaded, alone, None), lengths[:1])
        _compare(_theirs(model, source, padding), _ours(loaded, source, padding), lengths)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_layer_is_the_same_in_transformers(shape: Dict[str, Any], tmp_path: Path, transformers: Any) -> None:
    checkpoint = save_pretrained(tmp_path / "ckpt.pt", shape)
    export_transformers(checkpoint, tmp_path / "exported")
    _check_features(tmp_path / "exported", load_checkpoint(checkpoint), transformers)


@pytest.mark.parametrize("name", ["DistilHuBERT", *(pytest.param(name, marks=pytest.mark.slow) for name in ("Base", "Large"))])
def test_full_size_models_are_the_same_in_transformers_on_real_speech(name: str, tmp_path: Path, transformers: Any, speech: Path) -> None:
    checkpoint = save_pretrained(tmp_path / "ckpt.pt", FULL[name])
    export_transformers(checkpoint, tmp_path / "exported")
    _check_features(tmp_path / "exported", load_checkpoint(checkpoint), transformers, _real(speech))


def _real(speech: Path) -> List[torch.Tensor]:
    """Three utterances of LibriSpeech, cut to ``LENGTHS``."""
    paths = sorted((speech / "LibriSpeech").rglob("*.flac"))[: len(LENGTHS)]
    return [torch.from_numpy(soundfile.read(str(path), dtype="float32")[0][:length]) for path, length in zip(paths, LENGTHS)]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_fine_tuned_model_gives_the_same_logits_and_its_letters(shape: Dict[str, Any], tmp_path: Path, transformers: Any) -> None:
    checkpoint = save_finetuned(tmp_path / "ckpt.pt", shape)
    export_transformers(checkpoint, tmp_path / "exported")
    loaded = load_checkpoint(checkpoint)
    model, info = transformers.HubertForCTC.from_pretrained(tmp_path / "exported", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    source, padding = _noise(loaded.normalize)
    with torch.inference_mode():
        for batch, padded, lengths in ((source[:1], None, LENGTHS[:1]), (source, padding, LENGTHS)):
            theirs = model.eval()(batch, attention_mask=None if padded is None else (~padded).long()).logits
            ours = loaded.model(source=batch, padding_mask=padded)["encoder_out"].transpose(0, 1)
            _compare([theirs], [ours], lengths)
    processor = transformers.Wav2Vec2Processor.from_pretrained(tmp_path / "exported")
    assert processor.feature_extractor.do_normalize == loaded.normalize
    symbols = loaded.task.target_dictionary
    ids = [
        [0, symbols.index("T"), 0, symbols.index("O"), symbols.index("O"), 0, symbols.index("O"), symbols.index("|"), symbols.index("X"), 0]
    ]
    assert processor.batch_decode(torch.tensor(ids)) == ["TOO X"]
    assert processor.tokenizer("TO").input_ids == [symbols.index("T"), symbols.index("O")]
    assert len(symbols) == 4 + len(LETTERS) == model.config.vocab_size


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("save", [save_pretrained, save_finetuned])
def test_a_round_trip_gives_identical_weights(save: Any, shape: Dict[str, Any], tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "ckpt.pt", shape)
    export_transformers(checkpoint, tmp_path / "exported")
    import_transformers(tmp_path / "exported", tmp_path / "back.pt")
    before, after = read_checkpoint(checkpoint), read_checkpoint(tmp_path / "back.pt")
    kept = {name: tensor for name, tensor in before["model"].items() if not name.startswith("heads.")}
    if "label_embs_concat" not in kept:
        kept = {name: tensor for name, tensor in kept.items() if not name.startswith("final_proj")}
    assert after["model"].keys() == kept.keys()
    assert all(torch.equal(after["model"][name], tensor) for name, tensor in kept.items())
    assert after["cfg"]["task"]["normalize"] == before["cfg"]["task"]["normalize"]
    one, other = load_checkpoint(checkpoint), load_checkpoint(tmp_path / "back.pt")
    source, _ = _noise(False)
    _compare(_ours(other, source, None), _ours(one, source, None), (LENGTHS[0],) * 3)
    if one.model is not one.encoder:
        assert other.task.target_dictionary.symbols == one.task.target_dictionary.symbols
    elif "predicted_layers" not in shape:
        assert other.task.codewords == [CODEWORDS]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("name", ["Base, small", "Large, small", "DistilHuBERT as published, small"])
def test_what_transformers_saves_is_read_here(name: str, older: bool, tmp_path: Path, transformers: Any) -> None:
    """The older layout of the published checkpoints is read too: a pickle, with older names for the weight norm."""
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "num_conv_pos_embeddings": 16}
    settings.update(conv_dim=(24,) * 7, conv_kernel=(10, 3, 3, 3, 3, 2, 2), conv_stride=(5, 2, 2, 2, 2, 2, 2))
    settings.update(num_conv_pos_embedding_groups=4, feat_proj_layer_norm="published" not in name)
    if "Large" in name:
        settings.update(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)
    torch.manual_seed(1)
    model = transformers.HubertModel(transformers.HubertConfig(**settings)).eval()
    model.save_pretrained(tmp_path / "theirs")
    if older:
        weights = load_file(str(tmp_path / "theirs" / "model.safetensors"))
        for number, letter in enumerate("gv"):
            weights = {key.replace(f"parametrizations.weight.original{number}", f"weight_{letter}"): each for key, each in weights.items()}
        assert any(key.endswith("weight_g") for key in weights)
        torch.save(weights, tmp_path / "theirs" / "pytorch_model.bin")
        (tmp_path / "theirs" / "model.safetensors").unlink()
    import_transformers(tmp_path / "theirs", tmp_path / "ckpt.pt")
    loaded = load_checkpoint(tmp_path / "ckpt.pt")
    source, padding = _noise(loaded.normalize)
    _compare(_theirs(model, source, padding), _ours(loaded, source, padding), LENGTHS)
    straight = load_checkpoint(tmp_path / "theirs")  # the folder itself can be used as a checkpoint
    assert all(torch.equal(one, other) for one, other in zip(straight.encoder.parameters(), loaded.encoder.parameters()))


def test_the_model_card_names_data_targets_mixture_and_perplexity(tmp_path: Path) -> None:
    torch.manual_seed(0)
    means = torch.randn(6, 32, dtype=torch.float64)
    metadata = {"perplexity": 4.01, "features": {"kind": "hubert", "layer": 2}}
    parts = (torch.full((6,), 1 / 6, dtype=torch.float64), means, torch.ones_like(means))
    GaussianMixture(*parts, temperature=2.5, metadata=metadata).save(tmp_path / "gmm.safetensors")
    checkpoint = save_pretrained(tmp_path / "ckpt.pt", SHAPES["Base, small"])
    export = ["export", "transformers", str(checkpoint), str(tmp_path / "out"), "--mixture", str(tmp_path / "gmm.safetensors")]
    assert main([*export, "--data", "an hour of cats"]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    for said in (
        "an hour of cats",
        "`gmm`",
        "6 diag components",
        "temperature 2.500",
        "perplexity 4.01",
        "hubert, layer 2",
        "| Updates | 7 |",
    ):
        assert said in card
    assert GaussianMixture.load(tmp_path / "out" / "gmm.safetensors").temperature == 2.5


def test_neither_direction_needs_transformers(tmp_path: Path) -> None:
    checkpoint = save_pretrained(tmp_path / "ckpt.pt", SHAPES["Base, small"])
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "transformers.py").write_text("raise ImportError('not installed')")
    steps = [
        ["export", "transformers", str(checkpoint), str(tmp_path / "out")],
        ["import", "transformers", str(tmp_path / "out"), str(tmp_path / "back.pt")],
    ]
    program = f"import sys; sys.path.insert(0, {str(tmp_path / 'hidden')!r})\nfrom softhubert_plugin.cli import main\n"
    program += f"for step in {steps!r}: assert main(step) == 0"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model_type": "wav2vec2"}, "a 'wav2vec2' model"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm"),
        ({"hidden_act": "silu"}, "activation 'silu'"),
        ({"feat_extract_norm": None}, "feat_extract_norm None"),
        ({"conv_dim": 5}, "not the configuration of a HuBERT"),
    ],
)
def test_models_that_fairseq_cannot_hold_are_refused(change: Dict[str, Any], complaint: str, tmp_path: Path) -> None:
    export_transformers(save_pretrained(tmp_path / "ckpt.pt", SHAPES["Base, small"]), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    (tmp_path / "out" / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(SoftHubertError, match=complaint):
        import_transformers(tmp_path / "out", tmp_path / "back.pt")


@pytest.mark.parametrize("export", [export_fairseq, export_torchaudio, export_transformers])
def test_an_export_never_takes_the_place_of_its_checkpoint(export: Any, tmp_path: Path) -> None:
    checkpoint = save_pretrained(tmp_path / "ckpt.pt", SHAPES["Base, small"])
    before = checkpoint.read_bytes()
    (tmp_path / "link.pt").symlink_to(checkpoint)
    for dest in (checkpoint, tmp_path / "." / "link.pt"):
        with pytest.raises(SoftHubertError, match="source and destination are one file|already exists"):
            export(checkpoint, dest)
    assert checkpoint.read_bytes() == before


def test_nor_does_an_import_that_of_its_weights(tmp_path: Path) -> None:
    export_transformers(save_pretrained(tmp_path / "ckpt.pt", SHAPES["Base, small"]), tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    with pytest.raises(SoftHubertError, match="source and destination are one file"):
        import_transformers(tmp_path / "out", tmp_path / "out" / "model.safetensors")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


def test_incomplete_or_existing_folders_are_refused_by_name(tmp_path: Path) -> None:
    checkpoint = save_pretrained(tmp_path / "ckpt.pt", SHAPES["Base, small"])
    out = tmp_path / "out"
    export_transformers(checkpoint, out)
    with pytest.raises(SoftHubertError, match="out: already exists"):
        export_transformers(checkpoint, out)
    with pytest.raises(SoftHubertError, match=r"none: no such folder"):
        import_transformers(tmp_path / "none", tmp_path / "back.pt")
    weights = load_file(str(out / "model.safetensors"))
    save_file({**weights, "encoder.extra.weight": torch.zeros(1)}, str(out / "model.safetensors"))
    with pytest.raises(SoftHubertError, match=r"encoder.extra.weight"):
        import_transformers(out, tmp_path / "back.pt")
    (out / "model.safetensors").write_bytes((out / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(SoftHubertError, match=r"model.safetensors: truncated"):
        import_transformers(out, tmp_path / "back.pt")
    (out / "model.safetensors").unlink()
    with pytest.raises(SoftHubertError, match=r"neither model.safetensors nor pytorch_model.bin"):
        import_transformers(out, tmp_path / "back.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt.pt", "out"]
