"""Adds a setting that fairseq-fixed's ``hubert_ctc`` reads but its configuration lacks; without it the model cannot be built."""

from __future__ import annotations

from dataclasses import dataclass, field


def complete_hubert_ctc() -> None:
    """Add ``autoregressive: false``; do nothing if fairseq does not read it, or already has it."""
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.models.hubert.hubert_asr import HubertSeq2SeqConfig

    name = "autoregressive"
    known = MODEL_DATACLASS_REGISTRY["hubert_ctc"]
    if name in HubertSeq2SeqConfig.__dataclass_fields__ and name not in known.__dataclass_fields__:
        # Extend the class in place: fairseq and its users may hold a reference to it.
        for each in known.__annotations__:
            setattr(known, each, known.__dataclass_fields__[each])
        known.__annotations__[name] = bool
        setattr(known, name, field(default=False))
        dataclass(known)
