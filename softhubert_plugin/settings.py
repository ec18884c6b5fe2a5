"""Every hydra key of the task and of the models, with its default and its meaning.

fairseq registers these dataclasses under the names ``soft_hubert_pretraining`` (``task.*``), ``soft_hubert`` and ``distil_hubert``
(``model.*``). They extend the dataclasses of fairseq's own HuBERT; keys that are not listed here are fairseq's.
"""

# Do not postpone annotations here: omegaconf 2.0 inspects these types at run time.
from dataclasses import dataclass, field
from typing import Any, List, Optional

from fairseq import utils
from fairseq.dataclass import ChoiceEnum
from fairseq.models.hubert.hubert import EXTRACTOR_MODE_CHOICES, HubertConfig
from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
from omegaconf import II, open_dict

from softhubert_plugin.errors import SoftHubertError


@dataclass
class SoftHubertPretrainingConfig(HubertPretrainingConfig):
    """Settings of the task ``soft_hubert_pretraining`` (``task.*``)."""

    normalize: Optional[bool] = field(
        default=False,
        metadata={"help": "give the model waveforms of zero mean and unit variance; null, for a student: as for its teacher"},
    )
    frame_rate: float = field(default=50.0, metadata={"help": "frames per second of the model's convolutional front end"})
    label_pooling: ChoiceEnum(["mean", "pick"]) = field(  # type: ignore[valid-type]
        default="mean",
        metadata={"help": "for labels at a multiple of the frame rate: average the posteriors, or pick the first (as for hard labels)"},
    )
    label_rates: Optional[List[float]] = field(
        default=None, metadata={"help": "label frames per second of each label set, if they differ; otherwise label_rate is for all"}
    )
    keep_memory: bool = field(
        default=True, metadata={"help": "on a CPU, keep freed memory for the next step: a fifth faster, for some more memory"}
    )
    check_audio: bool = field(default=True, metadata={"help": "check every audio file before training starts, its last block too"})
    batch_seconds: Optional[float] = field(
        default=None, metadata={"help": "seconds of audio that an update must hold, over all processes; other batches are refused"}
    )
    train_subset: str = II("dataset.train_subset")
    # batch_seconds is compared with these. Recipes point them at the trainer's settings; when decoding there are none, hence the defaults.
    max_tokens: Optional[int] = field(default=None, metadata={"help": "${dataset.max_tokens}, for batch_seconds"})
    update_freq: Optional[List[int]] = field(default=None, metadata={"help": "${optimization.update_freq}, for batch_seconds"})
    world_size: int = field(default=1, metadata={"help": "${distributed_training.distributed_world_size}, for batch_seconds"})
    seed: int = II("common.seed")
    # Where and in which precision the trainer will train.
    cpu: bool = II("common.cpu")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")


@dataclass
class SoftHubertConfig(HubertConfig):
    """Settings of the model ``soft_hubert`` (``model.*``)."""

    codeword_init: ChoiceEnum(["uniform", "normal"]) = field(  # type: ignore[valid-type]
        default="uniform",
        metadata={"help": "initial codewords: uniform on [0, 1) as in HuBERT, or normal, with which small models leave the plateau"},
    )
    init_from: Optional[str] = field(
        default=None, metadata={"help": "checkpoint to start from: a HuBERT, soft_hubert or DistilHuBERT; its head is used only if it fits"}
    )
    feature_layer_norm: bool = field(
        default=True, metadata={"help": "norm the convolutional features, as HuBERT does; the published DistilHuBERT does not"}
    )
    autocast_bf16: bool = field(
        default=False, metadata={"help": "multiply in bfloat16 while pretraining; weights and loss stay float32 (leave common.fp16 off)"}
    )
    compile: bool = field(
        default=False, metadata={"help": "let torch.compile fuse all of the encoder, part by part (needs a C++ compiler)"}
    )
    freeze_feature_extractor: bool = field(default=False, metadata={"help": "keep the convolutional front end unchanged"})
    freeze_layers: int = field(default=0, metadata={"help": "keep the first N transformer layers, and all before them, unchanged"})
    freeze_updates: int = field(default=0, metadata={"help": "update at which frozen parts thaw; 0: never"})


