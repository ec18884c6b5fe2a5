"""The synthetic spoken corpus: sentences of a small grammar, spoken by eSpeak NG."""

from softhubert_plugin.corpora.spoken.corpus import make_spoken_corpus

__all__ = ["make_spoken_corpus"]
