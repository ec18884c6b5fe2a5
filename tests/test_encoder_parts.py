"""The encoder: the same outputs as fairseq's, frozen parts that do not change, and starting from another checkpoint."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any, Dict

import pytest
import torch
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
from shapes import TINY_HUBERT
from test_soft_hubert import _batch, _config, _twins

from softhubert_plugin.checkpoints.load import read_checkpoint
from softhubert_plugin.criterions.soft_hubert import SoftHubertCriterion
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.models.attention import attend
from softhubert_plugin.models.dropout import dropout, keep_mask, kept_share
from softhubert_plugin.models.freezing import Freezing
from softhubert_plugin.models.soft_hubert import SoftHubertModel
from softhubert_plugin.models.starting_point import start_from
from softhubert_plugin.models.transformer import encode
from softhubert_plugin.settings import SoftHubertConfig

CRITERION = SoftHubertCriterion(None, 1.0, 0.5, [10.0])


@pytest.mark.parametrize("changes", [{}, {"layer_norm_first": True}, {"activation_fn": "relu"}], ids=str)
@pytest.mark.parametrize("padding", [None, 11])
def test_our_walk_through_the_encoder_gives_fairseqs_outputs_and_gradients(changes: Dict[str, Any], padding: Any) -> None:
    stock, other = _twins(1, **changes)
    x = torch.randn(2, 37, TINY_HUBERT["encoder_embed_dim"])
    padded = None
    if padding:
        padded = torch.zeros(2, 37, dtype=torch.bool)
        padded[1, -padding:] = True
    keep = slice(None) if padded is None else ~padded
    expected, _ = stock.encoder(x, padding_mask=padded)
    for checkpointed in (False, True):
        other.zero_grad()
        found = encode(other.encoder, x, padded, checkpoint_activations=checkpointed)
        torch.testing.assert_close(found[keep], expected[keep], rtol=1e-5, atol=1e-5)
        found[keep].pow(2).sum().backward()
        if not checkpointed:
            expected[keep].pow(2).sum().backward()
        for (name, one), (_, two) in zip(stock.encoder.named_parameters(), other.encoder.named_parameters()):
            if one.grad is None:
                assert two.grad is None, name
                continue
            scale = max(float(one.grad.abs().max()), 1e-3)
            torch.testing.assert_close(two.grad, one.grad, rtol=1e-4, atol=1e-4 * scale, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("padded", [False, True])
def test_attention_with_dropout_equals_the_formula_on_the_same_choices(padded: bool) -> None:
    q, k, v = (torch.randn(2, 3, 17, 8, dtype=torch.float32, requires_grad=True) for _ in range(3))
    keep = None
    if padded:
        keep = torch.ones(2, 1, 1, 17, dtype=torch.bool)
        keep[1, ..., 12:] = False
    torch.manual_seed(3)
    found = attend(q, k, v, keep, 0.3)
    torch.manual_seed(3)
    stays = keep_mask((2, 3, 17, 17), 0.3)
    scores = q @ k.transpose(-1, -2) / 8**0.5
    if keep is not None:
        scores = scores.masked_fill(~keep, -torch.inf)
    expected = (scores.softmax(-1) * stays / kept_share(0.3)) @ v
    torch.testing.assert_close(found, expected)
    direction = torch.randn_like(found)
    for one, other in zip(torch.autograd.grad(found, (q, k, v), direction), torch.autograd.grad(expected, (q, k, v), direction)):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_attention_with_dropout_takes_bfloat16() -> None:
    q, k, v = (torch.randn(1, 2, 40, 16, requires_grad=True) for _ in range(3))
    torch.manual_seed(0)
    exact = attend(q, k, v, None, 0.1)
    torch.manual_seed(0)
    half = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), None, 0.1)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.02, atol=0.02)
    half.sum().backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in (q, k, v))


def test_dropout_drops_the_requested_share_and_keeps_the_mean() -> None:
    x = torch.ones(1001, 1001, requires_grad=True)
    torch.manual_seed(0)
    y = dropout(x, 0.1, training=True)
    share = float((y == 0).float().mean())
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / x.numel()) ** 0.5
    assert abs(float(y.detach().mean()) - 1) < 2e-3
    dropped = (y == 0).float()
    for axis in (0, 1):  # no row or column is favoured, though four elements share a draw
        assert float(dropped.mean(axis).var()) == pytest.approx(0.1 * 0.9 / 1001, rel=0.3)
    neighbours = float((dropped[:, 1:] * dropped[:, :-1]).mean())
    assert neighbours == pytest.approx(share**2, rel=0.05)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    torch.manual_seed(0)
    assert torch.equal(dropout(x, 0.1, training=True), y)
    assert dropout(x, 0.1, training=False) is x or torch.equal(dropout(x, 0.1, training=False), x)


@pytest.mark.slow
def test_a_compiled_model_has_the_same_names_outputs_and_gradients() -> None:
    _, plain = _twins(1)
    compiled = SoftHubertModel(_config(SoftHubertConfig, compile=True), HubertPretrainingConfig(), plain.num_classes)
    compiled.load_state_dict(plain.state_dict(), strict=True)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    _, batch = _batch(1)
    losses = []
    for model in (plain.train(), compiled.train()):
        loss, _, _ = CRITERION(model, batch)
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=1e-5)
    for (name, one), (_, other) in zip(plain.named_parameters(), compiled.named_parameters()):
        if one.grad is not None:
            scale = max(float(one.grad.abs().max()), 1e-3)
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-4 * scale, msg=lambda m, name=name: f"{name}: {m}")


def test_torchs_generator_chooses_the_dropped_layers_so_that_a_resumed_run_drops_the_same() -> None:
    _, ours = _twins(1, encoder_layerdrop=0.5)
    x = torch.randn(1, 20, 32)
    outputs = []
    for seed in (1, 1, 2, 3, 4, 5):
        torch.manual_seed(seed)
        outputs.append(encode(ours.train().encoder, x, None).detach())
    assert torch.equal(outputs[0], outputs[1])
    assert len({float(output[0, 0, 0]) for output in outputs}) > 2


def _step(model: Any, batch: Dict[str, Any], update: int) -> None:
    """Make one step as fairseq's task and trainer do."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    model.set_num_updates(update)
    model.zero_grad()
    loss, sample_size, _ = CRITERION(model, batch)
    (loss / sample_size).backward()
    optimizer.step()


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    ("freezing", "frozen", "learning"),
    [
        (Freezing(feature_extractor=True), ["feature_extractor."], ["layer_norm.", "mask_emb", "encoder."]),
        (
            Freezing(layers=1),
            ["feature_extractor.", "layer_norm.", "post_extract_proj.", "mask_emb", "encoder.pos_conv.", "encoder.layers.0."],
            ["encoder.layers.1.", "final_proj.", "label_embs_concat"],
        ),
    ],
    ids=["front end", "layers"],
)
@pytest.mark.parametrize("updates", [0, 3])
def test_frozen_parts_do_not_change_until_they_are_released(freezing: Any, frozen: Any, learning: Any, updates: int, first: bool) -> None:
    _, model = _twins(1, layer_norm_first=first, dropout=0.1, encoder_layerdrop=0.0, dropout_input=0.1)
    _, batch = _batch(1)
    model.freeze(Freezing(freezing.feature_extractor, freezing.layers, updates))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def changed(prefix: str) -> bool:
        names = [name for name in before if name.startswith(prefix)]
        assert names
        return any(not torch.equal(before[name], model.state_dict()[name]) for name in names)

    for update in range(3):
        _step(model, batch, update)
    assert [prefix for prefix in frozen if changed(prefix)] == []
    assert [prefix for prefix in learning if not changed(prefix)] == []
    assert not model.feature_extractor.training and model.encoder.layers[1].training
    assert model.encoder.layers[0].training == (freezing.layers == 0)
    if updates:
        _step(model, batch, 3)
        assert [prefix for prefix in frozen if not changed(prefix)] == []
        assert model.feature_extractor.training and model.encoder.layers[0].training
    else:
        assert not any(p.requires_grad for p in model.feature_extractor.parameters())


