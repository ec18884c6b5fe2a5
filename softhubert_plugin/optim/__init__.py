"""Optimizers of the plugin. ``tasks`` imports them, because fairseq does not import a user directory's optimizers itself."""

from softhubert_plugin.optim import fused_adamw

__all__ = ["fused_adamw"]
