"""The verifier: exact fits on small policies, sweeps, rates, verdicts, and the studies that use them."""
