"""Writes a checkpoint as a folder for transformers' ``from_pretrained``: weights, configuration, preprocessor, vocabulary, model card.

transformers itself is not needed. transformers has no place for the prediction head of a pretrained model. The head is therefore saved in
``pretraining_head.safetensors`` and its settings under ``softhubert`` in ``config.json``, so that nothing is lost on the way back.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional

from softhubert_plugin.checkpoints.load import LoadedModel, load_checkpoint
from softhubert_plugin.checkpoints.names import EXTRACTOR_NORMS, SETTINGS, to_transformers
from softhubert_plugin.checkpoints.transformers import CTC_HEAD, HEAD, HEAD_SETTINGS, MIXTURE, SPECIAL_TOKENS, WEIGHTS
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.exchange.encoder import (
    conv_columns,
    encoder_settings,
    encoder_weights,
    output_layer,
    parameters_of,
    pretraining_head,
    target_symbols,
)
from softhubert_plugin.exchange.folders import new_folder, save_weights
from softhubert_plugin.exchange.model_card import model_card
from softhubert_plugin.files import PathLike, write_json, write_text
from softhubert_plugin.gmm.mixture import GaussianMixture


def export_transformers(checkpoint: PathLike, dest: PathLike, *, mixture: Optional[PathLike] = None, data: Optional[str] = None) -> str:
    """Write ``DEST`` for ``HubertModel`` or, for a fine-tuned checkpoint, ``HubertForCTC`` with ``Wav2Vec2Processor``.

    Args:
        mixture: the mixture of the model's targets or of its hidden states; it is copied to ``gmm.safetensors``.
        data: what the model was trained on, in words, for the model card.

    Returns:
        A line that says what was written.

    Raises:
        SoftHubertError: the checkpoint or the mixture is unusable, transformers cannot express the model, or ``DEST`` already exists.
    """
    with new_folder(dest) as folder:
        loaded = load_checkpoint(checkpoint)
        settings = encoder_settings(loaded, checkpoint)
        symbols = target_symbols(loaded)
        prefix = "" if symbols is None else "hubert."
        weights = {prefix + to_transformers(name, settings["extractor_mode"]): each for name, each in encoder_weights(loaded).items()}
        head = {} if symbols is not None else pretraining_head(loaded)
        if symbols is not None:
            weights.update(output_layer(loaded, CTC_HEAD))
            _write_tokenizer(folder, symbols)
        save_weights(folder / WEIGHTS, weights)
        if head:
            save_weights(folder / HEAD, head)
        write_json(folder / "config.json", transformers_config(loaded, settings, symbols, bool(head)))
        write_json(folder / "preprocessor_config.json", _preprocessor(loaded.normalize, settings["extractor_mode"]))
        fitted = None if mixture is None else GaussianMixture.load(mixture)
        if mixture is not None:
            shutil.copyfile(mixture, folder / MIXTURE)
        card = model_card(loaded, Path(dest).name, parameters_of(weights), symbols, fitted, data)
        write_text(folder / "README.md", card)
    what = "HubertModel" if symbols is None else "HubertForCTC"
    return f"{dest}: {parameters_of(weights) / 1e6:.1f} million parameters; {what}.from_pretrained({str(dest)!r})"


def transformers_config(loaded: LoadedModel, settings: Dict[str, Any], symbols: Optional[List[str]], head: bool) -> Dict[str, Any]:
    """The contents of ``config.json``.

    Args:
        settings: the encoder's, from :func:`encoder_settings`.
        symbols: what a fine-tuned model recognises; ``None`` for a pretrained model.
        head: whether the prediction head is exported too.
    """
    ours: Dict[str, Any] = {"normalize": loaded.normalize}
    if head:
        ours.update({name: loaded.encoder_cfg[name] for name in HEAD_SETTINGS}, codewords=list(loaded.encoder.num_classes))
    config: Dict[str, Any] = {
        "architectures": ["HubertModel" if symbols is None else "HubertForCTC"],
        "model_type": "hubert",
        **{theirs: settings[name] for name, theirs in SETTINGS},
        **conv_columns(loaded.conv_layers),
        "num_feat_extract_layers": len(loaded.conv_layers),
        "feat_extract_norm": EXTRACTOR_NORMS[settings["extractor_mode"]],
        "feat_extract_activation": "gelu",
        "conv_pos_batch_norm": False,
        "layer_norm_eps": 1e-5,
        "mask_time_prob": 0.05,  # transformers' own default; at zero its model has no mask embedding
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
        "softhubert": ours,
    }
    if symbols is not None:
        config.update(vocab_size=len(symbols), ctc_zero_infinity=True)
    return config


def _preprocessor(normalize: bool, extractor_mode: str) -> Dict[str, Any]:
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": 16000,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": normalize,
        # A group norm includes padding whatever the mask says. transformers assumes that such models were trained without a mask.
        "return_attention_mask": extractor_mode == "layer_norm",
    }


def _write_tokenizer(folder: Path, symbols: List[str]) -> None:
    tokens = [*SPECIAL_TOKENS, *symbols[len(SPECIAL_TOKENS) :]]
    if len(set(tokens)) != len(tokens):
        raise SoftHubertError(f"the dictionary of the fine-tuned model lists {sorted(t for t in tokens if tokens.count(t) > 1)[0]!r} twice")
    pad, start, end, unknown = SPECIAL_TOKENS
    special = {"pad_token": pad, "bos_token": start, "eos_token": end, "unk_token": unknown}
    write_json(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    write_json(folder / "special_tokens_map.json", special)
    description = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "processor_class": "Wav2Vec2Processor", "word_delimiter_token": "|"}
    write_json(folder / "tokenizer_config.json", {**description, "do_lower_case": False, **special})
