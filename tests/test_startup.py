"""What commands import. Importing takes longer than most of what they do, so a library is imported only where it is used.

Modules are counted, not seconds: a test of seconds would fail on a busy machine and pass on a fast one.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from fairseq.data import Dictionary
from shapes import LETTERS, SHAPES, SMALL, save_finetuned, save_pretrained
from test_cli import COMMANDS

from softhubert_plugin.asr.acoustic import AcousticModel
from softhubert_plugin.checkpoints.inference import load_for_inference
from softhubert_plugin.checkpoints.load import load_checkpoint, read_checkpoint
from softhubert_plugin.checkpoints.network import PlainHubert
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.exchange.export_transformers import export_transformers
from softhubert_plugin.features.hidden_states import hidden_states

# Libraries that take a noticeable part of a second to import. PyTorch compiles with sympy and ``torch._dynamo``.
HEAVY = {"fairseq", "hydra", "torchaudio", "scipy", "sklearn", "pandas", "matplotlib", "datasets", "transformers", "sympy", "torch._dynamo"}
WITHOUT_TORCH = (
    "corpus digits, manifest folder, manifest librispeech, manifest subset, manifest table, manifest kaldi, labels merge, labels inspect, "
    "labels convert, labels pack, labels control, labels verify, targets, lm, score, recipe librispeech, recipe study, recipe status, "
    "recipe describe, report, configs, plan"
)
# Starts commands one after another in one process, and notes the modules that are there after each.
PROGRAM = """
import json, sys
from softhubert_plugin.cli import main
commands, status, candidates = map(json.loads, sys.argv[1:])
found = []
for command in commands:
    try:
        code = main(command)
    except SystemExit as stopped:
        code = stopped.code
    assert code in status, command
    found.append([name for name in candidates if name in sys.modules])
