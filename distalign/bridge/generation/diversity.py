"""How alike the texts are that a model writes to one prompt.

Distinct n-grams, entropy and lengths are in `distalign.training.evaluation.samples`.

Source: Zhu et al. 2018, arXiv 1802.01886 (self-BLEU).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distalign.checks import InputError

AT_MOST = 16
"""How many texts of a prompt are compared, for self-BLEU grows with the number of texts it is made of."""


def self_bleu(texts: Sequence[Sequence[str]]) -> np.ndarray:
    """(S,) mean BLEU of each text with the other texts to the same prompt as references, in [0, 1].

    1 means that all texts are the same. The first 16 texts of each prompt are used. BLEU is sacrebleu's, with
    exponential smoothing and up to 4-grams, or as many words as a shorter text has. An empty text counts as 1
    beside another empty one, else as 0.

    Args:
        texts: for each prompt its texts, at least two.

    Raises:
        InputError: sacrebleu is not installed, or a prompt has one text.

    Example:
        >>> self_bleu([["a b c d", "a b c d"], ["a b c d", "e f g h"]]).round(3).tolist()
        [1.0, 0.0]
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ModuleNotFoundError as error:
        raise InputError(
            "self-BLEU needs sacrebleu, which is not installed: run pip install 'distalign[texts]'"
        ) from error
    if min(map(len, texts)) < 2:
        raise InputError("self-BLEU compares the texts of a prompt: draw at least two a prompt")
    bleu = BLEU(effective_order=True)

    def one(several: Sequence[str], i: int) -> float:
        text, others = several[i], [*several[:i], *several[i + 1 :]]
        if not text.split():
            return float(any(not other.split() for other in others))
        return bleu.sentence_score(text, others).score / 100

    return np.array([np.mean([one(t, i) for i in range(len(t))]) for t in (t[:AT_MOST] for t in texts)])