def test_a_frozen_prefix_keeps_no_activations() -> None:
    _, model = _twins(1)
    _, batch = _batch(1)
    kept = []
    for freezing in (Freezing(), Freezing(feature_extractor=True), Freezing(layers=1)):
        model.freeze(freezing)
        saved = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal saved
            saved += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            CRITERION(model.train(), batch)
        kept.append(saved)
    assert kept[0] > kept[1] > kept[2] > 0


@pytest.mark.parametrize("freezing", [Freezing(layers=3), Freezing(layers=-1), Freezing(updates=5), Freezing(layers=1, updates=-1)])
def test_freezing_settings_that_make_no_sense_are_refused(freezing: Freezing) -> None:
    _, model = _twins(1)
    with pytest.raises(SoftHubertError, match=r"model\.freeze_"):
        model.freeze(freezing)


def _save(path: Path, template: Path, weights: Dict[str, torch.Tensor]) -> Path:
    torch.save({**read_checkpoint(template), "model": weights}, path)
    return path


def test_a_stock_hubert_gives_its_encoder_and_a_fitting_head(stock_checkpoint: Path) -> None:
    _, model = _twins(1)  # 24 codewords, as in the checkpoint
    saved = read_checkpoint(stock_checkpoint)["model"]
    model.apply(lambda module: [p.data.zero_() for p in module.parameters(recurse=False)])
    point = start_from(model, stock_checkpoint)
    assert all(torch.equal(model.state_dict()[name], saved[name]) for name in saved)
    assert point.fresh == point.ignored == []


