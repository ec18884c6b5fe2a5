"""Every command that computes on a GPU gives the CPU's numbers on a pretended one, and does not make it wait."""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple
from unittest import mock

import numpy as np
import pytest
import torch
from noise_corpus import SPLITS, write_corpus
from pretended_gpu import Gpu, pretend
from shapes import SHAPES, save_finetuned, save_pretrained

import softhubert_plugin
from softhubert_plugin.cli import main
from softhubert_plugin.data.once_per_machine import once_per_machine
from softhubert_plugin.devices import exact_convolutions
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.shard_chunks import plan_chunks
from softhubert_plugin.features.shards import ShardWriter, read_shard
from softhubert_plugin.gmm import distributed
from softhubert_plugin.gmm.em import expectation
from softhubert_plugin.gmm.engine import Engine
from softhubert_plugin.gmm.feed import Feed
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.models.transformer import drop_in_each_process


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of noise with MFCCs, a pretrained and a fine-tuned checkpoint, and a word model of its transcripts."""
    folder = write_corpus(tmp_path_factory.mktemp("work"))
    for split in SPLITS:
        assert main(["features", "mfcc", str(folder), split, "1", "0", str(folder / "mfcc")]) == 0
    save_pretrained(folder / "pretrained.pt", SHAPES["Base, small"])
    save_finetuned(folder / "tuned.pt", SHAPES["Large, small"])
    return folder


def _on_both(command: Callable[[str], List[str]]) -> Gpu:
    """Run a command on the CPU, and on a pretended GPU."""
    assert main([*command("cpu"), "--device", "cpu"]) == 0
    with pretend() as gpu:
        assert main([*command("cuda"), "--device", "cuda"]) == 0
    assert sum(gpu.launches.values()) > 0, "nothing ran on the GPU"
    return gpu


def _text(folder: Path) -> Dict[str, str]:
    """The text files of a folder. Scores, which differ in their last digits, are left out."""
    return {path.name: re.sub(r"-?\d+\.\d{6}", "SCORE", path.read_text()) for path in sorted(folder.iterdir()) if path.suffix != ".json"}


@pytest.mark.parametrize("covariance", ["diag", "spherical", "tied", "full"])
def test_a_mixture_and_its_labels(covariance: str, work: Path, tmp_path: Path) -> None:
    def learn(device: str) -> List[str]:
        options = ["8", "--perplexity", "3", "--iterations", "3", "--covariance", covariance]
        return ["gmm", "learn", str(work / "mfcc"), "train", "1", str(tmp_path / f"{device}.safetensors"), *options]

    def dump(device: str) -> List[str]:
        return ["gmm", "dump", str(work / "mfcc"), "train", str(tmp_path / "cpu.safetensors"), "1", "0", str(tmp_path / device)]

    _on_both(learn)
    _on_both(dump)
    one, other = (GaussianMixture.load(tmp_path / f"{device}.safetensors") for device in ("cpu", "cuda"))
    torch.testing.assert_close(other.means, one.means, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(other.covariances, one.covariances, rtol=1e-2, atol=1e-3)
    assert other.temperature == pytest.approx(one.temperature, rel=1e-3)
    soft, soft_too = (open_soft_labels(tmp_path / device / "train_0_1.gmm") for device in ("cpu", "cuda"))
    assert len(soft) == len(soft_too) == 4
    for index in range(len(soft)):
        expected, found = (labels.utterance(index).padded(len(labels.utterance(index)), 8) for labels in (soft, soft_too))
        assert np.array_equal(found[0][:, 0], expected[0][:, 0])
        np.testing.assert_allclose(np.sort(found[1]), np.sort(expected[1]), atol=1e-2)


def test_hard_labels_survey_and_quality(work: Path, tmp_path: Path) -> None:
    mixture = tmp_path / "mixture.safetensors"
    learn = ["gmm", "learn", str(work / "mfcc"), "train", "1", str(mixture), "8", "--perplexity", "3", "--pca", "5", "--device", "cpu"]
    assert main(learn) == 0
    _on_both(lambda device: ["gmm", "dump", str(work / "mfcc"), "train", str(mixture), "1", "0", str(tmp_path / device), "--hard"])
    assert (tmp_path / "cuda" / "train_0_1.km").read_text() == (tmp_path / "cpu" / "train_0_1.km").read_text()


@pytest.mark.parametrize(("dtype", "frames", "part"), [("float16", 4_000, 700), ("float32", 900, 700), ("float16", 100, 700)])
def test_a_pass_over_the_frames_makes_nobody_wait_and_reads_the_files_once(dtype: str, frames: int, part: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with ShardWriter(tmp_path, "train", 0, 1, {"kind": "mfcc"}, dtype=dtype) as writer:
        for start in range(0, frames, 100):
            writer.add(rng.standard_normal((min(100, frames - start), 6)).astype(np.float32))
    shard = read_shard(tmp_path, "train", 0, 1)
    chunks = plan_chunks([shard], [np.ones(len(shard), dtype=bool)], chunk_frames=300)
    mixture = GaussianMixture(torch.full((5,), 0.2).double(), torch.randn(5, 6).double(), torch.ones(5, 6).double())
    expected = expectation(Engine(mixture), Feed(chunks, "cpu", part_frames=part))
    with pretend() as gpu:
        engine, feed = Engine(mixture, "cuda"), Feed(chunks, "cuda", part_frames=part)
        gpu.forget()
        first = expectation(engine, feed)
        uploaded = [transfer for transfer in gpu.uploads if transfer.size > 64]
        assert gpu.waits == []
        assert all(transfer.pinned and not transfer.blocking for transfer in uploaded)
        assert sum(transfer.size for transfer in uploaded) == frames * 6 * np.dtype(dtype).itemsize
        assert len(uploaded) == -(-frames // part)
        gpu.forget()
        second = expectation(engine, feed)
        assert gpu.waits == [] and not [transfer for transfer in gpu.uploads if transfer.size > 64]
        for sums in (first, second):
            torch.testing.assert_close(sums.flat.cpu(), expected.flat, rtol=1e-4, atol=1e-3)


def test_frames_that_do_not_fit_are_brought_again_in_every_pass(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", 0, 1, {"kind": "mfcc"}) as writer:
        writer.add(np.random.default_rng(0).standard_normal((500, 6)).astype(np.float32))
    shard = read_shard(tmp_path, "train", 0, 1)
    with pretend() as gpu, mock.patch.object(torch.cuda, "mem_get_info", lambda device=None: (1_000, 80 << 30)):
        feed = Feed(plan_chunks([shard], [np.ones(1, dtype=bool)]), "cuda", part_frames=200)
        passes = [torch.cat([part.cpu() for part in feed]) for _ in range(2)]
        assert sum(transfer.size for transfer in gpu.uploads) == 2 * 500 * 6 * 4
    for found in passes:
        assert torch.equal(found, torch.from_numpy(np.array(shard.frames)))


@pytest.mark.parametrize("layers", ["2", "all"])
def test_layer_features_come_back_in_one_pinned_copy_per_batch(layers: str, work: Path, tmp_path: Path) -> None:
    gpu = _on_both(
        lambda device: ["features", "hubert", str(work), "train", str(work / "pretrained.pt"), layers, "1", "0", str(tmp_path / device)]
    )
    shards = sorted(path.relative_to(tmp_path / "cpu") for path in (tmp_path / "cpu").rglob("*.npy"))
    assert len(shards) == (1 if layers == "2" else 3)
    for shard in shards:
        np.testing.assert_allclose(np.load(tmp_path / "cuda" / shard), np.load(tmp_path / "cpu" / shard), atol=1e-4)
    assert len(gpu.downloads) == 1  # four short utterances are one batch


def test_a_probe(work: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    centres, entries, lines = rng.standard_normal((4, 8)), [], []
    info = {"kind": "hubert", "frame_rate": 50.0}
    with ShardWriter(tmp_path / "all" / "layer1", "train", 0, 1, {**info, "layer": 1}, dtype="float16") as shard:
        for speaker in ("ann", "bob", "cas", "dan"):
            for number in range(3):
                phones = np.repeat(rng.integers(0, 4, 30), 4)
                entries.append(f"{speaker}-{number}.flac\t{400 + 320 * (len(phones) - 1)}\n")
                lines.append(f"{speaker}-{number}\t{','.join(['sil', 'AA', 'B', 'S'][phone] for phone in phones)}\n")
                shard.add((centres[phones] + rng.standard_normal((len(phones), 8))).astype(np.float32))
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n{''.join(entries)}")
    (tmp_path / "phones.tsv").write_text("".join(lines))

    def probe(device: str) -> List[str]:
        paths = ["--manifest", str(tmp_path / "train.tsv"), "--alignments", str(tmp_path / "phones.tsv"), "--dest", str(tmp_path / device)]
        return ["probe", str(tmp_path / "all"), "train", "1", *paths, "--clusters", "4"]

    _on_both(probe)
    one, other = (json.loads((tmp_path / device / "layers.json").read_text())["layers"][0] for device in ("cpu", "cuda"))
    for measure in ("accuracy", "pnmi", "phone_error"):
        assert other[measure]["value"] == pytest.approx(one[measure]["value"], abs=0.01)


def test_greedy_hypotheses(work: Path, tmp_path: Path) -> None:
    _on_both(lambda device: ["decode", str(work), "train", str(work / "tuned.pt"), str(tmp_path / device)])
    assert _text(tmp_path / "cuda") == _text(tmp_path / "cpu")
    assert "ref.word" in _text(tmp_path / "cpu")


def test_hypotheses_with_a_language_model_and_its_weights(work: Path, tmp_path: Path) -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    pytest.importorskip("kenlm")
    assert (
        main(["lm", str(work / "train.wrd"), "--dest", str(tmp_path / "lm"), "--order", "2", "--dictionary", str(work / "dict.ltr.txt")])
        == 0
    )
    search = [
        "--lm",
        str(tmp_path / "lm" / "lm.arpa"),
        "--lexicon",
        str(tmp_path / "lm" / "lexicon.txt"),
        "--beam",
        "5",
        "--processes",
        "2",
    ]
    _on_both(lambda device: ["decode", str(work), "train", str(work / "tuned.pt"), str(tmp_path / device), *search])
    assert _text(tmp_path / "cuda") == _text(tmp_path / "cpu")
    _on_both(lambda device: ["tune", str(work), "valid", str(work / "tuned.pt"), str(tmp_path / f"{device}.json"), *search])
    one, other = (json.loads((tmp_path / f"{device}.json").read_text()) for device in ("cpu", "cuda"))
    assert [point["errors"] for point in other["tried"]] == [point["errors"] for point in one["tried"]]


def test_letter_alignments(work: Path, tmp_path: Path) -> None:
    _on_both(lambda device: ["align", str(work), "train", str(work / "tuned.pt"), str(tmp_path / device)])
    assert _text(tmp_path / "cuda") == _text(tmp_path / "cpu")
    assert len(_text(tmp_path / "cpu")) == 4


def test_a_loaded_encoder(work: Path, tmp_path: Path) -> None:
    features = ["features", "hubert", str(work), "train", str(work / "pretrained.pt"), "2", "1", "0", str(tmp_path / "layer")]
    assert main([*features, "--device", "cpu"]) == 0
    learn = ["gmm", "learn", str(tmp_path / "layer"), "train", "1", str(tmp_path / "gmm.safetensors"), "5", "--perplexity", "2"]
    assert main([*learn, "--device", "cpu"]) == 0
    waveforms = [0.1 * torch.randn(length, generator=torch.Generator().manual_seed(length)) for length in (16_000, 9_000)]
    model = softhubert_plugin.load(work / "pretrained.pt", mixture=tmp_path / "gmm.safetensors")
    expected = (*model.extract_features(waveforms, layer=2), *model.posteriors(waveforms))
    with pretend():
        there = softhubert_plugin.load(work / "pretrained.pt", mixture=tmp_path / "gmm.safetensors").to("cuda")
        found = [value.cpu() for value in (*there.extract_features(waveforms, layer=2), *there.posteriors(waveforms))]
        assert there.extract_features(waveforms, layer=2).values.device == torch.device("cuda", 0)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_convolutions_of_features_are_exact_and_those_of_training_stay_fast(work: Path, tmp_path: Path) -> None:
    seen: List[bool] = []
    convolve = torch.nn.functional.conv1d

    def watched(*arguments: Any, **options: Any) -> torch.Tensor:
        seen.append(torch.backends.cudnn.allow_tf32)
        return convolve(*arguments, **options)

    assert torch.backends.cudnn.allow_tf32
    with mock.patch("torch.nn.functional.conv1d", watched):
        _on_both(lambda device: ["decode", str(work), "train", str(work / "tuned.pt"), str(tmp_path / device), "--processes", "1"])
        layers = ["features", "hubert", str(work), "train", str(work / "pretrained.pt"), "2", "1", "0"]
        _on_both(lambda device: [*layers, str(tmp_path / f"layer-{device}")])
    assert len(seen) > 20 and not any(seen)
    assert torch.backends.cudnn.allow_tf32
    with pytest.raises(ValueError), exact_convolutions():
        raise ValueError
    assert torch.backends.cudnn.allow_tf32


def test_the_device_is_set_before_the_processes_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    done: List[Tuple[str, Any]] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pretend(2):
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: done.append(("device", device)))
        monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend: done.append(("group", backend)))
        monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: done.append(("left", None)))
        device = distributed.local_device("cuda")
        with distributed.process_group(device):
            pass
        assert done == [("device", "cuda:1"), ("group", "cpu:gloo,cuda:nccl"), ("left", None)]
        monkeypatch.setenv("LOCAL_RANK", "2")
        with pytest.raises(SoftHubertError, match="process 3 of this machine has no GPU of its own .2 GPUs.*--nproc_per_node 2"):
            distributed.local_device("cuda")
    done.clear()
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend: done.append(("group", backend)))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with distributed.process_group("cpu"):
        pass
    assert done == [("group", "gloo")]


def _together(rank: int, port: int, folder: str) -> None:
    """What one of two processes of a run draws, checks and is told."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", RANK=str(rank))
    with distributed.process_group("cpu"):
        drawn = []
        for update in range(20):
            torch.manual_seed(update)
            drawn.append([list(drop_in_each_process(12, 0.5)), float(torch.rand(()))])
        checked: List[int] = []
        once_per_machine(lambda: checked.append(rank))

        def refuse() -> None:
            raise SoftHubertError("no")

        told = ""
        try:
            once_per_machine(refuse)
        except (SoftHubertError, SystemExit) as error:
            told = type(error).__name__
        Path(folder, f"{rank}.json").write_text(json.dumps({"drawn": drawn, "checked": checked, "told": told}))


def test_processes_drop_layers_of_their_own_and_check_files_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_together, (port, str(tmp_path)), nprocs=2)
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert all(mine[0] != theirs[0] for mine, theirs in zip(one["drawn"], other["drawn"]))
    assert [mine[1] for mine in one["drawn"]] == [theirs[1] for theirs in other["drawn"]]  # all generators stay at the same place
    share = np.mean([mine[0] for mine in one["drawn"] + other["drawn"]])
    assert 0.4 < share < 0.6
    assert (one["checked"], other["checked"]) == ([0], [])
    assert (one["told"], other["told"]) == ("SoftHubertError", "SystemExit")
