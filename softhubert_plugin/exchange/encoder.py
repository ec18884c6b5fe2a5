"""What a HuBERT's settings are called in fairseq and in transformers, and whether the other toolkits can express them at all."""

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
    """What a fine-tuned model recognises, fairseq's special symbols included; ``None`` of a pretrained one."""
    return None if loaded.model is loaded.encoder else list(loaded.task.target_dictionary.symbols)


def encoder_settings(loaded: LoadedModel, path: PathLike) -> Dict[str, Any]:
    """The encoder's configuration in fairseq's words, as plain values.

    Raises:
        SoftHubertError: no other toolkit has such an encoder.
    """
    cfg = loaded.encoder_cfg
    if str(cfg.layer_type) != "transformer" or str(cfg.activation_fn) not in ACTIVATIONS:
        raise SoftHubertError(
            f"{path}: {cfg.layer_type} layers with {cfg.activation_fn}; only transformer layers with gelu or relu exist outside fairseq"
        )
    if cfg.get("conv_pos_batch_norm", False):  # newer fairseq only
        raise SoftHubertError(f"{path}: conv_pos_batch_norm; the positional convolution is exported with weight norm only")
    settings = {ours: cfg.get(ours, True) if ours == "feature_layer_norm" else cfg[ours] for ours, _ in SETTINGS}
    return {**settings, "activation_fn": str(cfg.activation_fn), "extractor_mode": str(cfg.extractor_mode)}


def encoder_parameters(loaded: LoadedModel) -> Dict[str, torch.Tensor]:
    """The encoder's parameters under fairseq's names, float32, without pretraining heads."""
    return {name: _plain(tensor) for name, tensor in loaded.encoder.state_dict().items() if not name.startswith(PRETRAINING_HEAD)}


def encoder_weights(loaded: LoadedModel) -> Dict[str, torch.Tensor]:
    """:func:`encoder_parameters` as toolkits other than fairseq need them.

    fairseq has no projection where front end and transformer are equally wide; the others always have one: there it is the identity.
    """
    weights = encoder_parameters(loaded)
    if loaded.encoder.post_extract_proj is None:
        width = int(loaded.encoder.encoder.embedding_dim)
        weights.update({"post_extract_proj.weight": torch.eye(width), "post_extract_proj.bias": torch.zeros(width)})
    return weights


def output_layer(loaded: LoadedModel, prefix: str) -> Dict[str, torch.Tensor]:
    """The parameters that score a fine-tuned model's symbols, float32, their names beginning with ``prefix``."""
    return {f"{prefix}{part}": _plain(tensor) for part, tensor in loaded.model.w2v_encoder.proj.state_dict().items()}


def pretraining_head(loaded: LoadedModel) -> Dict[str, torch.Tensor]:
    """The parameters that score codewords, float32; empty for an encoder without, and for the heads of a distillation."""
    if not hasattr(loaded.encoder, "label_embs_concat"):
        return {}
    return {name: _plain(tensor) for name, tensor in loaded.encoder.state_dict().items() if name.startswith(PRETRAINING_HEAD)}


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().float().contiguous()


def parameters_of(weights: Mapping[str, torch.Tensor]) -> int:
    """How many numbers there are."""
    return sum(tensor.numel() for tensor in weights.values())


def conv_columns(conv_layers: Sequence[ConvLayer]) -> Dict[str, List[int]]:
    """The front end as transformers describes it."""
    channels, kernels, strides = zip(*conv_layers)
    return {"conv_dim": list(channels), "conv_kernel": list(kernels), "conv_stride": list(strides)}
