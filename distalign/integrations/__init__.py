"""Bridges to other training libraries; each is imported when it is asked for, none by `import distalign`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distalign._lazy import lazy

if TYPE_CHECKING:
    from distalign.integrations.trl import GlobalDPOTrainer

__all__ = ["GlobalDPOTrainer"]

__getattr__, __dir__ = lazy(__name__, {"distalign.integrations.trl": ["GlobalDPOTrainer"]})
