"""The embedded synthetic corpus."""

from softhubert_plugin.corpora.spoken.corpus import make_spoken_corpus

__all__ = ["make_spoken_corpus"]
