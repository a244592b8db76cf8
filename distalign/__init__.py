"""distalign: an objective is written once and lives in two worlds, exact simulation and language models."""

from distalign.checks import InputError
from distalign.preferences import PreferenceLogProbs, metrics

__version__ = "0.1.0"

__all__ = ["InputError", "PreferenceLogProbs", "__version__", "metrics"]
