"""A setting that fairseq-fixed's ``hubert_ctc`` asks for and its configuration lacks, so that it could not be built at all."""

from __future__ import annotations

from dataclasses import dataclass, field


def complete_hubert_ctc() -> None:
    """Add ``autoregressive: false``; does nothing on a fairseq that asks for no such thing, or has it."""
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.models.hubert.hubert_asr import HubertSeq2SeqConfig

    name = "autoregressive"
    known = MODEL_DATACLASS_REGISTRY["hubert_ctc"]
    if name in HubertSeq2SeqConfig.__dataclass_fields__ and name not in known.__dataclass_fields__:
        # The same class, made anew with one field more: fairseq and its users may hold on to it by name.
        for each in known.__annotations__:
            setattr(known, each, known.__dataclass_fields__[each])
        known.__annotations__[name] = bool
        setattr(known, name, field(default=False))
        dataclass(known)
