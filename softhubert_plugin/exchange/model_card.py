"""The model card of an exported checkpoint. It states only what the checkpoint, its label files and its mixture record."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from softhubert_plugin.checkpoints.load import LoadedModel
from softhubert_plugin.errors import SoftHubertError
from softhubert_plugin.gmm.mixture import GaussianMixture
from softhubert_plugin.labels.soft import open_soft_labels
from softhubert_plugin.version import __version__

UNKNOWN = "not recorded"

_FEATURES = """```python
import torch
from transformers import HubertModel

model = HubertModel.from_pretrained("{name}").eval()
waveform = torch.randn(1, 16000)  # one second at 16 kHz
features = model({given}).last_hidden_state
```"""

_RECOGNITION = """```python
import torch
from transformers import HubertForCTC, Wav2Vec2Processor

processor = Wav2Vec2Processor.from_pretrained("{name}")
model = HubertForCTC.from_pretrained("{name}").eval()
waveform = torch.randn(1, 16000)  # one second at 16 kHz
text = processor.batch_decode(model({given}).logits.argmax(-1))
```"""

_NORMALIZED = (
    "Waveforms are scaled to zero mean and unit variance as `torch.nn.functional.layer_norm` does. transformers' preprocessor does "
    "nearly the same (it adds 1e-7 to the variance, not 1e-5)."
)


def model_card(
    loaded: LoadedModel, name: str, parameters: int, symbols: Optional[List[str]], mixture: Optional[GaussianMixture], data: Optional[str]
) -> str:
    """The text of ``README.md``, with the front matter that model hubs read."""
    pretraining = loaded.cfg if symbols is None else loaded.cfg.model.w2v_args
    facts = {**_origin(loaded, pretraining, data), **_targets(pretraining, mixture)}
    if symbols is not None:
        facts["Fine-tuned on"] = (
            f"`{_of(loaded.cfg, 'task.data')}`, {_of(loaded.cfg, 'dataset.train_subset')}, {loaded.updates} updates of CTC"
        )
        facts["Recognises"] = _symbols(symbols)
    cfg = loaded.encoder_cfg
    facts["Size"] = f"{parameters / 1e6:.1f} million parameters, {cfg.encoder_layers} layers of {cfg.encoder_embed_dim}"
    facts["Audio"] = "16 kHz, one channel"
    table = "\n".join(f"| {what} | {value} |" for what, value in facts.items())
    given = "torch.nn.functional.layer_norm(waveform, waveform.shape[-1:])" if loaded.normalize else "waveform"
    use = (_FEATURES if symbols is None else _RECOGNITION).format(name=name, given=given)
    notes = [_NORMALIZED] if loaded.normalize else []
    if str(cfg.extractor_mode) == "default":
        notes.append("Its first convolution is normalised over time, so padding changes the output a little. Equal lengths are exact.")
    if symbols is not None and any("\u2581" in symbol for symbol in symbols):
        notes.append("It writes sentencepiece units: replace \u2581 by a space.")
    tags = "\n".join(["- speech", "- hubert", "- softhubert", *(["- automatic-speech-recognition"] if symbols is not None else [])])
    front = f"---\nlibrary_name: transformers\ntags:\n{tags}\n---\n"
    parts = [f"# {name}", "| | |\n|---|---|\n" + table, use, *notes, f"Exported by SoftHuBERT {__version__}."]
    return front + "\n" + "\n\n".join(parts) + "\n"


def _origin(loaded: LoadedModel, cfg: Any, data: Optional[str]) -> Dict[str, str]:
    subset = _of(cfg, "dataset.train_subset")
    facts = {"Pretrained on": data or (f"`{_of(cfg, 'task.data')}`, {subset}" if _of(cfg, "task.data") != UNKNOWN else UNKNOWN)}
    if loaded.model is loaded.encoder:
        facts["Updates"] = str(loaded.updates) if loaded.updates else UNKNOWN
    return facts


def _targets(cfg: Any, mixture: Optional[GaussianMixture]) -> Dict[str, str]:
    """What was predicted: hidden layers of a teacher, or labels with what their file and their mixture record."""
    kind = _of(cfg, "model._name")
    if kind == "distil_hubert":
        layers = ", ".join(map(str, cfg.model.predicted_layers))
        return {"Targets": f"layers {layers} of `{_of(cfg, 'model.teacher')}` (DistilHuBERT, Chang et al. 2022)"}
    labels = [str(label) for label in (cfg.task.get("labels") or [])]
    facts = {"Targets": ", ".join(f"`{label}`" for label in labels) or UNKNOWN}
    info = _label_info(cfg, labels)
    if info is not None:
        facts["Targets"] += f": posteriors of {info.n_components} components at {info.label_rate:g} Hz"
        facts["Mean perplexity of the targets"] = f"{info.perplexity:.2f} (temperature {info.temperature:.3f})"
        facts["Mixture"] = f"SHA-256 {info.mixture_sha256}"
    if mixture is not None:
        described = f"{mixture.n_components} {mixture.covariance_type} components in {mixture.input_dimension} dimensions"
        held_out = mixture.metadata.get("perplexity")
        described += f", temperature {mixture.temperature:.3f}"
        described += "" if mixture.transitions is None else f", transitions: {mixture.transitions.described}"
        described += f", mean perplexity {held_out:.2f} on held-out frames" if held_out is not None else ""
        facts["Mixture enclosed"] = f"`gmm.safetensors`: {described}, fitted on {_features_of(mixture)}"
    return facts


def _label_info(cfg: Any, labels: List[str]) -> Any:
    """What the soft-label file of the training split records; ``None`` if the file is no longer there."""
    folder = cfg.task.get("label_dir") or cfg.task.get("data")
    path = Path(str(folder)) / f"{_of(cfg, 'dataset.train_subset').split(',')[0]}.{labels[0] if labels else ''}"
    try:
        return open_soft_labels(path).info
    except (SoftHubertError, OSError):
        return None


def _features_of(mixture: GaussianMixture) -> str:
    features = mixture.metadata.get("features", {})
    layer = f", layer {features['layer']}" if "layer" in features else ""
    return f"{features.get('kind', UNKNOWN)}{layer}"


def _symbols(symbols: List[str]) -> str:
    plain = symbols[4:]
    return f"{len(plain)} symbols: `{' '.join(plain[:40]).replace('|', chr(92) + '|')}`{' …' if len(plain) > 40 else ''}"


def _of(cfg: Any, key: str) -> str:
    for part in key.split("."):
        cfg = cfg.get(part) if cfg is not None and hasattr(cfg, "get") else None
    return UNKNOWN if cfg is None else str(cfg)
