"""Word error rate and its statistics."""
