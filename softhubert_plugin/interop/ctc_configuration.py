"""The option that fairseq-fixed's ``hubert_ctc`` asks for and its configuration lacks: without it nothing can be fine-tuned or decoded."""

# No postponed annotations here: omegaconf 2.0 reads the field's type, and knows no strings.
import dataclasses


@dataclasses.dataclass
class _Missing:
    autoregressive: bool = False


def complete_ctc_configuration() -> None:
    """Give ``HubertCtcConfig`` the field ``autoregressive``, false; stock fairseq does not ask for it, and does not mind."""
    from fairseq.models.hubert import hubert_asr

    configuration = hubert_asr.HubertCtcConfig
    if not hasattr(hubert_asr, "HubertSeq2SeqConfig") or hasattr(configuration, "autoregressive"):
        return
    configuration.autoregressive = False
    configuration.__annotations__["autoregressive"] = bool
    configuration.__dataclass_fields__["autoregressive"] = dataclasses.fields(_Missing)[0]
