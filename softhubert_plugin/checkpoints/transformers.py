"""Reads a HuBERT saved by transformers as one of our checkpoints: facebook/hubert-*, ntu-spml/distilhubert, and our own exports.

Neither transformers nor a network is needed. Weights are read from safetensors, or from the older ``pytorch_model.bin`` without running
code from it. All files of a folder are read first; the later steps only convert their contents.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

import torch
from safetensors.torch import load_file

from softhubert_plugin.checkpoints.contents import finetuned_checkpoint, pretrained_checkpoint
from softhubert_plugin.checkpoints.names import ACTIVATIONS, EXTRACTOR_NORMS, SETTINGS, from_transformers
from softhubert_plugin.checkpoints.plain_data import read_plain_data
from softhubert_plugin.errors import SoftHubertError, blaming
from softhubert_plugin.files import PathLike
from softhubert_plugin.text_files import read_json

WEIGHTS, HEAD, MIXTURE = "model.safetensors", "pretraining_head.safetensors", "gmm.safetensors"
OLDER_WEIGHTS = "pytorch_model.bin"
HEAD_SETTINGS = ("final_dim", "logit_temp", "untie_final_proj", "target_glu")
# fairseq's special symbols in their order, under transformers' names. transformers' CTC blank is the padding token, fairseq's is <s>.
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
# Parameters of other tasks' heads, which are left out.
OTHER_HEADS = ("projector.", "classifier.", "layer_weights")
# Where transformers keeps the output layer of a fine-tuned model.
CTC_HEAD = "lm_head."


@dataclass(frozen=True)
class _Files:
    """The contents of a folder's files.

    Attributes:
        folder: its path, for messages.
        config: ``config.json``.
        weights: tensors under transformers' names, float32.
        head: ``pretraining_head.safetensors`` of our own exports; empty for other folders.
        preprocessor: ``preprocessor_config.json``; empty if there is none.
        vocabulary: ``vocab.json`` of a fine-tuned model; ``None`` for any other model.
    """

    folder: Path
    config: Dict[str, Any]
    weights: Dict[str, torch.Tensor]
    head: Dict[str, torch.Tensor]
    preprocessor: Dict[str, Any]
    vocabulary: Optional[Dict[str, int]]

    @property
    def ours(self) -> Dict[str, Any]:
        """What our own export adds to ``config.json``; empty for other folders."""
        found: Dict[str, Any] = self.config.get("softhubert", {})
        return found


@dataclass(frozen=True)
class FolderContents:
    """A folder's model in fairseq's terms.

    Attributes:
        settings: model settings that differ from the defaults.
        encoder: the encoder's tensors, and those of the prediction head of our own exports, under fairseq's names.
        projection: ``weight`` and ``bias`` of a fine-tuned model's output layer.
        symbols: the symbols that a fine-tuned model recognises, without fairseq's special symbols; ``None`` for a pretrained model.
        codewords: number of codewords of each label set; ``None`` for an encoder without a prediction head.
        normalize: whether the model expects waveforms of zero mean and unit variance.
    """

    settings: Dict[str, Any]
    encoder: Dict[str, torch.Tensor]
    projection: Dict[str, torch.Tensor]
    symbols: Optional[List[str]]
    codewords: Optional[List[int]]
    normalize: bool


def convert_transformers(folder: PathLike) -> FolderContents:
    """Read a folder's model.

    Raises:
        SoftHubertError: the folder holds no HuBERT, or one that fairseq cannot express, or a file in it is missing or damaged.
    """
    files = _read_files(Path(folder))
    projection = {name[len(CTC_HEAD) :]: tensor for name, tensor in files.weights.items() if name.startswith(CTC_HEAD)}
    with blaming(f"{folder}/config.json", "not the configuration of a HuBERT", "copy the folder again"):
        settings = _settings(files)
        normalize = _normalize(files)
        encoder = _encoder(files, settings)
        symbols = _symbols(files) if projection else None
        if files.head:
            encoder.update(files.head)
            settings.update({name: files.ours[name] for name in HEAD_SETTINGS})
        codewords: Optional[List[int]] = list(files.ours["codewords"]) if files.head else None
    return FolderContents(settings, encoder, projection, symbols, codewords, normalize)


def read_transformers(folder: PathLike) -> Dict[str, Any]:
    """Read a folder and return what a checkpoint of the same model would hold.

    Raises:
        SoftHubertError: as :func:`convert_transformers`.
    """
    found = convert_transformers(folder)
    with blaming(f"{folder}/config.json", "not the configuration of a HuBERT", "copy the folder again"):
        if found.symbols is not None:
            return finetuned_checkpoint(found.settings, found.encoder, found.projection, found.symbols, normalize=found.normalize)
        return pretrained_checkpoint(found.settings, found.encoder, found.codewords, normalize=found.normalize)


def weights_file(folder: PathLike) -> Path:
    """The file that holds a folder's weights.

    Raises:
        SoftHubertError: there is none, or the weights are in several files.
    """
    folder = Path(folder)
    for name in (WEIGHTS, OLDER_WEIGHTS):
        if (folder / name).is_file():
            return folder / name
        if (folder / f"{name}.index.json").is_file():
            raise SoftHubertError(f"{folder}: weights are in several files; save them in one (save_pretrained with max_shard_size='100GB')")
    raise SoftHubertError(
        f"{folder}: contains neither {WEIGHTS} nor {OLDER_WEIGHTS}; give a folder written by transformers' save_pretrained"
    )


def _read_files(folder: Path) -> _Files:
    config = read_json(folder / "config.json", remedy="give a folder written by transformers' save_pretrained")
    if not isinstance(config, dict) or config.get("model_type") != "hubert":
        kind = config.get("model_type") if isinstance(config, dict) else config
        raise SoftHubertError(f"{folder}/config.json: describes a {kind!r} model, expected 'hubert'")
    weights = _read_weights(weights_file(folder))
    preprocessor = folder / "preprocessor_config.json"
    ours = config.get("softhubert")
    is_fine_tuned = any(name.startswith(CTC_HEAD) for name in weights)
    has_head = not is_fine_tuned and (folder / HEAD).is_file() and isinstance(ours, dict) and "codewords" in ours
    return _Files(
        folder=folder,
        config=config,
        weights=weights,
        head=_read_weights(folder / HEAD) if has_head else {},
        preprocessor=read_json(preprocessor, remedy="copy the folder again") if preprocessor.is_file() else {},
        vocabulary=read_json(folder / "vocab.json", remedy="a fine-tuned model needs its tokenizer beside it") if is_fine_tuned else None,
    )


def _read_weights(path: Path) -> Dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        with blaming(path, "truncated or not a file of weights", "copy it again"):
            found: Any = load_file(str(path))
    else:
        found = read_plain_data(path, "file of weights", "copy it again")
    if not isinstance(found, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise SoftHubertError(f"{path}: not a file of weights; expected a dictionary of tensors")
    return {str(name): tensor.float().contiguous() for name, tensor in found.items()}


def _settings(files: _Files) -> Dict[str, Any]:
    """The encoder's configuration in fairseq's terms."""
    config = files.config
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
        raise SoftHubertError(
            f"{files.folder}/config.json: {', '.join(unknown)}: fairseq's HuBERT does not support this, so the model cannot be imported"
        )
    absent = {"feat_proj_layer_norm": True}  # written by newer versions only
    settings = {ours: config.get(theirs, absent[theirs]) if theirs in absent else config[theirs] for ours, theirs in SETTINGS}
    columns = [config["conv_dim"], config["conv_kernel"], config["conv_stride"]]
    modes = {theirs: ours for ours, theirs in EXTRACTOR_NORMS.items()}
    settings["extractor_mode"] = modes[config["feat_extract_norm"]]
    settings["conv_feature_layers"] = repr([tuple(int(number) for number in layer) for layer in zip(*columns)])
    return settings


def _normalize(files: _Files) -> bool:
    """Whether the model was trained on waveforms of zero mean and unit variance.

    facebook/hubert-base-ls960 says that it was, although it was not; its group norm makes the output the same either way. So a model with
    group norm counts as trained on plain waveforms, as in fairseq's recipes, unless the folder is our own export, which records the truth.
    """
    if "normalize" in files.ours:
        return bool(files.ours["normalize"])
    return files.config["feat_extract_norm"] != "group" and bool(files.preprocessor.get("do_normalize", True))


def _encoder(files: _Files, settings: Dict[str, Any]) -> Dict[str, torch.Tensor]:
    """The encoder's parameters under fairseq's names."""
    folder, config = files.folder, files.config
    weights = {name: tensor for name, tensor in files.weights.items() if not name.startswith(CTC_HEAD)}
    if any(name.startswith("hubert.") for name in weights):
        weights = {name[len("hubert.") :]: tensor for name, tensor in weights.items() if name.startswith("hubert.")}
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith(OTHER_HEADS)}
    try:
        state = {from_transformers(name, settings["extractor_mode"]): tensor for name, tensor in weights.items()}
    except SoftHubertError as error:
        raise SoftHubertError(f"{folder}: {error}") from None
    # A model saved with masking switched off has no mask embedding, which only training uses.
    state.setdefault("mask_emb", torch.zeros(int(config["hidden_size"])))
    if config["conv_dim"][-1] == config["hidden_size"]:
        # fairseq has no projection between equal widths, so a projection can be left out only if it is the identity.
        weight, bias = state.pop("post_extract_proj.weight"), state.pop("post_extract_proj.bias")
        if not torch.equal(weight, torch.eye(len(weight))) or bias.any():
            raise SoftHubertError(
                f"{folder}: has a projection from {len(weight)} to {len(weight)} channels, which fairseq's HuBERT cannot express"
            )
    return state


def _symbols(files: _Files) -> List[str]:
    """The symbols that a fine-tuned model recognises, without the four special ones, which must be in fairseq's places."""
    vocabulary = files.vocabulary or {}
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    special = len(SPECIAL_TOKENS)
    if [vocabulary[token] for token in tokens] != list(range(len(tokens))) or set(tokens[:special]) != set(SPECIAL_TOKENS):
        raise SoftHubertError(
            f"{files.folder}/vocab.json: begins with {' '.join(tokens[:special])}; fairseq needs {' '.join(SPECIAL_TOKENS)} first, "
            "and numbers without gaps"
        )
    if files.config.get("pad_token_id", 0) != 0:
        raise SoftHubertError(
            f"{files.folder}/config.json: pad_token_id {files.config['pad_token_id']}, expected 0: fairseq's CTC blank is the first symbol"
        )
    return tokens[special:]
