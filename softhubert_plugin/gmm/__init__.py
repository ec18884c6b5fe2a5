"""Gaussian mixtures: fitting them to feature shards, and labelling frames with their posteriors."""
