"""The task: what it refuses before training, what its checkpoints hold, and which stock checkpoints it starts from."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import pytest
import soundfile
import torch
from fairseq.models.hubert.hubert_asr import HubertCtcConfig
from fairseq.tasks import setup_task
from omegaconf import OmegaConf
from pretended_gpu import pretend
from shapes import SMALL, save_finetuned

from softhubert_plugin.checkpoints.load import register_plugin
from softhubert_plugin.features.mfcc import dump_mfcc
from softhubert_plugin.files import sha256_of
from softhubert_plugin.gmm.dump_gmm_posteriors import dump_gmm_posteriors
from softhubert_plugin.gmm.learn_gmm import GmmOptions, learn_gmm
from softhubert_plugin.labels.merge import merge_labels
from softhubert_plugin.labels.opening import open_labels
from softhubert_plugin.manifests import read_manifest, write_cluster_dictionary
from softhubert_plugin.settings import SoftHubertPretrainingConfig
from softhubert_plugin.tasks.soft_hubert_pretraining import SoftHubertPretrainingTask

register_plugin()


@pytest.fixture()
def labelled(corpus: Path) -> Path:
    """The tiny corpus with soft labels of four components in ``lab``."""
    for split in ("train", "valid"):
        dump_mfcc(corpus, split, 1, 0, corpus / "mfcc")
    learn_gmm(corpus / "mfcc", "train", 1, corpus / "gmm.safetensors", GmmOptions(4, perplexity=2.0))
    for split in ("train", "valid"):
        dump_gmm_posteriors(corpus / "mfcc", split, corpus / "gmm.safetensors", 1, 0, corpus / "lab")
        merge_labels(corpus / "lab", split, 1)
    return corpus


def _task(folder: Path, **changes: Any) -> SoftHubertPretrainingTask:
    settings = {
        "_name": "soft_hubert_pretraining",
        "data": str(folder),
        "label_dir": str(folder / "lab"),
        "labels": ["gmm"],
        "label_rate": 100.0,
        "train_subset": "train",
        "seed": 1,
        **changes,
    }
    return setup_task(OmegaConf.merge(OmegaConf.structured(SoftHubertPretrainingConfig()), settings))


def _ctc(checkpoint: Path) -> Any:
    settings = {"_name": "hubert_ctc", "w2v_path": str(checkpoint), "normalize": False, "data": "/gone"}
    return OmegaConf.merge(OmegaConf.structured(HubertCtcConfig()), settings)


def _relabel(data: Path) -> None:
    learn_gmm(data / "mfcc", "train", 1, data / "other.safetensors", GmmOptions(4, perplexity=2.0, seed=7))
    for path in (data / "lab").glob("valid*"):
        path.unlink()
    dump_gmm_posteriors(data / "mfcc", "valid", data / "other.safetensors", 1, 0, data / "lab")
    merge_labels(data / "lab", "valid", 1)


def _nothing(data: Path) -> None:
    pass


def _file_for_label_folder(data: Path) -> None:
    (data / "lab").rename(data / "labels")
    (data / "lab").write_text("")


def _empty_manifest(data: Path) -> None:
    (data / "train.tsv").write_text(f"{data}\n")


def _remove_audio(data: Path) -> None:
    (data / "audio" / "train-2.flac").unlink()


def _slow_audio(data: Path) -> None:
    samples, _ = soundfile.read(data / "audio" / "train-1.flac")
    soundfile.write(data / "audio" / "train-1.flac", samples, 8_000)


def _cut_audio(data: Path) -> None:
    soundfile.write(data / "audio" / "train-1.flac", np.zeros(5_000), 16_000)


def _cut_file_short(data: Path) -> None:
    content = (data / "audio" / "train-1.flac").read_bytes()
    (data / "audio" / "train-1.flac").write_bytes(content[: len(content) // 2])


def _stereo_audio(data: Path) -> None:
    samples, rate = soundfile.read(data / "audio" / "train-1.flac")
    soundfile.write(data / "audio" / "train-1.flac", np.stack([samples, samples], axis=1), rate)


def _other_order(data: Path) -> None:
    root, *lines = (data / "train.tsv").read_text().splitlines()
    (data / "train.tsv").write_text("\n".join([root, *lines[::-1]]) + "\n")


def _truncate_labels(data: Path) -> None:
    content = (data / "lab" / "train.gmm").read_bytes()
    (data / "lab" / "train.gmm").write_bytes(content[:-20])


def _hard_with_empty_dictionary(data: Path) -> None:
    (data / "lab" / "train.km").write_text("0 1 1\n" * 4)
    (data / "lab" / "dict.km.txt").write_text("")


def _hard_that_are_short(data: Path) -> None:
    (data / "lab" / "train.km").write_text("0 1 1\n" * 4)
    write_cluster_dictionary(data / "lab", "km", 2)


@pytest.mark.parametrize(
    ("damage", "changes", "complaint"),
    [
        (_empty_manifest, {}, "train.tsv"),
        (_remove_audio, {}, "train-2.flac"),
        (_slow_audio, {}, "train-1.flac: sampled at 8000 Hz, expected 16000 Hz"),
        (_cut_audio, {}, "train-1.flac"),
        (_cut_file_short, {}, "train-1.flac: cut short or damaged"),
        (_stereo_audio, {}, "train-1.flac: 2 channels, expected 1"),
        (_other_order, {}, "manifest"),
        (_truncate_labels, {}, "train.gmm"),
        (_nothing, {"label_rate": 50.0}, "labels at 100 Hz, but task.label_rate is 50"),
        (_nothing, {"labels": ["km"]}, "dict.km.txt: no such dictionary"),
        (_nothing, {"data": "/nowhere"}, "/nowhere/train.tsv"),
        (_file_for_label_folder, {}, "train.gmm: no such soft labels"),
        (_hard_with_empty_dictionary, {"labels": ["km"]}, "dict.km.txt"),
        (_hard_that_are_short, {"labels": ["km"]}, "train.km"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_does_not_fit_is_refused_in_one_line(
    labelled: Path, damage: Callable[[Path], None], changes: Any, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(labelled)
    with pytest.raises(SystemExit) as stopped:
        _task(labelled, **changes).load_dataset("train")
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("softhubert: error: ")]) == 1
    assert complaint in lines[-1], lines[-1]


def test_splits_labelled_by_different_mixtures_are_refused(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _relabel(labelled)
    task = _task(labelled)
    task.load_dataset("train")
    with pytest.raises(SystemExit):
        task.load_dataset("valid")
    assert "label all splits with one mixture" in capsys.readouterr().err


def test_hard_labels_are_known_by_their_record_as_long_as_it_is_of_this_file(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learn_gmm(labelled / "mfcc", "train", 1, labelled / "other.safetensors", GmmOptions(4, perplexity=2.0, seed=7))
    for folder, mixture in (("lab", "gmm"), ("others", "other")):
        for split in ("train", "valid"):
            dump_gmm_posteriors(labelled / "mfcc", split, labelled / f"{mixture}.safetensors", 1, 0, labelled / folder, hard=True)
            merge_labels(labelled / folder, split, 1, hard=True, remove_shards=True)
    lab, hard = labelled / "lab", {"labels": ["km"]}

    def refused(split: str, **changes: Any) -> str:
        task = _task(labelled, **{**hard, **changes})
        with pytest.raises(SystemExit):
            for each in dict.fromkeys(("train", split)):
                task.load_dataset(each)
        return capsys.readouterr().err

    assert _task(labelled, **hard).state_dict()["label_mixtures"] == [sha256_of(labelled / "gmm.safetensors")]
    assert "labels at 100 Hz, but task.label_rate is 50" in refused("train", label_rate=50.0)
    (labelled / "train.tsv").rename(labelled / "train.kept")
    (labelled / "train.tsv").write_bytes((labelled / "valid.tsv").read_bytes())
    assert "train.km: made for another manifest" in refused("train")
    (labelled / "train.kept").rename(labelled / "train.tsv")
    for name in ("valid.km", "valid.km.json"):
        (lab / name).write_bytes((labelled / "others" / name).read_bytes())
    assert "valid.km: the labels come from another clustering (4 components" in refused("valid")
    # A record that is missing, or of other labels, says nothing: such labels go with any of as many clusters, as those of fairseq do.
    (lab / "valid.km.json").write_bytes((lab / "train.km.json").read_bytes())
    task = _task(labelled, **hard)
    for split in ("train", "valid"):
        task.load_dataset(split)


def test_transcripts_with_letters_that_the_dictionary_lacks_are_refused(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (corpus / "train.ltr").read_text().splitlines()
    (corpus / "train.ltr").write_text("\n".join(["Q U I Z |", *lines[1:]]) + "\n")
    with pytest.raises(SystemExit):
        _task(corpus, fine_tuning=True, labels=["ltr"], label_dir=str(corpus)).load_dataset("train")
    assert "train.ltr, line 1: symbols Q Z" in capsys.readouterr().err


@pytest.mark.parametrize("fine_tuning", [False, True], ids=["pretraining", "fine-tuning"])
@pytest.mark.parametrize(("split", "name"), [("train", "max_tokens"), ("valid", "max_tokens_valid")])
def test_an_utterance_that_fits_into_no_batch_is_refused_by_its_name(
    labelled: Path, split: str, name: str, fine_tuning: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_manifest(labelled / f"{split}.tsv")
    longest = int(manifest.sizes.max())
    changes = {"fine_tuning": True, "labels": ["ltr"], "label_dir": str(labelled)} if fine_tuning else {}

    def load(room: int, **more: Any) -> None:
        dataset = {
            "max_tokens": 1_000_000,
            "max_tokens_valid": 1_000_000,
            "train_subset": "train",
            "valid_subset": "other,valid",
            name: room,
        }
        whole = OmegaConf.create({"task": _task(labelled, pad_audio=True, **changes, **more).cfg, "dataset": dataset})
        setup_task(whole.task).load_dataset(split)

    load(longest)
    load(longest - 1, max_keep_size=longest - 1)
    with pytest.raises(SystemExit):
        load(longest - 1)
    path = manifest.audio_path(int(np.argmax(manifest.sizes)))
    complaint = f"{path}: takes {longest} samples, but a batch holds {longest - 1} (dataset.{name}); set dataset.{name}={longest}"
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(("room", "in_validation", "expected"), [(0, 1, "max_tokens"), (1, 0, "max_tokens_valid"), (1, 1, None)])
def test_a_split_of_training_and_validation_needs_room_in_the_batches_of_both(
    labelled: Path, room: int, in_validation: int, expected: Optional[str], capsys: pytest.CaptureFixture[str]
) -> None:
    longest = int(read_manifest(labelled / "train.tsv").sizes.max()) - 1
    subsets = {"train_subset": "train", "valid_subset": "train"}
    dataset = {"max_tokens": longest + room, "max_tokens_valid": longest + in_validation, **subsets}
    whole = OmegaConf.create({"task": _task(labelled, pad_audio=True).cfg, "dataset": dataset})
    with pytest.raises(SystemExit) if expected else contextlib.nullcontext():
        setup_task(whole.task).load_dataset("train")
    assert (f"(dataset.{expected})" in capsys.readouterr().err) == bool(expected)


def test_the_task_state_is_numbers_and_strings(labelled: Path, corpus: Path) -> None:
    source = open_labels(labelled / "lab", "train", "gmm").source
    assert _task(labelled).state_dict() == {"codewords": [4], "label_sources": [source]}
    state = _task(corpus, fine_tuning=True, labels=["ltr"], label_dir=str(corpus)).state_dict()
    assert state["target_symbols"][0] in "|E" and set("".join(state["target_symbols"])) <= set("|'ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def test_a_stock_checkpoint_is_fine_tuned_and_remembered_without_its_dictionaries(corpus: Path, stock_checkpoint: Path) -> None:
    task = _task(corpus, fine_tuning=True, labels=["ltr"], label_dir=str(corpus))
    cfg = _ctc(stock_checkpoint)
    model = task.build_model(cfg)
    saved = torch.load(stock_checkpoint, weights_only=True)["model"]
    encoder = model.w2v_encoder.w2v_model.state_dict()
    assert all(torch.equal(encoder[name], saved[name]) for name in encoder if name in saved)
    assert "label_embs_concat" not in encoder
    assert cfg.w2v_args.model._name == "soft_hubert"
    rebuilt = task.build_model(cfg)
    assert rebuilt.state_dict().keys() == model.state_dict().keys()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="about oneDNN on a CPU")
@pytest.mark.parametrize(("gpus", "cpu", "expected"), [(0, False, False), (1, True, False), (1, False, True)])
def test_a_narrow_model_is_trained_without_onednn_where_it_trains_on_a_cpu(
    gpus: int, cpu: bool, expected: bool, corpus: Path, stock_checkpoint: Path
) -> None:
    task = _task(corpus, fine_tuning=True, labels=["ltr"], label_dir=str(corpus), cpu=cpu)
    with pretend(gpus):
        model = task.build_model(_ctc(stock_checkpoint))
    seen: List[bool] = []

    def criterion(*_: Any) -> Tuple[torch.Tensor, int, Dict[str, Any]]:
        seen.append(torch._C._get_mkldnn_enabled())
        return torch.zeros(()), 1, {}

    task.train_step({}, model, criterion, SimpleNamespace(backward=lambda loss: seen.append(torch._C._get_mkldnn_enabled())), 0)
    assert seen == [expected, expected]
    assert torch._C._get_mkldnn_enabled()


def test_a_training_without_its_folder_of_manifests_is_refused_before_fairseq_lists_it(
    corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus)
    for data, complaint in (
        ("/nowhere", "task.data=/nowhere: no such folder; give"),
        ("gone", f"gone: no such folder (in {corpus}, where"),
    ):
        with pytest.raises(SystemExit):
            _task(corpus, data=data, label_dir=str(corpus)).build_model(_ctc(corpus / "checkpoint.pt"))
        assert complaint in capsys.readouterr().err


def test_a_model_that_does_not_exist_is_refused_by_its_name(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _task(corpus).build_model(OmegaConf.create({"_name": "soft_hubret"}))
    assert "model._name=soft_hubret: no such model; give soft_hubert" in capsys.readouterr().err


def test_a_missing_pretrained_checkpoint_is_refused(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = _task(corpus, fine_tuning=True, labels=["ltr"], label_dir=str(corpus))
    with pytest.raises(SystemExit):
        task.build_model(_ctc(Path("/nowhere/checkpoint.pt")))
    assert "/nowhere/checkpoint.pt: no such pretrained checkpoint" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        task.build_model(_ctc(Path("checkpoint.pt")))
    assert f"checkpoint.pt: no such pretrained checkpoint (in {Path.cwd()}, where" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("normalize", "rate", "complaint"),
    [
        (True, 16_000, "was trained with task.normalize=false, but here it is true; set task.normalize=false"),
        (False, 8_000, "was trained with task.sample_rate=16000, but here it is 8000; give it audio of that rate"),
    ],
)
def test_a_model_is_not_fine_tuned_on_other_audio(
    normalize: bool, rate: int, complaint: str, corpus: Path, stock_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = _task(corpus, fine_tuning=True, labels=["ltr"], label_dir=str(corpus), normalize=normalize, sample_rate=rate)
    cfg = _ctc(stock_checkpoint)
    cfg.normalize = normalize
    with pytest.raises(SystemExit):
        task.build_model(cfg)
    assert f"{stock_checkpoint}: {complaint}" in capsys.readouterr().err


def test_a_fine_tuned_model_and_no_transcripts_are_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned = save_finetuned(tmp_path / "tuned.pt", SMALL)
    task = _task(corpus, fine_tuning=True, labels=["ltr"], label_dir=str(corpus))
    with pytest.raises(SystemExit):
        task.build_model(_ctc(tuned))
    assert f"{tuned}: a fine-tuned model; set model.w2v_path to the pretrained one" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        _task(corpus, fine_tuning=True, labels=[], label_dir=str(corpus)).load_dictionaries()
    assert "task.labels is empty, but fine-tuning needs transcripts" in capsys.readouterr().err


def test_fine_tuning_needs_a_frame_per_utterance_and_one_per_symbol_of_most(
    corpus: Path, stock_checkpoint: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def load(**changes: Any) -> str:
        task = _task(corpus, fine_tuning=True, labels=["ltr"], label_dir=str(corpus), pad_audio=True, **changes)
        task.build_model(_ctc(stock_checkpoint))
        caplog.clear()
        with contextlib.suppress(SystemExit):
            task.load_dataset("train")
        return capsys.readouterr().err + " ".join(record.getMessage() for record in caplog.records if record.name.endswith("transcripts"))

    assert load() == ""
    lines = (corpus / "train.ltr").read_text().splitlines()
    fits = (int(read_manifest(corpus / "train.tsv").sizes[0]) - 400) // 320 + 1  # frames of the first
    for first, expected in (
        (["E"] * (fits // 2), ""),  # between equal letters there is a blank
        (["E", "R"] * (fits // 2) + ["E"] * (fits % 2), ""),
        (
            ["E"] * (fits // 2 + 2),
            f"train.ltr: 1 of 4 transcripts need more frames than their audio has (the first: line 1 needs {fits + 3} ",
        ),
    ):
        (corpus / "train.ltr").write_text("\n".join([" ".join(first), *lines[1:]]) + "\n")
        assert expected in load() and bool(load()) == bool(expected)
    (corpus / "train.ltr").write_text((" ".join("E" * 200) + "\n") * 4)
    assert "softhubert: error: " in load() and "4 of 4 transcripts need more frames" in load()
    assert "none of its 4 utterances is between None and 1 samples long" in load(max_keep_size=1)
    soundfile.write(corpus / "audio" / "train-1.flac", np.zeros(399), 16_000)
    _, *entries = (corpus / "train.tsv").read_text().splitlines()
    (corpus / "train.tsv").write_text("\n".join([str(corpus), entries[0], "audio/train-1.flac\t399", *entries[2:]]) + "\n")
    assert "train-1.flac: 399 samples, too short for a single frame (400 samples)" in load()
    assert "too short" not in load(min_sample_size=400)
