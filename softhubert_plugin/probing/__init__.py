"""Which layer? Phone alignments, linear probes of frozen features, and the choice that the second iteration reads."""
