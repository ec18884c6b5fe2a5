"""Whether the settings of precision go together. Those that do not would end in an error of PyTorch's at the first update."""

from __future__ import annotations

from softhubert_plugin.errors import SoftHubertError


def check_precision(*, autocast_bf16: bool, fp16: bool, bf16: bool) -> None:
    """Refuse ``model.autocast_bf16`` beside fairseq's half-precision weights.

    Raises:
        SoftHubertError: both are on; the message gives the overrides.
    """
    if autocast_bf16 and (fp16 or bf16):
        raise SoftHubertError(
            f"model.autocast_bf16=true multiplies float32 weights in bfloat16, but common.{'fp16' if fp16 else 'bf16'}=true makes the "
            "weights half precision; set model.autocast_bf16=true common.fp16=false common.bf16=false, or model.autocast_bf16=false"
        )
