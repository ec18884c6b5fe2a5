"""Checkpoints to and from other toolkits: transformers, torchaudio, stock fairseq."""
