"""HuBERT for inference as plain PyTorch modules, with the parameter names of fairseq's: fairseq is not needed, and not imported.

Commands that only run a trained model use this network, because importing fairseq takes them longer than building the model. It has no
dropout, no masking and no prediction head. Training, and encoders of other kinds (such as conformers), use fairseq's modules instead.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from softhubert_plugin.front_end import ConvLayer, parse_conv_feature_layers

_ACTIVATIONS: Dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"gelu": F.gelu, "relu": F.relu}
_EXTRACTOR_MODES = ("default", "layer_norm")
_BASE_CONVOLUTIONS = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"


@dataclass(frozen=True)
class Architecture:
    """What decides a HuBERT's modules. The fields are fairseq's keys; the defaults are those of fairseq and of this plugin.

    Attributes:
        convolutions: ``(channels, kernel, stride)`` of each convolution of the front end.
    """

    convolutions: List[ConvLayer]
    extractor_mode: str = "default"
    conv_bias: bool = False
    feature_layer_norm: bool = True
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    activation_fn: str = "gelu"
    layer_norm_first: bool = False
    conv_pos: int = 128
    conv_pos_groups: int = 16


def architecture_of(cfg: Any) -> Optional[Architecture]:
    """The architecture that a model's configuration describes; ``None`` if only fairseq's modules can express it.

    Args:
        cfg: the configuration of a HuBERT. Keys that it lacks have their defaults.

    Raises:
        SoftHubertError: ``conv_feature_layers`` is malformed.
    """
    given = {}
    for field in fields(Architecture):
        if field.name != "convolutions" and cfg.get(field.name) is not None:
            kind: Any = type(field.default)
            given[field.name] = kind(cfg[field.name])
    found = Architecture(parse_conv_feature_layers(str(cfg.get("conv_feature_layers") or _BASE_CONVOLUTIONS)), **given)
    is_plain = (
        str(cfg.get("layer_type") or "transformer") == "transformer"
        and found.activation_fn in _ACTIVATIONS
        and found.extractor_mode in _EXTRACTOR_MODES
        # Newer versions of fairseq only.
        and int(cfg.get("pos_conv_depth") or 1) == 1
        and not cfg.get("conv_pos_batch_norm")
    )
    return found if is_plain else None


class PlainHubert(nn.Module):
    """A HuBERT without its prediction head.

    Attributes:
        feature_extractor: the convolutions.
        layer_norm: the norm of their output, of ``channels`` values.
        post_extract_proj: from the convolutions' width to the transformer's; ``None`` if they are equal.
        encoder: the transformer.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        channels, width = architecture.convolutions[-1][0], architecture.encoder_embed_dim
        self.feature_extractor = _Convolutions(architecture)
        self.layer_norm = nn.LayerNorm(channels) if architecture.feature_layer_norm else nn.Identity()
        self.post_extract_proj = nn.Linear(channels, width) if channels != width else None
        self.mask_emb = nn.Parameter(torch.empty(width))  # used in training only
        self.encoder = PlainTransformer(architecture)


class PlainCtc(nn.Module):
    """A HuBERT that was fine-tuned with CTC.

    Attributes:
        w2v_encoder: has the HuBERT, ``w2v_model``, and the layer that scores symbols, ``proj``.
    """

    def __init__(self, architecture: Architecture, symbols: int) -> None:
        super().__init__()
        self.w2v_encoder = nn.Module()
        self.w2v_encoder.w2v_model = PlainHubert(architecture)
        self.w2v_encoder.proj = nn.Linear(architecture.encoder_embed_dim, symbols)


