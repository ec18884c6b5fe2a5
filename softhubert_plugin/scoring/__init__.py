"""Word error rates, their confidence intervals and tests between systems."""
