"""Checkpoints in and out of fairseq and other toolkits."""
