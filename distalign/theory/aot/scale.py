"""Why AOT with the logistic penalty needs a bounded policy class.

The logistic penalty rewards growing log-ratios without end. This module gives what AOT's value tends to as a
parameter grows along a ray: a finite limit below the value at hand means that there is no finite minimiser.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from distalign.arguments import LAW, POSITIVE, POSITIVE_LAW, REAL, checked


@checked(
    scores=REAL.of("S K"), reference=POSITIVE_LAW.of("S K"), p=LAW.of("S*K"), q=LAW.of("S*K"), beta=POSITIVE
)
def ray_limit(scores: ArrayLike, reference: ArrayLike, p: ArrayLike, q: ArrayLike, beta: float) -> float:
    r"""Limit of the logistic cost of the policies pi_s, proportional to reference exp(s scores), as s grows.

    The cost is \int log(1 + e^{-beta (Q_U - Q_V)}), and

        log pi_s / reference = s (score - max score of the prompt) - log reference(best of the prompt) + o(1),

    so responses fall on levels, the distances to their prompt's best score, that move apart like s. Quantiles
    at which U lies on a higher level than V cost nothing in the limit. Those on the same level cost the
    logistic of a fixed difference (log 2 for the same response). A single one at which U lies lower makes the
    limit infinite. All responses of a prompt are compared with the same maximum.

    Args:
        scores: (S, K) linear scores <theta, psi>.
        reference: (S, K) reference probabilities.
        p, q: (S K,) masses of chosen and rejected responses, each of sum 1.
        beta: slope of the penalty.

    Source: ours.

    Example: one prompt, the better response chosen in three cases of four: half of the mass meets itself.
        >>> round(ray_limit([[1.0, 0.0]], [[0.5, 0.5]], [0.75, 0.25], [0.25, 0.75], beta=1.0), 6)
        0.346574
    """
    s, ref, p, q = (np.asarray(x, float) for x in (scores, reference, p, q))
    level = (s - s.max(-1, keepdims=True)).ravel()
    offset = np.repeat(-np.log(np.take_along_axis(ref, s.argmax(-1)[:, None], 1)), s.shape[1])
    order = np.lexsort((offset, level))
    above, below = np.cumsum(p[order]), np.cumsum(q[order])
    breakpoints = np.unique(np.concatenate([above[:-1], below[:-1], [1.0]]))
    widths = np.diff(breakpoints, prepend=0.0)
    i, j = (order[np.searchsorted(c[:-1], breakpoints - widths / 2)] for c in (above, below))
    apart = np.where(level[i] > level[j], 0.0, np.inf)
    return float(
        widths @ np.where(level[i] == level[j], np.logaddexp(0, -beta * (offset[i] - offset[j])), apart)
    )
