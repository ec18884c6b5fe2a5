"""The model as ``hubert_ctc`` and fairseq's scripts run it: outputs, gradients, masks and dropped layers are those of fairseq's HuBERT."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import pytest
import torch
from fairseq.data.data_utils import compute_mask_indices
from test_soft_hubert import _twins
from test_task import _ctc, _task

from softhubert_plugin.models import soft_hubert, transformer
from softhubert_plugin.models.freezing import Freezing
from softhubert_plugin.models.masks import channel_masks, frame_masks
from softhubert_plugin.models.soft_hubert import SoftHubertModel

LENGTHS = (16_000, 11_000, 13_000)
PRE_NORM = {"layer_norm_first": True, "extractor_mode": "layer_norm", "mask_channel_prob": 0.3, "mask_channel_length": 4}
SHAPES: List[Dict[str, Any]] = [{}, PRE_NORM, {"encoder_layerdrop": 0.5, "feature_grad_mult": 0.0}, {"checkpoint_activations": True}]
STOCK_GENERATOR = pytest.mark.skipif(
    "epoch" in inspect.signature(compute_mask_indices).parameters, reason="fairseq-fixed draws masks from a generator that has no seed"
)


def _audio(padded: Optional[bool]) -> Tuple[torch.Tensor, Optional[torch.Tensor]]:
    """Noise and its padding mask: none, one without padding, or one with."""
    source = torch.randn(3, max(LENGTHS), generator=torch.Generator().manual_seed(2))
    lengths = LENGTHS if padded else [max(LENGTHS)] * 3
    return source, None if padded is None else torch.arange(max(LENGTHS)) >= torch.tensor(lengths)[:, None]


def _run(model: Any, padded: Optional[bool], seed: int = 3, **options: Any) -> Tuple[Dict[str, Any], Dict[str, torch.Tensor]]:
    """Outputs, and the gradients of their squares, of all parameters that have one."""
    source, padding = _audio(padded)
    model.zero_grad()
    np.random.seed(seed)
    torch.manual_seed(seed)
    found = model(source, padding_mask=padding, features_only=True, **options)
    found["kept"] = found["x"] if found["padding_mask"] is None else found["x"][~found["padding_mask"]]
    found["kept"].pow(2).sum().backward()
    return found, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _assert_equal(ours: Tuple[Dict[str, Any], Dict[str, torch.Tensor]], stock: Tuple[Dict[str, Any], Dict[str, torch.Tensor]]) -> None:
    for name in ("kept", "features", "padding_mask"):
        torch.testing.assert_close(ours[0][name], stock[0][name], rtol=1e-5, atol=1e-5)
    assert ours[1].keys() == stock[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in stock[1].values())
    for name, gradient in stock[1].items():
        torch.testing.assert_close(ours[1][name], gradient, rtol=1e-4, atol=1e-6 * largest, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("changes", SHAPES, ids=str)
@pytest.mark.parametrize("padded", [None, False, True])
def test_every_layer_equals_fairseqs_in_evaluation(changes: Dict[str, Any], padded: Optional[bool]) -> None:
    stock, ours = _twins(1, **changes)
    for layer in (None, 0, 1, 2, 3):  # the model has two; fairseq takes other numbers for the last
        found, expected = (_run(model.eval(), padded, mask=False, output_layer=layer) for model in (ours, stock))
        _assert_equal(found, expected)


@STOCK_GENERATOR
@pytest.mark.parametrize("changes", SHAPES, ids=str)
@pytest.mark.parametrize("padded", [None, True])
def test_without_dropout_a_training_step_equals_fairseqs_with_its_masks_and_dropped_layers(
    changes: Dict[str, Any], padded: Optional[bool]
) -> None:
    stock, ours = _twins(1, **changes)
    seen = set()
    for seed in range(6):
        found, expected = (_run(model.train(), padded, seed=seed, mask=True) for model in (ours, stock))
        _assert_equal(found, expected)
        seen.add(float(found[0]["x"][0, 0, 0].detach()))
    assert len(seen) > 2


@STOCK_GENERATOR
@pytest.mark.parametrize("selection", ["static", "uniform", "normal", "poisson"])
@pytest.mark.parametrize("padded", [False, True])
def test_masks_are_those_of_fairseq_with_the_same_seed(selection: str, padded: bool) -> None:
    model = SimpleNamespace(mask_channel_prob=0.4, mask_channel_length=6, mask_channel_selection=selection, mask_channel_other=1)
    model.__dict__.update(mask_prob=0.65, mask_length=8, mask_selection=selection, mask_other=2)
    model.__dict__.update(no_mask_overlap=False, mask_min_space=1, no_mask_channel_overlap=False, mask_channel_min_space=1)
    padding = torch.arange(70) >= torch.tensor([70, 41, 3])[:, None] if padded else None
    for seed in range(40):
        np.random.seed(seed)
        frames, channels = frame_masks(model, 3, 70, padding), channel_masks(model, 3, 32)
        np.random.seed(seed)
        np.testing.assert_array_equal(frames, compute_mask_indices((3, 70), padding, 0.65, 8, selection, 2, 2, False, 1))
        np.testing.assert_array_equal(channels, compute_mask_indices((3, 32), None, 0.4, 6, selection, 1, 0, False, 1))


def test_masks_may_be_kept_apart_and_channels_may_go_without() -> None:
    _, ours = _twins(1, no_mask_overlap=True, mask_min_space=2, mask_channel_prob=0.001, mask_prob=0.9)
    source, padding = _audio(True)
    ours.train()
    assert torch.isfinite(ours(source, padding_mask=padding, features_only=True, mask=True)["x"]).all()
    masks = frame_masks(ours, 3, 49, None)
    assert masks is not None and masks.any(1).all()
    assert frame_masks(SimpleNamespace(mask_prob=0.0), 3, 49, None) is None


def test_the_front_end_runs_without_gradient_if_its_gradient_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ours = _twins(1, feature_grad_mult=0.0)
    kept: List[torch.Tensor] = []
    source, _ = _audio(None)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        found = ours.train()(source, features_only=True, mask=True)
    assert found["x"].requires_grad
    assert max(tensor.numel() for tensor in kept) < 3 * 49 * 49 * 4 * 10  # the first convolution alone gives 3 × 16 × 3199
    found["x"].sum().backward()
    assert all(parameter.grad is None for parameter in ours.feature_extractor.parameters())


def test_frozen_layers_take_no_gradient_and_drop_nothing() -> None:
    _, ours = _twins(1, encoder_layerdrop=0.999, dropout=0.5, dropout_input=0.5)
    source, padding = _audio(True)
    expected = ours.eval()(source, padding_mask=padding, features_only=True, mask=False, output_layer=1)["x"].detach()
    ours.freeze(Freezing(layers=1))
    found = ours.train()(source, padding_mask=padding, features_only=True, mask=False, output_layer=1)["x"]
    assert not found.requires_grad
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["autocast", "half"])
def test_half_precision_changes_outputs_only_by_its_rounding(kind: str) -> None:
    stock, ours = _twins(1)
    source, padding = _audio(True)
    exact = ours.eval()(source, padding_mask=padding, features_only=True, mask=False)
    kept = ~exact["padding_mask"]
    if kind == "half":
        found = ours.bfloat16()(source.bfloat16(), padding_mask=padding, features_only=True, mask=False)["x"]
        assert found.dtype == torch.bfloat16
    else:
        with torch.autocast("cpu", torch.bfloat16):
            found = ours(source, padding_mask=padding, features_only=True, mask=False)["x"]
            theirs = stock.eval()(source, padding_mask=padding, features_only=True, mask=False)["x"]
        assert found.dtype == theirs.dtype
    assert not torch.equal(found[kept].float(), exact["x"][kept])
    torch.testing.assert_close(found[kept].float(), exact["x"][kept], rtol=0.1, atol=0.1)


def test_dropout_acts_in_training() -> None:
    _, ours = _twins(1, dropout=0.3, attention_dropout=0.3, activation_dropout=0.3)
    outputs = [_run(ours.train(), True, seed=seed, mask=False)[0]["kept"] for seed in (1, 1, 2)]
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])


def test_a_layer_with_a_hook_is_called_as_fairseq_calls_it() -> None:
    stock, ours = _twins(1)
    seen: Dict[str, List[torch.Tensor]] = {"stock": [], "ours": []}
    for name, model in (("stock", stock), ("ours", ours)):
        model.eval().encoder.layers[0].register_forward_hook(lambda _, __, output, name=name: seen[name].append(output[0].detach()))
        _run(model, True, mask=False)
    assert len(seen["ours"]) == 1
    torch.testing.assert_close(seen["ours"], seen["stock"], rtol=1e-5, atol=1e-5)


def test_conformer_layers_are_left_to_fairseq() -> None:
    conformer = {"layer_type": "conformer", "attn_type": "espnet", "pos_enc_type": "rel_pos", "depthwise_conv_kernel_size": 3}
    stock, ours = _twins(1, **conformer)
    for layer in (None, 1):
        found, expected = (_run(model.eval(), True, mask=False, output_layer=layer)[0]["kept"] for model in (ours, stock))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def _count_walks(monkeypatch: pytest.MonkeyPatch) -> List[bool]:
    """Note for each run of the encoder by our walk whether gradients were on."""
    walks: List[bool] = []

    def noted(*arguments: Any, **options: Any) -> torch.Tensor:
        walks.append(torch.is_grad_enabled())
        return transformer.encode(*arguments, **options)

    monkeypatch.setattr(soft_hubert, "encode", noted)
    return walks


def test_fine_tuning_a_stock_checkpoint_takes_our_walk_and_freezes_it_at_first(
    corpus: Path, stock_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _task(corpus, fine_tuning=True, labels=["ltr"], label_dir=str(corpus))
    cfg = _ctc(stock_checkpoint)
    cfg.freeze_finetune_updates = 2
    cfg.apply_mask = True
    model = task.build_model(cfg)
    assert isinstance(model.w2v_encoder.w2v_model, SoftHubertModel)
    walks = _count_walks(monkeypatch)
    source, padding = _audio(True)
    for update in (0, 1, 2):
        model.train().set_num_updates(update)
        model.zero_grad()
        model(source=source, padding_mask=padding)["encoder_out"].sum().backward()
        assert (model.w2v_encoder.w2v_model.encoder.layers[0].fc1.weight.grad is not None) == (update == 2)
    assert walks == [False, False, True]


def test_the_names_of_the_parameters_are_fairseqs() -> None:
    stock, ours = _twins(1)
    assert list(ours.state_dict()) == list(stock.state_dict())
