"""A folder of transformers' HuBERT → a checkpoint of ours: the layouts of facebook/hubert-*, ntu-spml/distilhubert, and our own exports.

Neither transformers nor a network is needed. Weights are read from safetensors, or from the older ``pytorch_model.bin`` without running
anything in it.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.files import PathLike, read_json
from softhubert_plugin.interop.architecture import ACTIVATIONS, EXTRACTOR_NORMS, SETTINGS
from softhubert_plugin.interop.export_transformers import HEAD, HEAD_SETTINGS, SPECIAL_TOKENS, WEIGHTS
from softhubert_plugin.interop.names import from_transformers
from softhubert_plugin.interop.write_checkpoint import finetuned_checkpoint, pretrained_checkpoint, write_checkpoint

OLDER_WEIGHTS = "pytorch_model.bin"
OTHER_HEADS = ("projector.", "classifier.", "layer_weights")


def import_transformers(folder: PathLike, checkpoint: PathLike) -> str:
    """Write a checkpoint that serves as ``model.init_from``, teacher, ``model.w2v_path`` and for features.

    Returns:
        A sentence on what was done.

    Raises:
        SoftHubertError: the folder holds no HuBERT, or one that fairseq has no place for.
    """
    if not Path(folder).is_dir():
        raise SoftHubertError(
            f"{folder}: no such folder; give one with config.json and {WEIGHTS}, as transformers' save_pretrained writes it"
        )
    state = read_transformers(folder)
    write_checkpoint(checkpoint, state)
    kind = "hubert_ctc" if state["cfg"]["model"]["_name"] == "hubert_ctc" else "encoder"
    normalize = str(bool(state["cfg"]["task"]["normalize"])).lower()
    return f"{checkpoint}: {kind}, {len(state['model'])} tensors; task.normalize={normalize}"


def weights_file(folder: PathLike) -> Path:
    """Where a folder keeps its weights.

    Raises:
        SoftHubertError: nowhere, or in several files.
    """
    folder = Path(folder)
    for name in (WEIGHTS, OLDER_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
        if (folder / f"{name}.index.json").is_file():
            raise SoftHubertError(f"{folder}: weights in several files; save them in one (save_pretrained with max_shard_size='100GB')")
    raise SoftHubertError(
        f"{folder}: neither {WEIGHTS} nor {OLDER_WEIGHTS} in it; give a folder as transformers' save_pretrained writes it"
    )


def read_transformers(folder: PathLike) -> Dict[str, Any]:
    """What a checkpoint of the same model would hold.

    Raises:
        SoftHubertError: as :func:`import_transformers`.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json", remedy="give a folder as transformers' save_pretrained writes it")
    try:
        settings = _settings(folder, config)
        normalize = _normalize(folder, config)
        weights = _read_weights(weights_file(folder))
        projection = {name[len("lm_head.") :]: weights.pop(name) for name in ("lm_head.weight", "lm_head.bias") if name in weights}
        encoder = _encoder(folder, weights, config, settings)
    except (KeyError, TypeError, AttributeError) as error:
        raise SoftHubertError(f"{folder}/config.json: not the configuration of a HuBERT ({type(error).__name__}: {error})") from None
    if projection:
        return finetuned_checkpoint(settings, encoder, projection, _symbols(folder, config), normalize=normalize)
    ours = config.get("softhubert", {})
    codewords: Optional[List[int]] = None
    if (folder / HEAD).is_file() and "codewords" in ours:
        encoder.update(_read_weights(folder / HEAD))
        settings.update({name: ours[name] for name in HEAD_SETTINGS})
        codewords = list(ours["codewords"])
    return pretrained_checkpoint(settings, encoder, codewords, normalize=normalize)


