"""Run a study's cells as the sweep does, without files."""

import functools
import importlib

import pandas as pd

from distalign.claims import claims
from distalign.simulation.sweep import cells_of, computed, with_defect


def rows(module, preset, defect=""):
    """Rows of a small preset, with a defect of the study planted where its text is given."""
    cells = cells_of(module.rsplit(".", 1)[1], module, preset, seed=0)
    if defect:
        planted = next(d for d in importlib.import_module(module).DEFECTS if d.text == defect)
        cells = with_defect(cells, planted)
    return pd.concat([computed(cell) for cell in cells], ignore_index=True)


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
