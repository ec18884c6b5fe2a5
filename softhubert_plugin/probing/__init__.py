"""Measure features and labels against phone alignments, and choose the layer that the second iteration clusters."""
