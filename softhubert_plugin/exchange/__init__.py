"""Converts checkpoints to and from other toolkits: transformers, torchaudio, stock fairseq."""
