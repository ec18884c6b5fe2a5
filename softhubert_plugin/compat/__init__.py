"""What fairseq needs mended to run beside today's torch, hydra and Python: one file per mend, each a function that applies it."""
