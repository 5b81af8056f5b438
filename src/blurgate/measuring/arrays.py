"""Arrays of any library that follows the Python array API standard: NumPy's, torch's on any device.

References
----------
.. [1] Consortium for Python Data API Standards, https://data-apis.org/array-api
"""

from __future__ import annotations

from typing import Any, TypeAlias

from blurgate.errors import needs_extra

Array: TypeAlias = Any


def array_namespace(array: Array) -> Any:
    """Look up the functions that work on an array: the module of its library that has them by the standard's names.

    Examples
    --------
    >>> import numpy as np
    >>> array_namespace(np.zeros(3)).__name__
    'numpy'
    """
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    with needs_extra("gpu", "Measuring on a GPU"):
        import array_api_compat  # torch does not keep to the standard yet
    return array_api_compat.array_namespace(array)
