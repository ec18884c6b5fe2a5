"""The model, criterion, dataset and task against fairseq's own HuBERT."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import torch
from conftest import TINY_HUBERT
from fairseq.criterions.hubert_criterion import HubertCriterion
from fairseq.data import Dictionary
from fairseq.models.hubert.hubert import HubertConfig, HubertModel
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig

from softhubert_plugin.criterions.soft_hubert import SoftHubertCriterion, kl_divergence
from softhubert_plugin.data.soft_hubert_dataset import SoftHubertDataset
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.conv_layers import parse_conv_feature_layers, receptive_field, total_stride
from softhubert_plugin.interop.checkpoints import register_plugin
from softhubert_plugin.labels import HardLabels
from softhubert_plugin.manifests import read_manifest, write_cluster_dictionary
from softhubert_plugin.models.soft_hubert import SoftHubertConfig, SoftHubertModel

register_plugin()

CLUSTERS = 20


def _config(kind: type, **changes: Any) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.merge(OmegaConf.structured(kind()), {**TINY_HUBERT, **changes})


def _dictionary() -> Dictionary:
    dictionary = Dictionary()
    for cluster in range(CLUSTERS):
        dictionary.add_symbol(str(cluster))
    return dictionary


def _twins(label_sets: int, **changes: Any) -> Tuple[HubertModel, SoftHubertModel]:
    """fairseq's model and ours with the same weights."""
    task_cfg = HubertPretrainingConfig()
    dictionaries = [_dictionary() for _ in range(label_sets)]
    torch.manual_seed(0)
    stock = HubertModel(_config(HubertConfig, **changes), task_cfg, dictionaries)
    ours = SoftHubertModel(_config(SoftHubertConfig, **changes), task_cfg, [len(dictionary) for dictionary in dictionaries])
    ours.load_state_dict(stock.state_dict(), strict=True)
    return stock, ours


def _batch(label_sets: int) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """The same batch for fairseq (dense ids at 100 Hz) and for us (one-hot targets at 50 Hz)."""
    rng = torch.Generator().manual_seed(1)
    lengths = [16_000, 12_800, 9_600]
    source = torch.zeros(3, max(lengths))
    padding_mask = torch.ones(3, max(lengths), dtype=torch.bool)
    for row, length in enumerate(lengths):
        source[row, :length] = torch.randn(length, generator=rng)
        padding_mask[row, :length] = False
    ids = [torch.randint(4, 4 + CLUSTERS, (3, 100), generator=rng) for _ in range(label_sets)]
    common = {"id": torch.arange(3), "net_input": {"source": source, "padding_mask": padding_mask}}
    one_hot = [{"components": target[:, ::2, None], "probabilities": torch.ones(3, 50, 1)} for target in ids]
    return {**common, "target_list": ids}, {**common, "target_list": one_hot}


def _loss_and_gradients(criterion: Any, model: Any, batch: Dict[str, Any]) -> Tuple[torch.Tensor, int, Dict[str, torch.Tensor]]:
    np.random.seed(7)  # both draw their masks with fairseq's compute_mask_indices
    model.zero_grad()
    loss, sample_size, _ = criterion(model, batch)
    loss.backward()
    return loss.detach(), sample_size, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("label_sets", [1, 2])
@pytest.mark.parametrize("changes", [{}, {"untie_final_proj": True}, {"layer_norm_first": True, "extractor_mode": "layer_norm"}])
@pytest.mark.parametrize("unmasked", [0.0, 0.5])
def test_with_one_hot_targets_loss_and_gradients_are_fairseqs(label_sets: int, changes: Dict[str, Any], unmasked: float) -> None:
    stock, ours = _twins(label_sets, **changes)
    dense, sparse = _batch(label_sets)
    expected = _loss_and_gradients(HubertCriterion(None, 1.0, unmasked, [10.0]), stock, dense)
    found = _loss_and_gradients(SoftHubertCriterion(None, 1.0, unmasked, [10.0]), ours, sparse)
    assert found[1] == expected[1] > 0
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=0)
    assert found[2].keys() == expected[2].keys()
    # A gradient that is zero but for rounding (a key's bias shifts all scores of a softmax alike) is measured against the largest of all.
    largest = max(float(gradient.abs().max()) for gradient in expected[2].values())
    for name, gradient in expected[2].items():
        scale = max(float(gradient.abs().max()), 1e-4 * largest)
        torch.testing.assert_close(found[2][name], gradient, rtol=1e-5, atol=1e-5 * scale, msg=lambda m, name=name: f"{name}: {m}")


def test_features_are_fairseqs() -> None:
    stock, ours = _twins(1)
    dense, _ = _batch(1)
    for layer in (None, 1, 2):
        one, _ = stock.eval().extract_features(**dense["net_input"], output_layer=layer)
        other, _ = ours.eval().extract_features(**dense["net_input"], output_layer=layer)
        torch.testing.assert_close(other, one, rtol=0, atol=0)


