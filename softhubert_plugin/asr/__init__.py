"""From fine-tuned checkpoints to transcripts: CTC targets, decoding, language models."""