# The shape of a student, apart from its number of layers. What is not set is as in its teacher.
TEACHERS_SHAPE = (
    "extractor_mode",
    "conv_feature_layers",
    "conv_bias",
    "feature_layer_norm",
    "encoder_embed_dim",
    "encoder_ffn_embed_dim",
    "encoder_attention_heads",
    "activation_fn",
    "layer_norm_first",
    "conv_pos",
    "conv_pos_groups",
)
_AS_IN_TEACHER = {"help": "null: as in the teacher"}


@dataclass
class DistilHubertConfig(SoftHubertConfig):
    """Settings of the model ``distil_hubert`` (``model.*``)."""

    encoder_layers: int = field(default=2, metadata={"help": "layers of the student"})
    mask_prob: float = field(default=0.0, metadata={"help": "share of frames to hide from the student; the paper hides none"})
    teacher: Optional[str] = field(
        default=None, metadata={"help": "checkpoint of the teacher: a HuBERT, a soft_hubert, or a folder saved by transformers"}
    )
    predicted_layers: List[int] = field(
        default_factory=lambda: [4, 8, 12], metadata={"help": "layers of the teacher to predict, numbered from 1; each gets a head"}
    )
    teacher_embed_dim: int = field(default=0, metadata={"help": "width of the teacher; 0: read from its checkpoint when training starts"})
    extractor_mode: Optional[EXTRACTOR_MODE_CHOICES] = field(default=None, metadata=_AS_IN_TEACHER)
    conv_feature_layers: Optional[str] = field(default=None, metadata=_AS_IN_TEACHER)
    conv_bias: Optional[bool] = field(default=None, metadata=_AS_IN_TEACHER)
    feature_layer_norm: Optional[bool] = field(default=None, metadata=_AS_IN_TEACHER)  # type: ignore[assignment]
    encoder_embed_dim: Optional[int] = field(default=None, metadata=_AS_IN_TEACHER)
    encoder_ffn_embed_dim: Optional[int] = field(default=None, metadata=_AS_IN_TEACHER)
    encoder_attention_heads: Optional[int] = field(default=None, metadata=_AS_IN_TEACHER)
    activation_fn: Optional[ChoiceEnum(utils.get_available_activation_fns())] = field(  # type: ignore[valid-type]
        default=None, metadata=_AS_IN_TEACHER
    )
    layer_norm_first: Optional[bool] = field(default=None, metadata=_AS_IN_TEACHER)
    conv_pos: Optional[int] = field(default=None, metadata=_AS_IN_TEACHER)
    conv_pos_groups: Optional[int] = field(default=None, metadata=_AS_IN_TEACHER)


def complete_shape(cfg: Any, teacher: Any = None) -> None:
    """Give a student the settings of its shape that are left open.

    Args:
        cfg: the model's configuration; it is changed in place. Configurations of other models leave nothing open.
        teacher: the teacher's configuration; by default, and for settings that it lacks, the defaults of ``soft_hubert``: HuBERT Base.
    """
    base = SoftHubertConfig()
    with open_dict(cfg):
        for name in TEACHERS_SHAPE:
            if name in cfg and cfg[name] is None:
                taken = None if teacher is None else teacher.get(name)
                value = getattr(base, name) if taken is None else taken
                cfg[name] = value if isinstance(value, (bool, int)) else str(value)


def check_widths(cfg: Any) -> None:
    """Check that the width of a model can be divided among its attention heads, and among the groups of its positional convolution.

    Raises:
        SoftHubertError: it cannot.
    """
    for parts in ("encoder_attention_heads", "conv_pos_groups"):
        if cfg.encoder_embed_dim % cfg[parts]:
            raise SoftHubertError(
                f"model.encoder_embed_dim={cfg.encoder_embed_dim} is not a multiple of model.{parts}={cfg[parts]}; change one of them"
                + ("; null takes the teacher's" if "teacher" in cfg else "")
            )
