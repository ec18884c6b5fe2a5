"""A HuBERT's settings and weights in the form that other toolkits need, and a check that these toolkits can express them."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

import torch

from softhubert_plugin.checkpoints.contents import PRETRAINING_HEAD
from softhubert_plugin.checkpoints.load import LoadedModel
from softhubert_plugin.checkpoints.names import ACTIVATIONS, SETTINGS
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike
from softhubert_plugin.front_end import ConvLayer


def target_symbols(loaded: LoadedModel) -> Optional[List[str]]:
    """The symbols that a fine-tuned model recognises, with fairseq's special symbols; ``None`` for a pretrained model."""
    return loaded.symbols


def encoder_settings(loaded: LoadedModel, path: PathLike) -> Dict[str, Any]:
    """The encoder's configuration in fairseq's terms, as plain values.

    Args:
        loaded: the model.
        path: its checkpoint, for messages.

    Raises:
        SoftHubertError: other toolkits cannot express this encoder.
    """
    cfg = loaded.encoder_cfg
    if str(cfg.layer_type) != "transformer" or str(cfg.activation_fn) not in ACTIVATIONS:
        raise SoftHubertError(
            f"{path}: has {cfg.layer_type} layers with {cfg.activation_fn}; other toolkits have only transformer layers with gelu or relu"
        )
    if cfg.get("conv_pos_batch_norm", False):  # newer fairseq only
        raise SoftHubertError(f"{path}: has conv_pos_batch_norm; a positional convolution can be exported only with weight norm")
    settings = {ours: cfg.get(ours, True) if ours == "feature_layer_norm" else cfg[ours] for ours, _ in SETTINGS}
    return {**settings, "activation_fn": str(cfg.activation_fn), "extractor_mode": str(cfg.extractor_mode)}


def encoder_parameters(loaded: LoadedModel) -> Dict[str, torch.Tensor]:
    """The encoder's parameters under fairseq's names, float32, without pretraining heads."""
    return {name: _plain(tensor) for name, tensor in loaded.encoder.state_dict().items() if not name.startswith(PRETRAINING_HEAD)}


def encoder_weights(loaded: LoadedModel) -> Dict[str, torch.Tensor]:
    """:func:`encoder_parameters` in the form that toolkits other than fairseq need.

    fairseq has no projection if front end and transformer have the same width. The others always have one, so here it is the identity.
    """
    weights = encoder_parameters(loaded)
    if loaded.encoder.post_extract_proj is None:
        width = int(loaded.encoder.encoder.embedding_dim)
        weights.update({"post_extract_proj.weight": torch.eye(width), "post_extract_proj.bias": torch.zeros(width)})
    return weights


def output_layer(loaded: LoadedModel, prefix: str) -> Dict[str, torch.Tensor]:
    """The parameters that score a fine-tuned model's symbols, float32; their names begin with ``prefix``."""
    return {f"{prefix}{part}": _plain(tensor) for part, tensor in loaded.model.w2v_encoder.proj.state_dict().items()}


def pretraining_head(loaded: LoadedModel) -> Dict[str, torch.Tensor]:
    """The parameters that score codewords, float32; empty for an encoder without them and for a distilled student."""
    if not hasattr(loaded.encoder, "label_embs_concat"):
        return {}
    return {name: _plain(tensor) for name, tensor in loaded.encoder.state_dict().items() if name.startswith(PRETRAINING_HEAD)}


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().float().contiguous()


def parameters_of(weights: Mapping[str, torch.Tensor]) -> int:
    """Total number of parameters."""
    return sum(tensor.numel() for tensor in weights.values())


def conv_columns(conv_layers: Sequence[ConvLayer]) -> Dict[str, List[int]]:
    """The front end in transformers' terms: lists of channels, kernels and strides."""
    channels, kernels, strides = zip(*conv_layers)
    return {"conv_dim": list(channels), "conv_kernel": list(kernels), "conv_stride": list(strides)}
