"""Writes a checkpoint as weights and factory arguments for ``torchaudio.models.wav2vec2_model``, which also builds HuBERT."""

from __future__ import annotations

from pathlib import Path

from softhubert_plugin.checkpoints.load import load_checkpoint
from softhubert_plugin.checkpoints.names import to_torchaudio
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.exchange.encoder import encoder_settings, encoder_weights, output_layer, parameters_of, target_symbols
from softhubert_plugin.exchange.folders import new_folder, save_weights
from softhubert_plugin.files import PathLike, write_json, write_text

EXTRACTOR_MODES = {"default": "group_norm", "layer_norm": "layer_norm"}

_README = """# {name}

```python
import json, torch, torchaudio
from safetensors.torch import load_file

description = json.load(open("model.json"))
model = torchaudio.models.wav2vec2_model(**description["arguments"])
model.load_state_dict(load_file("model.safetensors"))
model.eval()
waveform = torch.randn(1, 16000)  # one second at 16 kHz{normalize}
layers, lengths = model.extract_features(waveform)  # every transformer layer, (1, frames, width)
{output}
```
"""


def export_torchaudio(checkpoint: PathLike, dest: PathLike) -> str:
    """Write ``DEST/model.safetensors``, ``model.json`` (``arguments`` of the factory, ``normalize``, ``symbols``) and ``README.md``.

    Returns:
        A line that says what was written.

    Raises:
        SoftHubertError: the checkpoint is unusable, torchaudio cannot express the model, or ``DEST`` already exists.
    """
    with new_folder(dest) as folder:
        loaded = load_checkpoint(checkpoint)
        settings = encoder_settings(loaded, checkpoint)
        if not settings["feature_layer_norm"] or settings["activation_fn"] != "gelu":
            raise SoftHubertError(
                f"{checkpoint}: torchaudio's model norms the convolutional features and uses gelu, but this one has "
                f"feature_layer_norm={settings['feature_layer_norm']}, {settings['activation_fn']}; export it to transformers"
            )
        symbols = target_symbols(loaded)
        named = {to_torchaudio(name, settings["extractor_mode"]): tensor for name, tensor in encoder_weights(loaded).items()}
        weights = {name: tensor for name, tensor in named.items() if name is not None}
        if symbols is not None:
            weights.update(output_layer(loaded, "aux."))
        arguments = {
            "extractor_mode": EXTRACTOR_MODES[settings["extractor_mode"]],
            "extractor_conv_layer_config": loaded.conv_layers,
            "extractor_conv_bias": settings["conv_bias"],
            "encoder_embed_dim": settings["encoder_embed_dim"],
            "encoder_projection_dropout": settings["dropout_input"],
            "encoder_pos_conv_kernel": settings["conv_pos"],
            "encoder_pos_conv_groups": settings["conv_pos_groups"],
            "encoder_num_layers": settings["encoder_layers"],
            "encoder_num_heads": settings["encoder_attention_heads"],
            "encoder_attention_dropout": settings["attention_dropout"],
            "encoder_ff_interm_features": settings["encoder_ffn_embed_dim"],
            "encoder_ff_interm_dropout": settings["activation_dropout"],
            "encoder_dropout": settings["dropout"],
            "encoder_layer_norm_first": settings["layer_norm_first"],
            "encoder_layer_drop": settings["encoder_layerdrop"],
            "aux_num_out": None if symbols is None else len(symbols),
        }
        save_weights(folder / "model.safetensors", weights)
        description = {"factory": "torchaudio.models.wav2vec2_model", "arguments": arguments, "normalize": loaded.normalize}
        write_json(folder / "model.json", {**description, "symbols": symbols})
        normalize = "\nwaveform = torch.nn.functional.layer_norm(waveform, waveform.shape[-1:])" if loaded.normalize else ""
        output = 'scores, _ = model(waveform)  # of description["symbols"]; the first is the blank'
        output = "features, _ = model(waveform)" if symbols is None else output
        write_text(folder / "README.md", _README.format(name=Path(dest).name, normalize=normalize, output=output))
    return f"{dest}: {parameters_of(weights) / 1e6:.1f} million parameters; {dest}/README.md shows how to open it"
