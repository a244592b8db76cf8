"""Run a study's cells as the sweep does, without files."""

import functools
import importlib

import numpy as np
import pandas as pd
import torch

from distalign.claims import claims
from distalign.simulation.sweep import cells_of


def rows(module, preset, control=False):
    """Rows of a small preset, or of its negative control."""
    slug = module.rsplit(".", 1)[1]
    study = importlib.import_module(module)
    torch.set_num_threads(1)  # as the sweep does: two threads on small tensors are slower than one
    parts = []
    for cell in cells_of(slug, module, preset, seed=0):
        if cell.control == control:
            columns = study.run(cell.rng(), **cell.arguments, **({"defect": True} if control else {}))
            parts.append(
                pd.DataFrame(
                    {
                        **{k: v for k, v in cell.arguments.items() if np.isscalar(v) and k not in columns},
                        **columns,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def failed(checks):
    """Names of the checks that did not pass."""
    return {c.name for c in checks if not c.passed}


def study(slug):
    """The module of a claim's study."""
    return importlib.import_module(claims((slug,))[0].study)


@functools.cache
def found(slug, control=False):
    """Rows of a claim's test preset, or of its negative control."""
    (claim,) = claims((slug,))
    return rows(claim.study, claim.presets["test"], control)