print(json.dumps(found))
"""


def _imported(commands: List[List[str]], status: List[int], candidates: List[str], cwd: Path) -> List[List[str]]:
    """Which of the candidates are imported after each command, in a fresh process. Every command must end with one of the statuses."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(cwd), *sys.path])}
    arguments = [json.dumps(each) for each in (commands, status, candidates)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stderr
    found: List[List[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_help_imports_no_library(tmp_path: Path) -> None:
    candidates = ["numpy", "torch", "soundfile", "tqdm", *sorted(HEAVY)]
    assert _imported([[*name, "-h"] for name in COMMANDS], [0], candidates, tmp_path) == [[]] * len(COMMANDS)


def test_commands_that_only_handle_files_import_no_torch(tmp_path: Path) -> None:
    names = [tuple(name.split()) for name in WITHOUT_TORCH.split(", ")]
    commands = [shlex.split((COMMANDS[name].epilog or "").partition("example:\n")[2])[1:] for name in names]
    # A command that lacks its files ends with status 2 where it misses them, and by then it has imported what it needs.
    after = _imported(commands, [0, 2], ["torch", *sorted(HEAVY - {"matplotlib"})], tmp_path)
    assert {" ".join(name): found for name, found in zip(names, after) if found} == {}


def test_running_a_model_imports_nothing_heavy_but_torch_and_needs_no_fairseq(corpus: Path, tmp_path: Path) -> None:
    checkpoint, folder = save_finetuned(tmp_path / "ckpt.pt", SMALL), str(tmp_path / "layer2")
    export_transformers(checkpoint, tmp_path / "exported")
    ckpt, data, gmm = str(checkpoint), str(corpus), str(tmp_path / "gmm.safetensors")
    commands = [
        ["decode", data, "valid", ckpt, str(tmp_path / "decoded"), "--device", "cpu"],
        ["decode", data, "valid", str(tmp_path / "exported"), str(tmp_path / "again"), "--device", "cpu"],
        ["features", "hubert", data, "train", ckpt, "2", "1", "0", folder],
        ["gmm", "learn", folder, "train", "1", gmm, "4", "--perplexity", "2", "--iterations", "2"],
        ["gmm", "dump", data, "train", gmm, "1", "0", str(tmp_path / "labels"), "--checkpoint", ckpt, "--layer", "2"],
    ]
    (tmp_path / "fairseq.py").write_text("raise ImportError('not here')")
    assert _imported(commands, [0], sorted(HEAVY), tmp_path) == [[]] * len(commands)
    assert (tmp_path / "decoded" / "hypo.word").read_text() == (tmp_path / "again" / "hypo.word").read_text()
    assert (tmp_path / "labels" / "train_0_1.gmm").exists()


OPTIMIZE = """
import sys, torch
from softhubert_plugin.checkpoints.load import register_plugin
register_plugin()
from softhubert_plugin.optim.fused_adamw import FusedAdamW, FusedAdamWConfig
parameter = torch.nn.Parameter(torch.ones(3))
optimizer = FusedAdamW(FusedAdamWConfig(lr=[0.1]), [parameter])
parameter.grad = torch.ones(3)
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
assert parameter.allclose(torch.full((3,), 0.9)), parameter
print([name for name in ("torch._dynamo", "sympy", "torchaudio", "scipy", "sklearn", "pandas") if name in sys.modules])
"""


def test_what_trains_imports_no_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", OPTIMIZE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("changes", [{}, {"activation_fn": "relu"}, {"conv_pos": 15}], ids=["gelu", "relu", "odd kernel"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_plain_network_gives_fairseqs_numbers(name: str, changes: Dict[str, Any], tmp_path: Path) -> None:
    checkpoint = save_pretrained(tmp_path / "ckpt.pt", {**SHAPES[name], **changes})
    plain, theirs = load_for_inference(checkpoint), load_checkpoint(checkpoint)
    assert isinstance(plain.encoder, PlainHubert) and not isinstance(theirs.encoder, PlainHubert)
    assert (plain.normalize, plain.conv_layers, plain.updates) == (theirs.normalize, theirs.conv_layers, 7)
    generator = torch.Generator().manual_seed(0)
    waveforms = [0.1 * torch.randn(samples, generator=generator) for samples in (16_000, 9_999, 401)]
    layers = list(range(len(theirs.encoder.encoder.layers) + 1))
    for ours, expected in zip(hidden_states(plain.encoder, waveforms, layers), hidden_states(theirs.encoder, waveforms, layers)):
        for layer in layers:
            torch.testing.assert_close(ours[layer], expected[layer], atol=1e-5, rtol=1e-5)
    weights = theirs.encoder.state_dict()
    assert all(torch.equal(tensor, weights[parameter]) for parameter, tensor in plain.encoder.state_dict().items())


def test_what_the_plain_network_cannot_express_is_left_to_fairseq(tmp_path: Path) -> None:
    conformer = {**SMALL, "layer_type": "conformer", "depthwise_conv_kernel_size": 7, "attn_type": "", "pos_enc_type": "abs"}
    for name, shape in (("conformer", conformer), ("tanh", {**SMALL, "activation_fn": "tanh"})):
        loaded = load_for_inference(save_finetuned(tmp_path / f"{name}.pt", shape))
        assert not isinstance(loaded.encoder, PlainHubert) and loaded.symbols is not None and loaded.symbols[4:] == list(LETTERS)
        model = AcousticModel(tmp_path / f"{name}.pt", "cpu")
        (scores,) = model.logits([torch.randn(8_000)])
        assert scores.shape == (24, len(LETTERS) + 4) and scores.isfinite().all()


def test_fairseqs_own_fine_tuned_checkpoint_keeps_its_letters(tmp_path: Path) -> None:
    state = read_checkpoint(save_finetuned(tmp_path / "ours.pt", SMALL))
    dictionary = Dictionary()
    for letter in LETTERS:
        dictionary.add_symbol(letter)
    torch.save({**state, "task_state": {"target_dictionary": dictionary}}, tmp_path / "stock.pt")
    ours, stock = AcousticModel(tmp_path / "ours.pt", "cpu"), AcousticModel(tmp_path / "stock.pt", "cpu")
    assert stock.symbols == ours.symbols == ["<s>", "<pad>", "</s>", "<unk>", *LETTERS]
    assert (stock.blank, stock.end) == (ours.blank, ours.end) == (0, 2)
    waveform = torch.randn(8_000)
    assert torch.equal(stock.logits([waveform])[0], ours.logits([waveform])[0])


def test_half_precision_weights_run_in_single_precision(tmp_path: Path) -> None:
    state = read_checkpoint(save_pretrained(tmp_path / "ckpt.pt", SMALL))
    halves = {name: tensor.half() for name, tensor in state["model"].items()}
    torch.save({**state, "model": halves}, tmp_path / "half.pt")
    loaded = load_for_inference(tmp_path / "half.pt")
    assert {parameter.dtype for parameter in loaded.encoder.parameters()} == {torch.float32}
    assert torch.equal(loaded.encoder.mask_emb, halves["mask_emb"].float())


def test_weights_that_do_not_fit_are_refused_without_fairseq_too(tmp_path: Path) -> None:
    state = read_checkpoint(save_pretrained(tmp_path / "ckpt.pt", SMALL))
    cfg, weights = state["cfg"], state["model"]
    damages: Dict[str, Dict[str, Any]] = {
        "deeper": {"cfg": {**cfg, "model": {**cfg["model"], "encoder_layers": 4}}},
        "wider": {"cfg": {**cfg, "model": {**cfg["model"], "encoder_ffn_embed_dim": 65}}},
        "incomplete": {"model": {name: tensor for name, tensor in weights.items() if name != "encoder.layers.0.fc1.weight"}},
        "foreign": {"model": {**weights, "encoder.layers.0.surplus": torch.zeros(1)}},
    }
    for name, damage in damages.items():
        torch.save({**state, **damage}, tmp_path / f"{name}.pt")
        with pytest.raises(SoftHubertError, match=rf"{name}\.pt: the weights do not fit the configuration"):
            load_for_inference(tmp_path / f"{name}.pt")
    torch.save({**state, "cfg": {**cfg, "model": {**cfg["model"], "encoder_attention_heads": 5}}}, tmp_path / "heads.pt")
    with pytest.raises(SoftHubertError, match=r"heads\.pt: no HuBERT can be built .*not a multiple of encoder_attention_heads=5"):
        load_for_inference(tmp_path / "heads.pt")
    text = f"[(16,10,5)] + [__import__('os').system('touch {tmp_path / 'ran'}')]"
    torch.save({**state, "cfg": {**cfg, "model": {**cfg["model"], "conv_feature_layers": text}}}, tmp_path / "evil.pt")
    with pytest.raises(SoftHubertError, match="conv_feature_layers"):
        load_for_inference(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()
