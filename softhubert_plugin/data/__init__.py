"""Datasets for fairseq's trainer."""
