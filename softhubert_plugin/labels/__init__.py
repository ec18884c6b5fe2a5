"""Frame labels: soft (``{split}.gmm``) and hard (``{split}.km``), through one interface."""
