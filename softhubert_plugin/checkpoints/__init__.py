"""What a checkpoint holds, and reading one safely: fairseq's, ours, and folders of transformers'."""
