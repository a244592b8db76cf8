"""Predictions: the rates, bounds, constants and closed forms that the studies are measured against.

There is one folder for each paper or group of papers. A prediction is computed with numpy and scipy from its
own formula; this package imports no objective and no solver, so that a study compares two independent roads.
"""

from distalign.theory import aot, density_ratio, distortion, f_dpo, robust

__all__ = ["aot", "density_ratio", "distortion", "f_dpo", "robust"]