def test_with_another_number_of_components_the_head_is_fresh(stock_checkpoint: Path) -> None:
    _, model = _twins(2, untie_final_proj=True)
    before = copy.deepcopy(model.state_dict())
    point = start_from(model, stock_checkpoint)
    assert sorted(point.fresh) == ["final_proj.bias", "final_proj.weight", "label_embs_concat"] == sorted(point.ignored)
    after, saved = model.state_dict(), read_checkpoint(stock_checkpoint)["model"]
    assert all(torch.equal(after[name], before[name]) for name in point.fresh)
    assert all(torch.equal(after[name], saved[name]) for name in point.loaded)


def test_a_shallower_model_gives_the_layers_it_has(stock_checkpoint: Path, tmp_path: Path) -> None:
    """A DistilHuBERT is such a model: it has the first layers of a HuBERT and its own heads."""
    stock, _ = _twins(1)
    weights = {name: tensor for name, tensor in stock.state_dict().items() if name != "label_embs_concat" and "final_proj" not in name}
    weights["heads.4.weight"] = torch.zeros(32, 32)
    _, deep = _twins(1, encoder_layers=4)
    point = start_from(deep, _save(tmp_path / "distil.pt", stock_checkpoint, weights))
    assert {name.split(".")[2] for name in point.loaded if name.startswith("encoder.layers.")} == {"0", "1"}
    assert {name.split(".")[2] for name in point.fresh if name.startswith("encoder.layers.")} == {"2", "3"}
    assert point.ignored == ["heads.4.weight"]
    assert point.lines()[0].endswith(
        "encoder.layers.0-1, encoder.layer_norm, encoder.pos_conv, feature_extractor, layer_norm, mask_emb, post_extract_proj"
    )


def test_a_fine_tuned_model_gives_its_encoder(stock_checkpoint: Path, tmp_path: Path) -> None:
    stock, model = _twins(1)
    weights = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in stock.state_dict().items() if "label_embs" not in name}
    weights["w2v_encoder.proj.weight"] = torch.zeros(3, 32)
    point = start_from(model, _save(tmp_path / "ctc.pt", stock_checkpoint, weights))
    assert "encoder.layers.1.fc1.weight" in point.loaded and "w2v_encoder.proj.weight" in point.ignored


