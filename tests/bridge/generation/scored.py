"""Scored samples made by hand."""

from distalign.training.evaluation.samples import Sample, Samples


def scored(scores, texts=None, prompts=None, **settings):
    """Samples of S prompts with N texts each.

    Args:
        scores: name to (S, N) numbers.
        texts: (S, N) responses; different ones unless given.
        prompts: S texts.
    """
    table = next(iter(scores.values()))
    rows = [
        Sample(
            s,
            n,
            (1, 2),
            (3,) * (n + 1),
            texts[s][n] if texts else f"text {n}",
            True,
            -1.0,
            prompt=prompts[s] if prompts else f"prompt {s}:",
            scores={name: float(values[s][n]) for name, values in scores.items()},
        )
        for s, row in enumerate(table)
        for n in range(len(row))
    ]
    return Samples(tuple(rows), {"temperature": 1.0, "top_p": 1.0, **settings})
