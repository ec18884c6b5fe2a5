"""The names of a HuBERT's parameters in fairseq, transformers and torchaudio. The tensors themselves are the same in all three.

The names are those of ``fairseq.models.hubert``, ``transformers.HubertModel`` and ``torchaudio.models.Wav2Vec2Model``. The weight norm of
the positional convolution is saved as ``weight_g`` and ``weight_v``, which old and new versions of all three read.
"""

from __future__ import annotations

import re
from typing import List, Optional, Tuple

from softhubert_plugin.errors import SoftHubertError

# (key of fairseq's HubertConfig, key of transformers' HubertConfig); the values are the same.
SETTINGS = (
    ("encoder_embed_dim", "hidden_size"),
    ("encoder_layers", "num_hidden_layers"),
    ("encoder_attention_heads", "num_attention_heads"),
    ("encoder_ffn_embed_dim", "intermediate_size"),
    ("activation_fn", "hidden_act"),
    ("dropout", "hidden_dropout"),
    ("activation_dropout", "activation_dropout"),
    ("attention_dropout", "attention_dropout"),
    ("dropout_input", "feat_proj_dropout"),
    ("encoder_layerdrop", "layerdrop"),
    ("layer_norm_first", "do_stable_layer_norm"),
    ("conv_pos", "num_conv_pos_embeddings"),
    ("conv_pos_groups", "num_conv_pos_embedding_groups"),
    ("conv_bias", "conv_bias"),
    ("feature_layer_norm", "feat_proj_layer_norm"),
)
EXTRACTOR_NORMS = {"default": "group", "layer_norm": "layer"}
ACTIVATIONS = ("gelu", "relu")  # both toolkits compute these by the same formula

# (fairseq, transformers); {n} is a layer's number. More specific names come first.
_COMMON = [
    ("mask_emb", "masked_spec_embed"),
    ("feature_extractor.conv_layers.{n}.0.", "feature_extractor.conv_layers.{n}.conv."),
    ("layer_norm.", "feature_projection.layer_norm."),
    ("post_extract_proj.", "feature_projection.projection."),
    ("encoder.pos_conv.0.", "encoder.pos_conv_embed.conv."),
    ("encoder.layers.{n}.self_attn_layer_norm.", "encoder.layers.{n}.layer_norm."),
    ("encoder.layers.{n}.self_attn.", "encoder.layers.{n}.attention."),
    ("encoder.layers.{n}.fc1.", "encoder.layers.{n}.feed_forward.intermediate_dense."),
    ("encoder.layers.{n}.fc2.", "encoder.layers.{n}.feed_forward.output_dense."),
    ("encoder.layers.{n}.final_layer_norm.", "encoder.layers.{n}.final_layer_norm."),
    ("encoder.layer_norm.", "encoder.layer_norm."),
]
# In fairseq, a layer norm of the front end is nested one level deeper, between two transpositions.
_NORM = {"default": "feature_extractor.conv_layers.{n}.2.", "layer_norm": "feature_extractor.conv_layers.{n}.2.1."}
_FRONT_NORM = "feature_extractor.conv_layers.{n}.layer_norm."
# Names of torch's newer weight norm, as recent versions of transformers save them.
_PARAMETRIZED = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


def to_transformers(name: str, extractor_mode: str) -> str:
    """fairseq's name of an encoder parameter → its name in ``transformers.HubertModel``.

    Raises:
        SoftHubertError: transformers has no such parameter.
    """
    return _renamed(name, _rules(extractor_mode))


def from_transformers(name: str, extractor_mode: str) -> str:
    """The inverse of :func:`to_transformers`; it also accepts newer names of the weight norm."""
    for newer, older in _PARAMETRIZED.items():
        name = name.replace(newer, older)
    return _renamed(name, [(theirs, ours) for ours, theirs in _rules(extractor_mode)])


def to_torchaudio(name: str, extractor_mode: str) -> Optional[str]:
    """fairseq's name → the name in ``torchaudio.models.Wav2Vec2Model``; ``None`` for the mask embedding, which that model lacks."""
    if name == "mask_emb":
        return None
    name = to_transformers(name, extractor_mode)
    if name.startswith("feature_projection."):
        return f"encoder.{name}"
    return re.sub(r"^encoder\.", "encoder.transformer.", name)


def _rules(extractor_mode: str) -> List[Tuple[str, str]]:
    return [*_COMMON, (_NORM[extractor_mode], _FRONT_NORM)]


def _renamed(name: str, rules: List[Tuple[str, str]]) -> str:
    for old, new in rules:
        pattern = re.escape(old).replace(r"\{n\}", r"(?P<n>\d+)")
        found = re.match(pattern + (r"(?P<rest>[^.]+(\.[^.]+)?)$" if old.endswith(".") else "(?P<rest>)$"), name)
        if found:
            return new.replace("{n}", found["n"] if "{n}" in old else "") + found["rest"]
    raise SoftHubertError(f"parameter {name!r}: not part of the published HuBERT architecture, so other toolkits have no place for it")