def test_the_divergence_is_torchs_and_vanishes_on_a_perfect_prediction() -> None:
    torch.manual_seed(0)
    logits = torch.randn(9, 30)
    targets = torch.softmax(torch.randn(9, 30), -1)
    everything = torch.arange(30).expand(9, 30)
    divergence, entropy, _ = kl_divergence(logits, everything, targets)
    expected = torch.nn.functional.kl_div(logits.log_softmax(-1), targets, reduction="none").sum(-1)
    torch.testing.assert_close(divergence, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(entropy, torch.distributions.Categorical(targets).entropy(), rtol=1e-5, atol=1e-6)
    perfect, _, _ = kl_divergence(targets.log(), everything, targets)
    torch.testing.assert_close(perfect, torch.zeros(9), atol=1e-5, rtol=0)


def test_frames_without_target_carry_no_weight() -> None:
    _, ours = _twins(1)
    _, batch = _batch(1)
    criterion = SoftHubertCriterion(None, 1.0, 1.0)
    _, everything, _ = criterion(ours, batch)
    batch["target_list"][0]["probabilities"][0] = 0
    _, without_first, _ = criterion(ours, batch)
    frames = 1 + (16_000 - 400) // 320
    assert everything - without_first == frames


def test_logged_statistics_describe_targets_and_predictions() -> None:
    _, ours = _twins(1)
    _, batch = _batch(1)
    components = torch.arange(CLUSTERS).expand(3, 50, CLUSTERS)
    batch["target_list"] = [{"components": components, "probabilities": torch.full((3, 50, CLUSTERS), 1 / CLUSTERS)}]
    _, _, log = SoftHubertCriterion(None, 1.0, 0.0)(ours, batch)
    frames = log["count_masked"]
    assert float(log["target_perplexity/masked"]) / frames == pytest.approx(CLUSTERS, rel=1e-4)
    assert 1 <= float(log["codeword_usage/masked"]) / frames <= CLUSTERS + 4


def _dataset(corpus: Path, labels: List[List[int]], **options: Any) -> SoftHubertDataset:
    """Hard labels at 100 Hz that count up from frame 0, so that a misplaced label shows."""
    (corpus / "train.km").write_text("".join(" ".join(map(str, line)) + "\n" for line in labels))
    write_cluster_dictionary(corpus, "km", 200)
    options = {"label_rate": 100.0, "frame_rate": 50.0, "label_pooling": "mean", "sample_rate": 16_000, **options}
    return SoftHubertDataset(read_manifest(corpus / "train.tsv"), [HardLabels(corpus / "train.km", corpus / "dict.km.txt")], **options)


def test_cropped_labels_stay_on_their_frames(corpus: Path) -> None:
    sizes = read_manifest(corpus / "train.tsv").sizes
    dataset = _dataset(corpus, [list(range(1 + (size - 400) // 160)) for size in sizes], max_sample_size=6_400)
    starts = set()
    for epoch in range(1, 6):
        dataset.set_epoch(epoch)
        samples = [dataset[index] for index in range(len(dataset))]
        batch = dataset.collater(samples)
        for row, sample in enumerate(samples):
            crop = batch["net_input"]["source"][row]
            start = next(s for s in range(0, len(sample["source"]) - 6_400 + 1, 320) if torch.equal(sample["source"][s : s + 6_400], crop))
            starts.add(start)
            expected = torch.arange(20) * 2 + start // 160
            target = batch["target_list"][0]
            usable = target["probabilities"][row, :, 0] > 0
            assert usable[:19].all()
            assert torch.equal(target["components"][row, usable, 0], expected[usable])
    assert len(starts) > 3


def test_padded_batches_hold_whole_utterances_and_no_label_beyond_them(corpus: Path) -> None:
    sizes = read_manifest(corpus / "train.tsv").sizes
    lengths = [1 + (int(size) - 400) // 160 for size in sizes]
    dataset = _dataset(corpus, [list(range(length)) for length in lengths], pad_audio=True)
    batch = dataset.collater([dataset[index] for index in range(len(dataset))])
    assert (~batch["net_input"]["padding_mask"]).sum(1).tolist() == sizes.tolist()
    assert (batch["target_list"][0]["probabilities"].sum(-1) > 0).sum(1).tolist() == [-(-length // 2) for length in lengths]


def test_a_crop_depends_on_seed_epoch_and_utterance_alone(corpus: Path) -> None:
    sizes = read_manifest(corpus / "train.tsv").sizes
    labels = [[0] * (1 + (int(size) - 400) // 160) for size in sizes]
    first, second = (_dataset(corpus, labels, max_sample_size=4_800) for _ in range(2))
    np.random.rand(5)
    samples = [first[index] for index in range(len(first))]
    one, other = first.collater(samples), second.collater(samples[::-1])
    assert torch.equal(one["net_input"]["source"], other["net_input"]["source"].flip(0))


def test_utterances_outside_the_length_limits_are_left_out(corpus: Path) -> None:
    sizes = read_manifest(corpus / "train.tsv").sizes
    labels = [[0] * (1 + (int(size) - 400) // 160) for size in sizes]
    assert len(_dataset(corpus, labels, min_keep_size=int(sizes[1]))) == 3
    with pytest.raises(SoftHubertError, match="none of its 4 utterances"):
        _dataset(corpus, labels, min_keep_size=10**6)
    with pytest.raises(SoftHubertError, match="whole number"):
        _dataset(corpus, labels, label_rate=75.0)


def test_the_front_end_is_parsed_and_never_evaluated() -> None:
    layers = parse_conv_feature_layers("[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2")
    assert layers == eval("[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2")
    assert (total_stride(layers), receptive_field(layers)) == (320, 400)
    for text in ("__import__('os').system('true')", "[(1,2)]", "[(1,2,'3')]", "5", "[]", "[(1,2,3)] * 10**9", "[(1,2,3)"):
        with pytest.raises(SoftHubertError, match="conv_feature_layers"):
            parse_conv_feature_layers(text)


def test_a_front_end_of_another_frame_rate_is_refused() -> None:
    with pytest.raises(SoftHubertError, match="every 160 samples, 100 a second, but task.frame_rate is 50"):
        SoftHubertModel(_config(SoftHubertConfig, conv_feature_layers="[(16,10,5)] + [(16,3,2)] * 5"), HubertPretrainingConfig(), [5])
