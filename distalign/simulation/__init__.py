"""The exact world: fits, sweeps, rates, verdicts and the studies that use them."""