def _settings(folder: Path, config: Dict[str, Any]) -> Dict[str, Any]:
    """The encoder's configuration in fairseq's words."""
    if config.get("model_type") != "hubert":
        raise SoftHubertError(f"{folder}/config.json: a {config.get('model_type')!r} model; expected a 'hubert'")
    unknown = []
    if config["feat_extract_norm"] not in EXTRACTOR_NORMS.values():
        unknown.append(f"feat_extract_norm {config['feat_extract_norm']!r}")
    if config.get("hidden_act", "gelu") not in ACTIVATIONS or config.get("feat_extract_activation", "gelu") != "gelu":
        unknown.append(f"activation {config.get('hidden_act')!r}, {config.get('feat_extract_activation')!r}")
    if config.get("conv_pos_batch_norm"):
        unknown.append("conv_pos_batch_norm")
    if config.get("adapter_attn_dim") is not None or config.get("add_adapter"):
        unknown.append("adapters")
    if abs(config.get("layer_norm_eps", 1e-5) - 1e-5) > 1e-12:
        unknown.append(f"layer_norm_eps {config['layer_norm_eps']}")
    if unknown:
        raise SoftHubertError(f"{folder}/config.json: {', '.join(unknown)}: fairseq's HuBERT has no such thing, so it cannot be imported")
    absent = {"feat_proj_layer_norm": True}  # written by newer versions only
    settings = {ours: config.get(theirs, absent[theirs]) if theirs in absent else config[theirs] for ours, theirs in SETTINGS}
    columns = [config["conv_dim"], config["conv_kernel"], config["conv_stride"]]
    modes = {theirs: ours for ours, theirs in EXTRACTOR_NORMS.items()}
    settings["extractor_mode"] = modes[config["feat_extract_norm"]]
    settings["conv_feature_layers"] = repr([tuple(int(number) for number in layer) for layer in zip(*columns)])
    return settings


def _normalize(folder: Path, config: Dict[str, Any]) -> bool:
    """Whether the model was trained on waveforms of zero mean and unit variance.

    facebook/hubert-base-ls960 says so though it was not; with a group norm as first layer it makes no difference to the output. So where
    the folder is not our own, a model with group norm counts as trained on plain waveforms, as fairseq's recipes have it.
    """
    ours = config.get("softhubert", {})
    if "normalize" in ours:
        return bool(ours["normalize"])
    if config["feat_extract_norm"] == "group":
        return False
    path = folder / "preprocessor_config.json"
    return bool(read_json(path, remedy="").get("do_normalize", True)) if path.is_file() else True


def _read_weights(path: Path) -> Dict[str, torch.Tensor]:
    try:
        found = load_file(str(path)) if path.suffix == ".safetensors" else torch.load(str(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0]
        raise SoftHubertError(f"{path}: refused, it holds more than weights or is damaged ({reason})") from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise SoftHubertError(f"{path}: truncated or not a file of weights ({str(error).partition(chr(10))[0]}); copy it again") from None
    if not isinstance(found, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise SoftHubertError(f"{path}: not a file of weights; expected tensors by name")
    return {name: tensor.float().contiguous() for name, tensor in found.items()}


def _encoder(folder: Path, weights: Dict[str, torch.Tensor], config: Dict[str, Any], settings: Dict[str, Any]) -> Dict[str, torch.Tensor]:
    """The encoder's parameters under fairseq's names."""
    if any(name.startswith("hubert.") for name in weights):
        weights = {name[len("hubert.") :]: tensor for name, tensor in weights.items() if name.startswith("hubert.")}
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith(OTHER_HEADS)}
    try:
        state = {from_transformers(name, settings["extractor_mode"]): tensor for name, tensor in weights.items()}
    except SoftHubertError as error:
        raise SoftHubertError(f"{folder}: {error}") from None
    # A model saved with masking switched off has no mask embedding; it is used in training only.
    state.setdefault("mask_emb", torch.zeros(int(config["hidden_size"])))
    if config["conv_dim"][-1] == config["hidden_size"]:
        # fairseq has no projection between equal widths: only the identity can be left out.
        weight, bias = state.pop("post_extract_proj.weight"), state.pop("post_extract_proj.bias")
        if not torch.equal(weight, torch.eye(len(weight))) or bias.any():
            raise SoftHubertError(
                f"{folder}: a projection from {len(weight)} to {len(weight)} channels, which fairseq's HuBERT does not have"
            )
    return state


def _symbols(folder: Path, config: Dict[str, Any]) -> List[str]:
    """What a fine-tuned model recognises, without the four special symbols, which must be where fairseq has them."""
    vocabulary = read_json(folder / "vocab.json", remedy="a fine-tuned model needs its tokenizer beside it")
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    special = len(SPECIAL_TOKENS)
    if [vocabulary[token] for token in tokens] != list(range(len(tokens))) or set(tokens[:special]) != set(SPECIAL_TOKENS):
        raise SoftHubertError(
            f"{folder}/vocab.json: begins with {' '.join(tokens[:special])}; fairseq needs {' '.join(SPECIAL_TOKENS)} first, without gaps"
        )
    if config.get("pad_token_id", 0) != 0:
        raise SoftHubertError(
            f"{folder}/config.json: pad_token_id {config['pad_token_id']}, expected 0: fairseq's CTC blank is the first symbol"
        )
    return tokens[special:]
