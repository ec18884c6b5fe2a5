"""The range of every number in a training configuration. One that is out of range is refused in one line, before training starts.

Without this check it would end in a traceback that names no setting, or, as ``nan`` does, in a loss that is no number.
"""

from __future__ import annotations

import math
from typing import Any, Callable, List, Mapping, NamedTuple, Sequence

from softhubert_plugin.errors import SoftHubertError


class Range(NamedTuple):
    """Finite numbers that a setting may have.

    Attributes:
        words: the range in words, after "expected".
        holds: whether a finite number is in it.
    """

    words: str
    holds: Callable[[float], bool]


_COUNT = Range("1 or more", lambda number: number >= 1)
_AMOUNT = Range("0 or more", lambda number: number >= 0)
_POSITIVE = Range("a number above 0", lambda number: number > 0)
_SEED = Range("a number from 0 to 4294967295", lambda number: 0 <= number < 2**32)
_SHARE = Range("0 or more, and below 1", lambda number: 0 <= number < 1)

# The settings of fairseq's HuBERT and of ours, by section of the configuration. A list holds a number for each label set or epoch.
RANGES: Mapping[str, Mapping[str, Range]] = {
    "common": {"seed": _SEED},
    "task": {
        "sample_rate": _COUNT,
        "frame_rate": _POSITIVE,
        "label_rates": _POSITIVE,
        "batch_seconds": _POSITIVE,
        "max_keep_size": _COUNT,
        "max_sample_size": _COUNT,
        "min_sample_size": _AMOUNT,
    },
    "model": {
        **dict.fromkeys(("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads"), _COUNT),
        **dict.fromkeys(("conv_pos", "conv_pos_groups", "depthwise_conv_kernel_size", "required_seq_len_multiple"), _COUNT),
        **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout", "dropout_input", "dropout_features"), _SHARE),
        **dict.fromkeys(("final_dropout", "encoder_layerdrop", "layerdrop"), _SHARE),
        **dict.fromkeys(("mask_length", "mask_channel_length"), _COUNT),
        **dict.fromkeys(("mask_prob", "mask_channel_prob", "mask_min_space", "mask_channel_min_space"), _AMOUNT),
        "feature_grad_mult": _AMOUNT,
        "logit_temp": _POSITIVE,
    },
    "criterion": {
        "target_temperature": _POSITIVE,
        "confidence_weight": _AMOUNT,
        "pred_masked_weight": _AMOUNT,
        "pred_nomask_weight": _AMOUNT,
        "loss_weights": _AMOUNT,
        "cosine_weight": _AMOUNT,
        "features_weight": _AMOUNT,
    },
    "optimization": {"lr": _AMOUNT, "clip_norm": _AMOUNT, "update_freq": _COUNT, "max_update": _AMOUNT, "max_epoch": _AMOUNT},
    "optimizer": {"adam_eps": _POSITIVE, "weight_decay": _AMOUNT},
}


def check_ranges(section: str, settings: Any) -> None:
    """Check the numbers of one section of a configuration. Settings that are absent or ``null`` are left alone.

    Args:
        section: ``common``, ``task``, ``model``, ``criterion``, ``optimization`` or ``optimizer``.
        settings: the section: a dictionary, or a configuration; ``None`` has no settings.

    Raises:
        SoftHubertError: a number is out of range, or is not finite.
    """
    for name, allowed in RANGES[section].items():
        value = settings.get(name) if isinstance(settings, dict) else getattr(settings, name, None)
        if not all(math.isfinite(number) and allowed.holds(number) for number in _numbers(value)):
            raise SoftHubertError(f"{section}.{name}={value}: expected {allowed.words}")


def _numbers(value: Any) -> List[float]:
    """The numbers of a setting. What is neither a number nor a list of them is fairseq's to refuse."""
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [each for each in values if isinstance(each, (int, float))]
