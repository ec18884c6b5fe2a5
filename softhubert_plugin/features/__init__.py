"""Feature shards in fairseq's format: MFCC, and hidden states of any layer."""
