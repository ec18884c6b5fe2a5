"""Criteria of the plugin. ``tasks`` imports them, because fairseq does not import a user directory's criteria itself."""

from softhubert_plugin.criterions import distil_hubert, soft_hubert

__all__ = ["distil_hubert", "soft_hubert"]