def test_starting_points_of_other_sizes_or_kinds_are_refused(stock_checkpoint: Path, tmp_path: Path) -> None:
    _, wide = _twins(1, encoder_embed_dim=48)
    with pytest.raises(SoftHubertError, match=r"checkpoint_last.pt: .* is \(.*, but this model's is"):
        start_from(wide, stock_checkpoint)
    _, model = _twins(1)
    with pytest.raises(SoftHubertError, match="not the encoder of a HuBERT: it lacks"):
        start_from(model, _save(tmp_path / "other.pt", stock_checkpoint, {"decoder.weight": torch.zeros(3)}))
    with pytest.raises(SoftHubertError, match="no such checkpoint"):
        start_from(model, tmp_path / "gone.pt")


def test_the_task_starts_and_freezes_a_new_model_but_never_a_restored_one(
    corpus: Path, stock_checkpoint: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    from omegaconf import OmegaConf
    from test_task import _task

    from softhubert_plugin.manifests import write_cluster_dictionary
    from softhubert_plugin.settings import SoftHubertConfig

    (corpus / "train.km").write_text("0 1\n" * 4)
    write_cluster_dictionary(corpus, "km", 5)
    task = _task(corpus, labels=["km"], label_dir=str(corpus))
    settings = {"_name": "soft_hubert", **TINY_HUBERT, "init_from": str(stock_checkpoint), "freeze_layers": 1}
    cfg = OmegaConf.merge(OmegaConf.structured(SoftHubertConfig()), settings)
    with caplog.at_level(logging.INFO, logger="softhubert_plugin"):
        model = task.build_model(cfg)
    assert "tensors loaded: encoder.layers.0-1" in caplog.text
    assert "3 tensors initialised afresh: final_proj, label_embs_concat" in caplog.text
    saved = read_checkpoint(stock_checkpoint)["model"]
    assert torch.equal(model.encoder.layers[1].fc1.weight, saved["encoder.layers.1.fc1.weight"])
    assert not model.encoder.layers[0].fc1.weight.requires_grad
    cfg.init_from = "/gone.pt"
    restored = task.build_model(cfg, from_checkpoint=True)
    assert all(parameter.requires_grad for parameter in restored.parameters())
    with pytest.raises(SystemExit):
        task.build_model(cfg)
    assert "/gone.pt: no such checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "normalize", "remedy"),
    [
        ({"encoder_attention_heads": 2}, False, "set model.encoder_attention_heads=4, or model.init_from=null"),
        ({"layer_norm_first": True}, False, "set model.layer_norm_first=false, or"),
        ({"activation_fn": "relu"}, False, "set model.activation_fn=gelu, or"),
        ({"conv_feature_layers": "[(16,10,4)] + [(16,3,2)] * 4 + [(16,2,2)] * 2"}, False, "\"model.conv_feature_layers='[(16, 10, 5), "),
        ({}, True, "set task.normalize=false, or"),
        (
            {"teacher": None, "encoder_attention_heads": 2},
            True,
            "set model.encoder_attention_heads=4 task.normalize=false, or model.init_from=''",
        ),
    ],
)
def test_a_starting_point_that_computes_something_else_is_refused_by_its_settings(
    change: Dict[str, Any], normalize: bool, remedy: str, stock_checkpoint: Path
) -> None:
    _, model = _twins(1)
    settings = {**TINY_HUBERT, "layer_norm_first": False}
    assert start_from(model, stock_checkpoint, settings=settings, normalize=False).fresh == []
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(SoftHubertError) as refused:
        start_from(model, stock_checkpoint, settings={**settings, **change}, normalize=normalize)
    assert remedy in str(refused.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
