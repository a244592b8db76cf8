"""Run a study's cells as the sweep does, without files."""

import contextlib
import functools
import importlib

import numpy as np
import pandas as pd
import torch

from distalign.claims import claims
from distalign.simulation.defects import planted
from distalign.simulation.sweep import cells_of, with_defect


def rows(module, preset, defect=""):
    """Rows of a small preset, with a defect of the study planted where its text is given."""
    slug = module.rsplit(".", 1)[1]
    study = importlib.import_module(module)
    torch.set_num_threads(1)  # as the sweep does: two threads on small tensors are slower than one
    cells = cells_of(slug, module, preset, seed=0)
    if defect:
        cells = with_defect(cells, planted_in(study, defect))
    parts = []
    for cell in cells:
        with planted(planted_in(study, cell.defect)) if cell.defect else contextlib.nullcontext():
            columns = study.run(cell.rng(), **cell.arguments)
        scalars = {k: v for k, v in cell.arguments.items() if np.isscalar(v) and k not in columns}
        parts.append(pd.DataFrame({**scalars, **columns}))
    return pd.concat(parts, ignore_index=True)


def planted_in(study, text):
    """The defect of a study by its text."""
    return next(d for d in study.DEFECTS if d.text == text)


def failed(checks):
    """Names of the checks that did not pass."""
    return {c.name for c in checks if not c.passed}


def study(slug):
    """The module of a claim's study."""
    return importlib.import_module(claims((slug,))[0].study)


@functools.cache
def found(slug, defect=""):
    """Rows of a claim's test preset, with a defect planted where its text is given."""
    (claim,) = claims((slug,))
    return rows(claim.study, claim.presets["test"], defect)
