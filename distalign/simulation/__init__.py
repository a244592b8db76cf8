"""The exact world: fits, sweeps, rates, verdicts and the studies that use them.

The fit itself is `distalign.fit`; here it is `distalign.simulation.fit.fit`, for `fit` is the module. Names
are imported when they are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distalign._lazy import lazy

if TYPE_CHECKING:
    from distalign.simulation.fit import Fit
    from distalign.simulation.ledger import Entry
    from distalign.simulation.rates import log_slope
    from distalign.simulation.verdict import Check, Verdict, judge
    from distalign.simulation.verification import Verification, verify

__all__ = ["Check", "Entry", "Fit", "Verdict", "Verification", "judge", "log_slope", "verify"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "distalign.simulation.fit": ["Fit"],
        "distalign.simulation.ledger": ["Entry"],
        "distalign.simulation.rates": ["log_slope"],
        "distalign.simulation.verdict": ["Check", "Verdict", "judge"],
        "distalign.simulation.verification": ["Verification", "verify"],
    },
)
