"""The pretraining dataset for fairseq's trainer, with its masks and targets."""
