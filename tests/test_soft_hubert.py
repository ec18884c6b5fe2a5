"""The model, criterion and dataset, compared with fairseq's own HuBERT."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import torch
from fairseq.criterions.hubert_criterion import HubertCriterion
from fairseq.data import Dictionary
from fairseq.data.data_utils import compute_mask_indices
from fairseq.models.hubert.hubert import HubertConfig, HubertModel
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
from shapes import TINY_HUBERT

from softhubert_plugin.checkpoints.load import register_plugin
from softhubert_plugin.criterions.soft_hubert import SoftHubertCriterion, kl_divergence
from softhubert_plugin.data.selection import select_targets
from softhubert_plugin.data.soft_hubert_dataset import SoftHubertDataset
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.front_end import parse_conv_feature_layers, receptive_field, total_stride
from softhubert_plugin.labels.hard import HardLabels
from softhubert_plugin.labels.opening import open_labels
from softhubert_plugin.labels.pack import pack_labels
from softhubert_plugin.labels.soft_layout import SoftLabelInfo, quantised
from softhubert_plugin.labels.soft_writing import write_soft_labels
from softhubert_plugin.labels.targets import FrameTargets
from softhubert_plugin.manifests import read_manifest, write_cluster_dictionary
from softhubert_plugin.models.soft_hubert import SoftHubertModel
from softhubert_plugin.settings import SoftHubertConfig

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
    """Build fairseq's model and ours with the same weights."""
    task_cfg = HubertPretrainingConfig()
    dictionaries = [_dictionary() for _ in range(label_sets)]
    torch.manual_seed(0)
    stock = HubertModel(_config(HubertConfig, **changes), task_cfg, dictionaries)
    ours = SoftHubertModel(_config(SoftHubertConfig, **changes), task_cfg, [len(dictionary) for dictionary in dictionaries])
    ours.load_state_dict(stock.state_dict(), strict=True)
    return stock, ours


