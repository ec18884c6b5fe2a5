"""Fixes that let fairseq run with today's torch, hydra and Python. Each file has one fix: a function that applies it."""
