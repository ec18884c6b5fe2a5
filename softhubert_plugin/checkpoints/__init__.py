"""What a checkpoint holds, and how to read one safely: fairseq's, ours, and folders saved by transformers."""