class _Convolutions(nn.Module):
    """The front end: ``(B, samples)`` → ``(B, channels, T)``."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList()
        before = 1
        for number, (channels, kernel, stride) in enumerate(architecture.convolutions):
            # The parts have fairseq's numbers, of which 1 is a dropout that is never used.
            parts: List[nn.Module] = [nn.Conv1d(before, channels, kernel, stride, bias=architecture.conv_bias), nn.Identity()]
            if architecture.extractor_mode == "layer_norm":
                parts.append(nn.Sequential(_Transposed(), nn.LayerNorm(channels), _Transposed()))
            elif number == 0:
                parts.append(nn.GroupNorm(channels, channels))
            self.conv_layers.append(nn.Sequential(*parts, nn.GELU()))
            before = channels

    def forward(self, source: torch.Tensor) -> torch.Tensor:
        x = source[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x


class _Transposed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


class PlainTransformer(nn.Module):
    """The transformer.

    Attributes:
        layers: its layers.
        embedding_dim: values per frame.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.embedding_dim = architecture.encoder_embed_dim
        self.layer_norm_first = architecture.layer_norm_first
        self.pos_conv = nn.Sequential(_PositionalConvolution(architecture), nn.GELU())
        self.layers = nn.ModuleList(_Layer(architecture) for _ in range(architecture.encoder_layers))
        self.layer_norm = nn.LayerNorm(self.embedding_dim)

    def forward(self, x: torch.Tensor, padded: Optional[torch.Tensor] = None) -> torch.Tensor:
        """Output of the transformer.

        Args:
            x: ``(B, T, D)`` projected features.
            padded: ``(B, T)`` bool, true where a frame is padded; ``None`` if none is.

        Returns:
            ``(B, T, D)``.
        """
        x = self.layer_outputs(x, padded, [len(self.layers)])[0]
        return self.layer_norm(x) if self.layer_norm_first else x

    def layer_outputs(self, x: torch.Tensor, padded: Optional[torch.Tensor], layers: Sequence[int]) -> List[torch.Tensor]:
        """Outputs of several layers, each after its residual and norm; the pass stops at the deepest of them.

        Args:
            x, padded: as for :meth:`forward`.
            layers: layer numbers from 1; 0 is what enters the first.

        Returns:
            ``(B, T, D)`` for each of ``layers``.
        """
        x = self._enter(x, padded)
        keep = None if padded is None else ~padded[:, None, None, :]
        outputs = {0: x}
        for number, layer in enumerate(self.layers[: max(layers)], start=1):
            x = layer(x, keep)
            if number in layers:
                outputs[number] = x
        return [outputs[number] for number in layers]

    def _enter(self, x: torch.Tensor, padded: Optional[torch.Tensor]) -> torch.Tensor:
        if padded is not None:
            x = x.masked_fill(padded[..., None], 0)
        x = x + self.pos_conv(x.transpose(1, 2)).transpose(1, 2)
        return x if self.layer_norm_first else self.layer_norm(x)


class _PositionalConvolution(nn.Module):
    """A convolution over time with weight norm (Salimans and Kingma 2016): ``(B, D, T)`` → ``(B, D, T)``."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, self.groups = architecture.encoder_embed_dim, architecture.conv_pos_groups
        kernel = architecture.conv_pos
        self.weight_g = nn.Parameter(torch.empty(1, 1, kernel))
        self.weight_v = nn.Parameter(torch.empty(width, width // self.groups, kernel))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = self.weight_v.shape[2]
        weight = torch._weight_norm(self.weight_v, self.weight_g, 2)
        convolved = F.conv1d(x, weight, self.bias, padding=kernel // 2, groups=self.groups)
        return convolved[:, :, : x.shape[2]]  # an even kernel makes one frame too many


class _Layer(nn.Module):
    """A transformer layer: ``(B, T, D)`` → ``(B, T, D)``."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, inner = architecture.encoder_embed_dim, architecture.encoder_ffn_embed_dim
        self.layer_norm_first = architecture.layer_norm_first
        self.activation = _ACTIVATIONS[architecture.activation_fn]
        self.self_attn = _Attention(width, architecture.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, keep: Optional[torch.Tensor]) -> torch.Tensor:
        """``keep``: ``(B, 1, 1, T)`` bool, true where a frame may be attended to; ``None`` if every frame may."""
        if self.layer_norm_first:
            x = x + self.self_attn(self.self_attn_layer_norm(x), keep)
            return x + self._feed_forward(self.final_layer_norm(x))
        x = self.self_attn_layer_norm(x + self.self_attn(x, keep))
        return self.final_layer_norm(x + self._feed_forward(x))

    def _feed_forward(self, x: torch.Tensor) -> torch.Tensor:
        fed: torch.Tensor = self.fc2(self.activation(self.fc1(x)))
        return fed


class _Attention(nn.Module):
    """Self-attention with several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"encoder_embed_dim={width} is not a multiple of encoder_attention_heads={heads}")
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor, keep: Optional[torch.Tensor]) -> torch.Tensor:
        batch, frames, width = x.shape
        q, k, v = (
            projection(x).view(batch, frames, self.heads, -1).transpose(1, 2) for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        attended: torch.Tensor = self.out_proj(mixed.transpose(1, 2).reshape(batch, frames, width))
        return attended
