"""Types that several modules name."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""A numpy array of double precision; docstrings give its shape."""