def _batch(label_sets: int) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Make the same batch for fairseq (dense ids at 100 Hz, masks drawn in the model) and us (one-hot targets at 50 Hz, masks given)."""
    rng = torch.Generator().manual_seed(1)
    lengths = [16_000, 12_800, 9_600]
    source = torch.zeros(3, max(lengths))
    padding_mask = torch.ones(3, max(lengths), dtype=torch.bool)
    for row, length in enumerate(lengths):
        source[row, :length] = torch.randn(length, generator=rng)
        padding_mask[row, :length] = False
    ids = [torch.randint(4, 4 + CLUSTERS, (3, 100), generator=rng) for _ in range(label_sets)]
    common = {"source": source, "padding_mask": padding_mask}
    frames_padded = padding_mask[:, : 49 * 326].view(3, 49, 326).all(-1)  # as in fairseq's forward_padding_mask
    np.random.seed(7)
    mask = compute_mask_indices((3, 49), frames_padded, TINY_HUBERT["mask_prob"], TINY_HUBERT["mask_length"], min_masks=2, min_space=1)
    one_hot = []
    for target in ids:
        rows = [FrameTargets(np.ones(50, dtype=np.int64), row.numpy(), np.ones(50, dtype=np.float32)) for row in target[:, ::2]]
        valid = ~frames_padded.numpy()
        one_hot.append({"masked": select_targets(rows, mask & valid), "unmasked": select_targets(rows, ~mask & valid)})
    ours = {"id": torch.arange(3), "net_input": {**common, "mask_indices": torch.from_numpy(mask)}, "target_list": one_hot}
    return {"id": torch.arange(3), "net_input": common, "target_list": ids}, ours


def _loss_and_gradients(criterion: Any, model: Any, batch: Dict[str, Any]) -> Tuple[torch.Tensor, int, Dict[str, torch.Tensor]]:
    model.zero_grad()
    loss, sample_size, _ = criterion(model, batch)
    loss.backward()
    return loss.detach(), sample_size, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("label_sets", [1, 2])
@pytest.mark.parametrize("changes", [{}, {"untie_final_proj": True}, {"layer_norm_first": True, "extractor_mode": "layer_norm"}])
@pytest.mark.parametrize("unmasked", [0.0, 0.5])
def test_with_one_hot_targets_loss_and_gradients_equal_fairseqs(
    label_sets: int, changes: Dict[str, Any], unmasked: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock, ours = _twins(label_sets, **changes)
    dense, sparse = _batch(label_sets)
    # fairseq's model draws its own masks, in fairseq-fixed from a generator that cannot be seeded. So give it ours.
    mask = sparse["net_input"]["mask_indices"].numpy()
    monkeypatch.setattr("fairseq.models.hubert.hubert.compute_mask_indices", lambda *_arguments, **_options: mask)
    expected = _loss_and_gradients(HubertCriterion(None, 1.0, unmasked, [10.0]), stock, dense)
    found = _loss_and_gradients(SoftHubertCriterion(None, 1.0, unmasked, [10.0]), ours, sparse)
    assert found[1] == expected[1] > 0
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=0)
    assert found[2].keys() == expected[2].keys()
    # A gradient may be zero except for rounding (a key's bias shifts all scores of a softmax alike): compare it with the largest of all.
    largest = max(float(gradient.abs().max()) for gradient in expected[2].values())
    for name, gradient in expected[2].items():
        scale = max(float(gradient.abs().max()), 1e-4 * largest)
        torch.testing.assert_close(found[2][name], gradient, rtol=1e-5, atol=1e-5 * scale, msg=lambda m, name=name: f"{name}: {m}")


def test_features_equal_fairseqs() -> None:
    stock, ours = _twins(1)
    dense, _ = _batch(1)
    for layer in (None, 1, 2):
        one, _ = stock.eval().extract_features(**dense["net_input"], output_layer=layer)
        other, _ = ours.eval().extract_features(**dense["net_input"], output_layer=layer)
        torch.testing.assert_close(other, one, rtol=0, atol=0)


def test_the_divergence_equals_torchs_and_vanishes_on_a_perfect_prediction() -> None:
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
    rng = np.random.default_rng(0)
    rows = [FrameTargets(np.ones(n, dtype=np.int64), rng.integers(0, 9, n), np.ones(n, dtype=np.float32)) for n in (30, 49)]
    selected = select_targets(rows, np.ones((2, 49), dtype=bool))
    assert selected["frames"].tolist() == [*range(30), *range(49, 98)]
    assert selected["components"][:, 0].tolist() == [*rows[0].components, *rows[1].components]


def test_logged_statistics_describe_targets_and_predictions() -> None:
    _, ours = _twins(1)
    _, batch = _batch(1)
    _uniform_targets(batch)
    _, _, log = SoftHubertCriterion(None, 1.0, 0.0)(ours, batch)
    frames = log["count_masked"]
    assert float(log["target_perplexity/masked"]) / frames == pytest.approx(CLUSTERS, rel=1e-4)
    assert 1 <= float(log["codeword_usage/masked"]) / frames <= CLUSTERS + 4


def _uniform_targets(batch: Dict[str, Any]) -> None:
    for targets in batch["target_list"][0].values():
        frames = len(targets["frames"])
        targets["components"] = torch.arange(CLUSTERS).expand(frames, CLUSTERS)
        targets["probabilities"] = torch.full((frames, CLUSTERS), 1 / CLUSTERS)


def test_targets_are_softened_and_sharpened_by_a_temperature() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 8), torch.softmax(torch.randn(5, 8), -1)
    everything = torch.arange(8).expand(5, 8)
    for temperature in (0.5, 2.0):
        found = kl_divergence(logits, everything, targets, target_temperature=temperature)
        expected = kl_divergence(logits, everything, torch.softmax(targets.log() / temperature, -1))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("temperature", [0.1, 0.02, 0.005, 1e-30])
def test_at_the_lowest_temperatures_targets_are_the_argmax(temperature: float) -> None:
    targets = torch.tensor([[0.3, 0.25, 0.25, 0.2, 0.0], [0.1, 0.2, 0.1, 0.1, 0.5]])
    logits = torch.randn(2, 5)
    divergence, entropy, log_predictions = kl_divergence(logits, torch.arange(5).expand(2, 5), targets, target_temperature=temperature)
    assert torch.isfinite(divergence).all()
    if temperature < 0.1:
        expected = -log_predictions.gather(-1, targets.argmax(-1, keepdim=True))[:, 0]
        torch.testing.assert_close(divergence, expected, rtol=1e-3, atol=1e-3)
        assert float(entropy.max()) < 1e-2


def test_uncertain_frames_weigh_less_if_requested() -> None:
    _, ours = _twins(1)
    _, batch = _batch(1)
    plain, weighted = SoftHubertCriterion(None, 1.0, 0.0), SoftHubertCriterion(None, 1.0, 0.0, confidence_weight=1.0)
    torch.testing.assert_close(weighted(ours, batch)[0], plain(ours, batch)[0])  # one-hot targets are certain, so nothing changes
    _uniform_targets(batch)
    share = 1 - np.log(CLUSTERS) / np.log(CLUSTERS + 4)
    torch.testing.assert_close(weighted(ours, batch)[0], plain(ours, batch)[0] * share, rtol=1e-4, atol=0)


@pytest.mark.parametrize("options", [{"target_temperature": 0.0}, {"confidence_weight": -1.0}, {"pred_masked_weight": 0.0}])
def test_a_criterion_that_could_not_learn_is_refused(options: Dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        SoftHubertCriterion(None, **{"pred_masked_weight": 1.0, "pred_nomask_weight": 0.0, **options})
    assert next(iter(options)) in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_scores_and_divergences_keep_full_precision_under_half_precisions(dtype: torch.dtype) -> None:
    _, ours = _twins(1)
    _, batch = _batch(1)
    with torch.autocast("cpu", dtype=dtype):
        output = ours(target_list=batch["target_list"], **batch["net_input"])
        prediction = output["predictions"]["masked"][0]
        divergence, entropy, log_predictions = kl_divergence(**prediction)
    for tensor in (prediction["logits"], divergence, entropy, log_predictions):
        assert tensor.dtype is torch.float32


def test_products_in_bfloat16_change_the_loss_only_by_their_rounding() -> None:
    _, ours = _twins(1)
    _, batch = _batch(1)
    expected, _, _ = SoftHubertCriterion(None, 1.0, 0.5)(ours, batch)
    ours.autocast_bf16 = True
    found, _, _ = SoftHubertCriterion(None, 1.0, 0.5)(ours, batch)
    found.backward()
    assert found.dtype is torch.float32 and ours.encoder.layers[0].fc1.weight.grad.dtype is torch.float32
    assert found != expected
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)


def _dataset(corpus: Path, labels: List[List[int]], **options: Any) -> SoftHubertDataset:
    """Make a dataset of hard labels at 100 Hz. Most callers count labels up from frame 0, so that a misplaced label shows."""
    (corpus / "train.km").write_text("".join(" ".join(map(str, line)) + "\n" for line in labels))
    write_cluster_dictionary(corpus, "km", 200)
    options = {"label_rates": [100.0], "frame_rate": 50.0, "label_pooling": "mean", "sample_rate": 16_000, **options}
    return SoftHubertDataset(read_manifest(corpus / "train.tsv"), [HardLabels(corpus / "train.km", corpus / "dict.km.txt")], **options)


def _rows(targets: Dict[str, torch.Tensor], frames: int) -> Dict[Tuple[int, int], int]:
    """Map ``(utterance, frame)`` to its first component, over both regions."""
    found = {}
    for region in ("masked", "unmasked"):
        for frame, components in zip(targets[region]["frames"].tolist(), targets[region]["components"].tolist()):
            found[divmod(frame, frames)] = components[0]
    return found


def test_cropped_labels_stay_on_their_frames(corpus: Path) -> None:
    sizes = read_manifest(corpus / "train.tsv").sizes
    dataset = _dataset(corpus, [list(range(1 + (size - 400) // 160)) for size in sizes], max_sample_size=6_400)
    starts = set()
    for epoch in range(1, 6):
        dataset.set_epoch(epoch)
        batch = dataset.collater([dataset[index] for index in range(len(dataset))])
        targets = _rows(batch["target_list"][0], 19)
        for row in range(len(dataset)):
            whole = torch.from_numpy(dataset.audio.read(row))
            crop = batch["net_input"]["source"][row]
            start = next(s for s in range(0, len(whole) - 6_400 + 1, 320) if torch.equal(whole[s : s + 6_400], crop))
            starts.add(start)
            assert [targets[row, frame] for frame in range(19)] == [2 * frame + start // 160 for frame in range(19)]
    assert len(starts) > 3


def test_label_sets_of_different_rates_each_stay_on_their_frames(corpus: Path) -> None:
    sizes = read_manifest(corpus / "train.tsv").sizes
    fast = [list(range(1 + (int(size) - 400) // 160)) for size in sizes]
    slow = [np.arange(1 + (int(size) - 400) // 320) for size in sizes]
    targets = [FrameTargets(np.ones(len(row), dtype=np.int64), row, np.ones(len(row), dtype=np.float32)) for row in slow]
    info = SoftLabelInfo(200, 50.0, "train", 1.0, 1, 1.0, "m" * 64, "", sum(map(len, slow)), 1.0, 1.0, 0.0, 0.0, [])
    write_soft_labels(corpus / "plain.gmm", map(quantised, targets), info)
    pack_labels(corpus / "plain.gmm", corpus / "train.gmm")
    dataset = _dataset(corpus, fast, max_sample_size=6_400)
    both = SoftHubertDataset(
        read_manifest(corpus / "train.tsv"),
        [dataset.labels[0], open_labels(corpus, "train", "gmm")],
        label_rates=[100.0, 50.0],
        frame_rate=50.0,
        label_pooling="mean",
        sample_rate=16_000,
        max_sample_size=6_400,
    )
    batch = both.collater([both[index] for index in range(len(both))])
    hard, soft = (_rows(found, 19) for found in batch["target_list"])
    assert hard == {key: 2 * frame for key, frame in soft.items()}
    assert len(hard) == 19 * len(both) and len(set(hard.values())) > 19


def test_padded_batches_hold_whole_utterances_and_no_label_beyond_them(corpus: Path) -> None:
    sizes = read_manifest(corpus / "train.tsv").sizes
    lengths = [1 + (int(size) - 400) // 160 for size in sizes]
    dataset = _dataset(corpus, [list(range(length)) for length in lengths], pad_audio=True)
    batch = dataset.collater([dataset[index] for index in range(len(dataset))])
    assert (~batch["net_input"]["padding_mask"]).sum(1).tolist() == sizes.tolist()
    frames = batch["net_input"]["mask_indices"].shape[1]
    assert frames == 1 + (int(sizes[-1]) - 400) // 320
    targets = _rows(batch["target_list"][0], frames)
    for row, (size, length) in enumerate(zip(sizes, lengths)):
        # fairseq counts a frame as padded if its share of the samples is all padding.
        valid = -(-int(size) // (int(sizes[-1]) // frames))
        assert [frame for r, frame in targets if r == row].__len__() == min(valid, frames, -(-length // 2))
    assert not {frame for row, frame in targets if row == 0} & set(range(-(-lengths[0] // 2), frames))


def test_the_dataset_counts_the_frames_that_the_model_makes(corpus: Path) -> None:
    _, ours = _twins(1)
    dataset = _dataset(corpus, [[0] * (1 + (int(size) - 400) // 160) for size in read_manifest(corpus / "train.tsv").sizes])
    for samples in (400, 719, 720, 9_601, 16_000, 16_239):
        assert dataset.frames_of(samples) == ours.forward_features(torch.zeros(1, samples)).shape[-1]


def test_a_crop_and_a_mask_depend_only_on_seed_epoch_and_utterance(corpus: Path) -> None:
    sizes = read_manifest(corpus / "train.tsv").sizes
    labels = [[0] * (1 + (int(size) - 400) // 160) for size in sizes]
    first, second = (_dataset(corpus, labels, max_sample_size=4_800) for _ in range(2))
    np.random.rand(5)
    samples = [first[index] for index in range(len(first))]
    one, other = first.collater(samples), second.collater(samples[::-1])
    for name in ("source", "mask_indices"):
        assert torch.equal(one["net_input"][name], other["net_input"][name].flip(0))
    second.set_epoch(2)
    other = second.collater(samples[::-1])
    assert not torch.equal(one["net_input"]["mask_indices"], other["net_input"]["mask_indices"].flip(0))


@pytest.mark.parametrize("pad_audio", [False, True])
def test_the_size_of_an_utterance_is_the_samples_that_a_batch_takes_of_it(corpus: Path, pad_audio: bool) -> None:
    sizes = read_manifest(corpus / "train.tsv").sizes
    labels = [[0] * (1 + (int(size) - 400) // 160) for size in sizes]
    dataset = _dataset(corpus, labels, pad_audio=pad_audio, max_sample_size=9_600)
    assert dataset.num_tokens_vec(np.arange(4)).tolist() == [min(int(size), 9_600) for size in sizes]
    assert [dataset.size(index) for index in range(4)] == [dataset.num_tokens(index) for index in range(4)]
    assert dataset.collater([dataset[3]])["net_input"]["source"].shape[1] == 9_600


def test_utterances_outside_the_length_limits_are_left_out(corpus: Path) -> None:
    sizes = read_manifest(corpus / "train.tsv").sizes
    labels = [[0] * (1 + (int(size) - 400) // 160) for size in sizes]
    assert len(_dataset(corpus, labels, min_keep_size=int(sizes[1]))) == 3
    with pytest.raises(SoftHubertError, match="none of its 4 utterances"):
        _dataset(corpus, labels, min_keep_size=10**6)
    with pytest.raises(SoftHubertError, match="whole number"):
        _dataset(corpus, labels, label_rates=[75.0])


def test_the_front_end_is_parsed_and_never_evaluated() -> None:
    layers = parse_conv_feature_layers("[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2")
    assert layers == eval("[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2")
    assert (total_stride(layers), receptive_field(layers)) == (320, 400)
    for text in ("__import__('os').system('true')", "[(1,2)]", "[(1,2,'3')]", "5", "[]", "[(1,2,3)] * 10**9", "[(1,2,3)"):
        with pytest.raises(SoftHubertError, match="conv_feature_layers"):
            parse_conv_feature_layers(text)


def test_a_front_end_of_another_frame_rate_is_refused() -> None:
    with pytest.raises(SoftHubertError, match="every 160 samples, 100 per second, but task.frame_rate is 50"):
        SoftHubertModel(_config(SoftHubertConfig, conv_feature_layers="[(16,10,5)] + [(16,3,2)] * 5"), HubertPretrainingConfig(), [5])


@pytest.mark.parametrize("multiple", [1, 2, 8])
def test_every_utterance_is_in_a_batch(multiple: int, corpus: Path) -> None:
    import softhubert_plugin.tasks  # noqa: F401

    dataset = _dataset(corpus, [[0] * (1 + (int(size) - 400) // 160) for size in read_manifest(corpus / "train.tsv").sizes])
    for tokens in (25_000, 60_000, 1_000_000):
        batches = dataset.batch_by_size(dataset.ordered_indices(), max_tokens=tokens, required_batch_size_multiple=multiple)
        assert sorted(np.concatenate(batches).tolist()) == [0, 1, 2, 3]
