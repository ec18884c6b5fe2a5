"""DistilHuBERT: its loss (compared with transformers' models), its learning, and the use of its checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from fairseq.tasks import setup_task
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
from omegaconf import OmegaConf
from shapes import LARGE, SMALL, save_pretrained, unsettle

from softhubert_plugin.checkpoints.contents import assemble, whole_configuration
from softhubert_plugin.checkpoints.load import load_checkpoint, read_checkpoint, register_plugin
from softhubert_plugin.criterions.distil_hubert import DistilHubertCriterion
from softhubert_plugin.data.soft_hubert_dataset import SoftHubertDataset
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.exchange.export_transformers import export_transformers
from softhubert_plugin.features.hidden_states import hidden_states
from softhubert_plugin.front_end import parse_conv_feature_layers
from softhubert_plugin.manifests import read_manifest
from softhubert_plugin.models.distil_hubert import DistilHubertModel
from softhubert_plugin.models.soft_hubert import SoftHubertModel
from softhubert_plugin.models.starting_point import start_from
from softhubert_plugin.models.teacher import Teacher
from softhubert_plugin.settings import TEACHERS_SHAPE, DistilHubertConfig, SoftHubertConfig, SoftHubertPretrainingConfig, complete_shape
from softhubert_plugin.tasks.soft_hubert_pretraining import SoftHubertPretrainingTask

register_plugin()

REPOSITORY = Path(__file__).parents[1]
LENGTHS = (16_000, 12_600, 9_700)
PREDICTED = [1, 3]
PLAIN = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "label_rate": 50.0}


def _student(teacher: Teacher, **changes: Any) -> DistilHubertModel:
    settings = {**SMALL, **PLAIN, "encoder_layers": 2, "predicted_layers": teacher.layers, "teacher_embed_dim": teacher.width, **changes}
    cfg = OmegaConf.merge(OmegaConf.structured(DistilHubertConfig()), settings)
    torch.manual_seed(1)
    student = DistilHubertModel(cfg, HubertPretrainingConfig())
    student.learn_from(teacher, normalize=False)
    return student


def _sample(waveforms: List[torch.Tensor]) -> Dict[str, Any]:
    source = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    padding = torch.arange(source.shape[1]) >= lengths[:, None] if lengths.min() < lengths.max() else None
    width = (source.shape[1] - 400) // 320 + 1
    frames = int(np.minimum(np.ceil(lengths.numpy() / (source.shape[1] // width)), width).sum())
    return {"id": torch.arange(len(source)), "net_input": {"source": source, "padding_mask": padding}, "frames": frames}


@pytest.fixture()
def teacher_path(tmp_path: Path) -> Path:
    """A checkpoint of a three-layer teacher."""
    return save_pretrained(tmp_path / "teacher.pt", SMALL)


@pytest.mark.parametrize("cosine_weight", [0.0, 1.0])
@pytest.mark.parametrize("utterances", [1, 3])
def test_the_loss_equals_the_papers_on_transformers_models(
    utterances: int, cosine_weight: float, teacher_path: Path, tmp_path: Path
) -> None:
    """The reference is the paper's formula, frame by frame, on transformers' forward passes of teacher and student."""
    transformers = pytest.importorskip("transformers", reason="bash install.sh --extras transformers")
    student = _student(Teacher(teacher_path, PREDICTED)).eval()
    unsettle(student)
    generator = torch.Generator().manual_seed(3)
    sample = _sample([0.1 * torch.randn(length, generator=generator) for length in LENGTHS[:utterances]])
    found, frames, log = DistilHubertCriterion(None, cosine_weight)(student, sample)

    export_transformers(teacher_path, tmp_path / "teacher")
    export_transformers(_saved(student, tmp_path / "student.pt"), tmp_path / "student")
    models = [transformers.HubertModel.from_pretrained(tmp_path / name).eval() for name in ("teacher", "student")]
    source, padding = sample["net_input"]["source"], sample["net_input"]["padding_mask"]
    mask = None if padding is None else (~padding).long()
    with torch.inference_mode():
        targets = models[0](source, attention_mask=mask, output_hidden_states=True).hidden_states
        hidden = models[1](source, attention_mask=mask).last_hidden_state
        expected, counted = 0.0, 0
        for row, length in enumerate(LENGTHS[:utterances]):
            for frame in range((length - 400) // 320 + 1):
                counted += 1
                for head, layer in zip(student.heads, PREDICTED):
                    prediction, target = head(hidden[row, frame]), targets[layer][row, frame]
                    cosine = prediction @ target / prediction.norm() / target.norm()
                    absolute = (prediction - target).abs().sum() / len(target)
                    expected += float(absolute - cosine_weight * torch.sigmoid(cosine).log()) / len(PREDICTED)
    assert frames == counted == log["sample_size"]
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)


def _saved(student: DistilHubertModel, path: Path) -> Path:
    """Save a checkpoint with the weights of this student."""
    shape = {**SMALL, "encoder_layers": 2, "predicted_layers": student.predicted_layers, "teacher_embed_dim": student.teacher_width}
    state = read_checkpoint(save_pretrained(path, shape))
    assert state["model"].keys() == student.state_dict().keys()
    torch.save({**state, "model": student.state_dict()}, path)
    return path


def test_the_frames_that_the_dataset_counts_are_those_that_the_model_does_not_mask(corpus: Path) -> None:
    manifest = read_manifest(corpus / "train.tsv")
    dataset = SoftHubertDataset(
        manifest, [], label_rates=[], frame_rate=50.0, label_pooling="mean", sample_rate=16_000, pad_audio=True, random_crop=False
    )
    model = SoftHubertModel(
        OmegaConf.merge(OmegaConf.structured(SoftHubertConfig()), SMALL, {"label_rate": 50.0}), HubertPretrainingConfig(), None
    )
    for chosen in ([0, 1, 2, 3], [1, 3], [2]):
        batch = dataset.collater([dataset[index] for index in chosen])
        features = torch.zeros(len(chosen), dataset.frames_of(batch["net_input"]["source"].shape[1]), 1)
        padding = batch["net_input"]["padding_mask"]
        expected = features.numel() if padding is None else int((~model.forward_padding_mask(features, padding)).sum())
        assert batch["frames"] == expected


@pytest.mark.parametrize("kind", ["checkpoint", "folder"])
def test_all_targets_are_the_teachers_layers(kind: str, teacher_path: Path, tmp_path: Path) -> None:
    if kind == "folder":
        export_transformers(teacher_path, tmp_path / "folder")
    teacher = Teacher(tmp_path / "folder" if kind == "folder" else teacher_path, [3, 1])
    waveform = 0.1 * torch.randn(9_999)
    expected = hidden_states(load_checkpoint(teacher_path).encoder, [waveform], [1, 3])[0]
    third, first = teacher(waveform[None])
    torch.testing.assert_close(first[0], expected[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(third[0], expected[3], atol=1e-5, rtol=0)


def test_two_hundred_updates_on_real_speech_reduce_the_loss_steadily_and_leave_the_teacher_alone(teacher_path: Path, speech: Path) -> None:
    paths = sorted((speech / "LibriSpeech").rglob("*.flac"))[:12]
    waveforms = [torch.from_numpy(soundfile.read(str(path), frames=16_000, dtype="float32")[0]) for path in paths]
    held_out = _sample(waveforms[:4])
    teacher = Teacher(teacher_path, PREDICTED)
    before = {name: tensor.clone() for name, tensor in teacher.encoder.state_dict().items()}
    student, criterion = _student(teacher), DistilHubertCriterion(None)
    start_from(student, teacher_path)
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
    torch.manual_seed(2)
    losses, seen = [], []
    for update in range(201):
        if update % 50 == 0:
            with torch.no_grad():
                loss, frames, _ = criterion(student.eval(), held_out)
            losses.append(float(loss) / frames)
        student.train()
        optimizer.zero_grad()
        chosen = (torch.randperm(8)[:4] + 4).tolist()
        seen.extend(chosen)
        loss, frames, _ = criterion(student, _sample([waveforms[index] for index in chosen]))
        (loss / frames).backward()
        optimizer.step()
    assert min(seen) >= 4  # the loss is measured on utterances that are not trained on
    assert all(later < 0.97 * earlier for earlier, later in zip(losses, losses[1:])), losses
    assert losses[-1] < 0.6 * losses[0], losses
    after = teacher.encoder.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.encoder.parameters())


def test_the_student_starts_as_the_teachers_first_layers_and_never_contains_it(teacher_path: Path) -> None:
    student = _student(Teacher(teacher_path, PREDICTED))
    start = start_from(student, teacher_path)
    taught, learnt = load_checkpoint(teacher_path).encoder.state_dict(), student.state_dict()
    assert {name.partition(".")[0] for name in start.fresh} == {"heads"}
    assert all(torch.equal(learnt[name], taught[name]) for name in start.loaded)
    assert {name for name in learnt if not name.startswith("heads.")} == set(start.loaded)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"conv_feature_layers": "[(24,10,5)] + [(24,2,2)] * 6"}, "frames do not coincide"),
        ({"teacher_embed_dim": 31}, "teacher_embed_dim at 0"),
    ],
)
def test_a_student_that_does_not_fit_its_teacher_is_refused(changes: Dict[str, Any], complaint: str, teacher_path: Path) -> None:
    with pytest.raises(SoftHubertError, match=complaint):
        _student(Teacher(teacher_path, PREDICTED), **changes)


def test_layers_that_the_teacher_lacks_and_other_normalisation_are_refused(teacher_path: Path) -> None:
    for layers, complaint in (([4], "layer 4: this model has layers 1 to 3"), ([0], "numbers from 1"), ([], "numbers from 1")):
        with pytest.raises(SoftHubertError, match=complaint):
            Teacher(teacher_path, layers)
    student = _student(Teacher(teacher_path, PREDICTED))
    with pytest.raises(SoftHubertError, match="task.normalize=False"):
        student.learn_from(student.teacher, normalize=True)


def _distil(teacher: Path, *, normalize: Any = None, **model: Any) -> Any:
    """Build a student as the trainer does. Return the configuration that its checkpoint would keep, and the student."""
    settings = {"_name": "distil_hubert", "label_rate": 50.0, "predicted_layers": PREDICTED, "teacher": str(teacher), **model}
    task_settings = {"_name": "soft_hubert_pretraining", "data": str(teacher.parent), "labels": [], "normalize": normalize, "seed": 1}
    parts = {"model": (DistilHubertConfig(), settings), "task": (SoftHubertPretrainingConfig(), task_settings)}
    merged = {name: OmegaConf.merge(OmegaConf.structured(structure), values) for name, (structure, values) in parts.items()}
    cfg = whole_configuration(**{name: OmegaConf.to_container(group, enum_to_str=True) for name, group in merged.items()})
    whole = OmegaConf.create(cfg)
    OmegaConf.set_struct(whole, True)
    task = setup_task(whole.task)
    return whole, task.build_model(whole.model)


SHAPES_OF_TEACHERS = {
    "Base": {},
    "Large": LARGE,
    "biased convolutions": {**LARGE, "conv_bias": True},
    "other widths": {
        "encoder_embed_dim": 48,
        "encoder_ffn_embed_dim": 80,
        "encoder_attention_heads": 6,
        "conv_pos": 8,
        "conv_pos_groups": 3,
    },
    "other convolutions": {"conv_feature_layers": "[(16,10,5)] + [(20,3,2)] * 4 + [(16,2,2)] * 2", "activation_fn": "relu"},
    "no norm of the features": {"feature_layer_norm": False},
}


@pytest.mark.parametrize("name", SHAPES_OF_TEACHERS)
def test_a_student_has_its_teachers_shape_and_its_checkpoint_records_it(name: str, tmp_path: Path) -> None:
    shape = {**SMALL, **SHAPES_OF_TEACHERS[name]}
    path = save_pretrained(tmp_path / "teacher.pt", shape)
    taught = load_checkpoint(path)
    whole, student = _distil(path)
    for setting in TEACHERS_SHAPE:
        expected = taught.encoder_cfg[setting]
        found = whole.model[setting]
        if setting == "conv_feature_layers":
            expected, found = parse_conv_feature_layers(expected), parse_conv_feature_layers(found)
        assert found == expected, setting
    assert whole.task.normalize is bool(shape.get("normalize", False)) and whole.model.teacher_embed_dim == shape["encoder_embed_dim"]
    weights, learnt = taught.encoder.state_dict(), student.state_dict()
    assert "encoder.layers.1.fc1.weight" in learnt and "encoder.layers.2.fc1.weight" not in learnt
    assert all(torch.equal(learnt[key], weights[key]) for key in learnt if not key.startswith("heads."))
    # The checkpoint opens without the teacher, and gives what the student gives.
    saved = assemble(OmegaConf.to_container(whole), learnt, {"codewords": None})
    torch.save(saved, tmp_path / "student.pt")
    path.unlink()
    loaded = load_checkpoint(tmp_path / "student.pt")
    assert loaded.normalize is whole.task.normalize
    waveform = torch.randn(1, 8_000)
    expected = student.eval()(waveform, features_only=True, mask=False)["x"]
    assert torch.equal(loaded.encoder(waveform, features_only=True, mask=False)["x"], expected)


def test_a_teacher_in_a_folder_of_transformers_gives_its_shape_too(tmp_path: Path) -> None:
    export_transformers(save_pretrained(tmp_path / "teacher.pt", {**SMALL, **LARGE}), tmp_path / "folder")
    whole, _ = _distil(tmp_path / "folder")
    assert (whole.model.extractor_mode, whole.model.layer_norm_first, whole.task.normalize) == ("layer_norm", True, True)
    assert (whole.model.encoder_embed_dim, whole.model.encoder_attention_heads) == (32, 4)


def test_a_student_that_is_told_otherwise_obeys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save_pretrained(tmp_path / "teacher.pt", {**SMALL, **LARGE})
    whole, student = _distil(path, encoder_embed_dim=16, encoder_ffn_embed_dim=24, layer_norm_first=False, init_from="")
    assert (whole.model.encoder_attention_heads, whole.model.encoder_embed_dim, whole.model.layer_norm_first) == (4, 16, False)
    assert student.encoder.layers[0].fc1.weight.shape == (24, 16) and student.heads[0][2].weight.shape == (32, 16)
    capsys.readouterr()
    for changes, complaint in (
        ({"encoder_embed_dim": 18, "init_from": ""}, "model.encoder_embed_dim=18 is not a multiple of model.encoder_attention_heads=4"),
        ({"conv_pos_groups": 5, "init_from": ""}, "is not a multiple of model.conv_pos_groups=5"),
        ({"encoder_embed_dim": 16}, "model.init_from needs a checkpoint with the same front end, width and heads"),
        ({"normalize": False}, "the teacher was trained with task.normalize=True, but the student has False"),
    ):
        with pytest.raises(SystemExit):
            _distil(path, **changes)
        assert complaint in capsys.readouterr().err


def test_the_recipe_gives_a_base_teacher_the_published_student() -> None:
    recipe = OmegaConf.load(REPOSITORY / "config" / "pretrain" / "distilhubert_base_librispeech.yaml").model
    cfg = OmegaConf.merge(OmegaConf.structured(DistilHubertConfig()), recipe)
    complete_shape(cfg, OmegaConf.structured(SoftHubertConfig()))
    published = {  # s3prl/pretrain/distiller/config_model.yaml
        "encoder_layers": 2,
        "encoder_embed_dim": 768,
        "encoder_ffn_embed_dim": 3072,
        "encoder_attention_heads": 12,
        "extractor_mode": "default",
        "activation_fn": "gelu",
        "layer_norm_first": False,
        "conv_pos": 128,
        "conv_pos_groups": 16,
        "conv_bias": False,
    }
    assert {name: cfg[name] if isinstance(cfg[name], (bool, int)) else str(cfg[name]) for name in published} == published
    assert parse_conv_feature_layers(cfg.conv_feature_layers) == [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]


def test_only_a_student_leaves_normalisation_open(teacher_path: Path) -> None:
    settings = {"_name": "soft_hubert_pretraining", "data": str(teacher_path.parent), "labels": ["gmm"], "normalize": None, "seed": 1}
    task = setup_task(OmegaConf.merge(OmegaConf.structured(SoftHubertPretrainingConfig()), settings))
    assert isinstance(task, SoftHubertPretrainingTask)
    task.load_state_dict({"codewords": [4]})
    task.build_model(OmegaConf.merge(OmegaConf.structured(SoftHubertConfig()), {"_name": "soft_hubert", **SMALL, **PLAIN}))
    assert task.cfg.normalize is False


def _train(config: str, cwd: Path, *settings: str) -> subprocess.CompletedProcess:
    folder, name = os.path.split(config)
    command = [sys.executable, "-m", "fairseq_cli.hydra_train", "--config-dir", str(REPOSITORY / "config" / folder), "--config-name", name]
    command += [
        "common.cpu=true",
        "common.fp16=false",
        "common.tensorboard_logdir=null",
        f"hydra.run.dir={cwd}",
        "dataset.num_workers=0",
        *settings,
    ]
    environment = {**os.environ, "HYDRA_FULL_ERROR": "1", "PYTHONPATH": str(REPOSITORY)}
    command.append(f"common.user_dir={REPOSITORY / 'softhubert_plugin'}")
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd.parent)


def test_the_recipe_needs_only_the_teacher(corpus: Path, tmp_path: Path) -> None:
    teacher = save_pretrained(tmp_path / "teacher.pt", {**SMALL, **LARGE})
    short = ["optimization.max_update=2", "lr_scheduler.warmup_updates=1", "task.min_sample_size=400", "dataset.batch_size=1"]
    done = _train(
        "pretrain/distilhubert_base_librispeech",
        tmp_path / "distilled",
        f"task.data={corpus}",
        f"model.teacher={teacher}",
        "model.predicted_layers=[1,3]",
        *short,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    cfg = read_checkpoint(tmp_path / "distilled" / "checkpoints" / "checkpoint_last.pt")["cfg"]
    assert cfg["task"]["normalize"] is True and cfg["model"]["encoder_embed_dim"] == 32 and cfg["model"]["layer_norm_first"] is True
    assert not [name for name in TEACHERS_SHAPE if cfg["model"][name] is None]
    teacher.unlink()
    assert load_checkpoint(tmp_path / "distilled" / "checkpoints" / "checkpoint_last.pt").normalize


def test_the_recipe_distils_its_result_fine_tunes_and_starts_a_soft_hubert(corpus: Path, teacher_path: Path, tmp_path: Path) -> None:
    small = [f"{'' if name in ('conv_feature_layers', 'encoder_layers') else '+'}model.{name}={value!r}" for name, value in SMALL.items()]
    small = [setting.replace("model.encoder_layers=3", "model.encoder_layers=2") for setting in small]
    short = ["optimization.max_update=3", "lr_scheduler.warmup_updates=1", "task.min_sample_size=400", f"model.teacher={teacher_path}"]
    short += ["dataset.batch_size=1"]  # several batches per epoch, because fairseq-fixed leaves the last one out
    data = f"task.data={corpus}"
    done = _train("pretrain/distilhubert_base_librispeech", tmp_path / "distilled", data, "model.predicted_layers=[1,3]", *small, *short)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert '"valid_cosine_3"' in done.stdout
    checkpoint = tmp_path / "distilled" / "checkpoints" / "checkpoint_last.pt"
    teacher_path.unlink()  # from here on, the student does without its teacher
    state = read_checkpoint(checkpoint)
    assert state["cfg"]["model"]["teacher_embed_dim"] == 32 and "encoder.layers.2.fc1.weight" not in state["model"]
    loaded = load_checkpoint(checkpoint)
    assert hidden_states(loaded.encoder, [torch.randn(8_000)], [2])[0][2].shape == (24, 32)
    soft = SoftHubertModel(OmegaConf.merge(OmegaConf.structured(SoftHubertConfig()), {**SMALL, **PLAIN}), HubertPretrainingConfig(), [5])
    assert torch.equal(start_from(soft, checkpoint) and soft.encoder.layers[1].fc1.weight, state["model"]["encoder.layers.1.fc1.weight"])

    tuning = ["optimization.max_update=2", "distributed_training.distributed_world_size=1", "model.mask_channel_length=4"]
    tuning += [
        "dataset.max_tokens=25000",
        "dataset.train_subset=train",
        "dataset.valid_subset=valid",
        "optimization.update_freq=[1]",
        f"task.label_dir={corpus}",
    ]
    done = _train("finetune/base_1h", tmp_path / "tuned", data, f"model.w2v_path={checkpoint}", *tuning)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    tuned = load_checkpoint(tmp_path / "tuned" / "checkpoints" / "checkpoint_last.pt")
    assert not any("heads" in name for name in tuned.model.state_dict())
    assert F.cosine_similarity(tuned.encoder.mask_emb, loaded.encoder.mask_emb, dim=0) > 0.999
