"""Hidden states of a HuBERT checkpoint, for the second clustering iteration: any set of layers from one forward pass.

Layers are counted from 1 and taken after the layer's residual and norm, as fairseq's ``dump_hubert_feature.py`` does. Utterances are
run one by one, so that no padding touches the numbers.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import soundfile
import torch
import torch.nn.functional as F
from tqdm import tqdm

from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.features.conv_layers import receptive_field, total_stride
from softhubert_plugin.features.shards import ShardWriter, is_complete, shard_range
from softhubert_plugin.files import PathLike, sha256_of
from softhubert_plugin.interop.checkpoints import load_checkpoint
from softhubert_plugin.manifests import SAMPLE_RATE, check_audio, check_long_enough, read_manifest


def parse_layers(text: str, available: int) -> List[int]:
    """``"6"``, ``"4,8,12"`` or ``"all"`` → layer numbers.

    Raises:
        SoftHubertError: it is none of these, or the model has no such layer.
    """
    if text == "all":
        return list(range(1, available + 1))
    try:
        layers = [int(part) for part in text.split(",")]
    except ValueError:
        raise SoftHubertError(f"layers {text!r}: expected a number, several joined by commas, or 'all'") from None
    for layer in layers:
        if not 1 <= layer <= available:
            raise SoftHubertError(f"layer {layer}: this model has layers 1 to {available}")
    return layers


def dump_hubert(tsv_dir: PathLike, split: str, checkpoint: PathLike, layers: str, nshard: int, rank: int, feat_dir: PathLike) -> str:
    """Write one shard of a split's hidden states, float32; one layer into ``FEAT_DIR``, several into ``FEAT_DIR/layer{N}``.

    Raises:
        SoftHubertError: manifest, audio or checkpoint are not usable, or an utterance is shorter than the model's receptive field.
    """
    manifest = read_manifest(f"{tsv_dir}/{split}.tsv")
    start, end = shard_range(len(manifest), nshard, rank)
    loaded = load_checkpoint(checkpoint)
    wanted = parse_layers(layers, len(loaded.encoder.encoder.layers))
    common = {
        "kind": "hubert",
        "frame_rate": SAMPLE_RATE / total_stride(loaded.conv_layers),
        "checkpoint_sha256": sha256_of(checkpoint),
        "manifest_sha256": manifest.fingerprint,
    }
    folders = {layer: Path(feat_dir) if len(wanted) == 1 else Path(feat_dir) / f"layer{layer}" for layer in wanted}
    infos: Dict[int, Dict[str, Any]] = {layer: {**common, "layer": layer} for layer in wanted}
    pending = [layer for layer in wanted if not is_complete(folders[layer], split, rank, nshard, infos[layer])]
    if not pending:
        return f"{feat_dir}: shard {rank} of {nshard} of {split} is already there"
    check_audio(manifest)
    check_long_enough(manifest, range(start, end), receptive_field(loaded.conv_layers))
    with ExitStack() as stack:
        shards = {layer: stack.enter_context(ShardWriter(folders[layer], split, rank, nshard, infos[layer])) for layer in pending}
        for index in tqdm(range(start, end), desc=f"HuBERT {split}", unit="utt", disable=None):
            samples, _ = soundfile.read(str(manifest.audio_path(index)), dtype="float32")
            waveform = torch.from_numpy(samples)
            if loaded.normalize:
                waveform = F.layer_norm(waveform, waveform.shape)
            for layer, states in hidden_states(loaded.encoder, waveform, pending).items():
                shards[layer].add(states.numpy())
    return f"{feat_dir}: {end - start} utterances of {split}, layers {', '.join(map(str, pending))}"


@torch.inference_mode()
def hidden_states(encoder: Any, waveform: torch.Tensor, layers: Sequence[int]) -> Dict[int, torch.Tensor]:
    """Outputs of several layers from one forward pass.

    Args:
        encoder: a fairseq HuBERT.
        waveform: ``(samples,)`` at 16 kHz, normalised if the model wants it.
        layers: counted from 1.

    Returns:
        ``(frames, D)`` float32 for each layer.
    """
    captured: Dict[int, torch.Tensor] = {}
    frames = 0

    def capture(layer: int) -> Callable[..., None]:
        def hook(module: torch.nn.Module, inputs: Any, output: Any) -> None:
            captured[layer] = output[0][:, 0].float()  # fairseq's layers return (x of (frames, batch, D), …)

        return hook

    def count(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal frames
        frames = output.shape[-1]

    with ExitStack() as stack:
        stack.callback(encoder.feature_extractor.register_forward_hook(count).remove)
        for layer in layers:
            stack.callback(encoder.encoder.layers[layer - 1].register_forward_hook(capture(layer)).remove)
        # Without padding nothing needs a padding mask; and the last layer asked for is as far as the encoder has to go.
        encoder.extract_features(waveform[None], padding_mask=None, mask=False, output_layer=max(layers))
    # Inside, fairseq pads the sequence to an even length; its own output is cut back, and so are ours.
    return {layer: states[:frames] for layer, states in captured.items()}
