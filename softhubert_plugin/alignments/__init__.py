"""Phone alignments of every kind, as one list of labelled intervals per utterance."""
