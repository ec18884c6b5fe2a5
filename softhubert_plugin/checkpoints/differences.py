"""Compares the settings of a checkpoint with those of a model that takes its weights.

Weights of the same shapes may be those of another network: with other attention heads, strides or norms they fit, and compute something
else. Whoever takes weights therefore compares settings, and refuses by name what differs.
"""

from __future__ import annotations

from typing import Any, Iterable, List, Mapping, NamedTuple

from softhubert_plugin.front_end import parse_conv_feature_layers
from softhubert_plugin.settings import TEACHERS_SHAPE, SoftHubertConfig


class Difference(NamedTuple):
    """One thing that differs.

    Attributes:
        name: its name, such as ``model.encoder_attention_heads=``; the value follows.
        then: its value in the checkpoint.
        now: its value in the model that takes the weights.
    """

    name: str
    then: str
    now: str


def network_differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> List[Difference]:
    """Settings that change what an encoder computes with the same weights, or which weights it has, apart from its number of layers.

    Args:
        saved: the configuration of the encoder in the checkpoint; what it lacks is as in HuBERT Base.
        own: that of the model.

    Raises:
        SoftHubertError: one of the two has a malformed front end.
    """
    base = SoftHubertConfig()
    complete = {name: saved[name] if _has(saved, name) else getattr(base, name) for name in TEACHERS_SHAPE}
    return setting_differences("model", complete, own, TEACHERS_SHAPE)


def setting_differences(section: str, saved: Mapping[str, Any], own: Mapping[str, Any], names: Iterable[str]) -> List[Difference]:
    """Compare settings of one section by name; what one of the two lacks is not compared."""
    common = [name for name in names if _has(saved, name) and _has(own, name)]
    both = [(f"{section}.{name}=", _text(name, saved[name]), _text(name, own[name])) for name in common]
    return [Difference(*each) for each in both if each[1] != each[2]]


def _has(settings: Mapping[str, Any], name: str) -> bool:
    return name in settings and settings[name] is not None  # omegaconf's get raises where a training's configuration lacks a name


def _text(name: str, value: Any) -> str:
    """A value as one writes it on the command line; the front end without the many ways to write it."""
    if name == "conv_feature_layers":
        return repr(parse_conv_feature_layers(str(value)))
    return str(value).lower() if isinstance(value, bool) else str(value)
