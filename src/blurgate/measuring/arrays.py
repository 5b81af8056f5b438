"""Arrays of any library that follows the Python array API standard: NumPy, or torch on any device.

References
----------
.. [1] Consortium for Python Data API Standards, https://data-apis.org/array-api
"""

from __future__ import annotations

from typing import Any, TypeAlias

from blurgate.errors import needs_extra

Array: TypeAlias = Any


def array_namespace(array: Array) -> Any:
    """Return the array API namespace of an array: the module with its library's functions under the standard's names.

    Raises
    ------
    MissingExtraError
        If the array is not NumPy's and array-api-compat is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> array_namespace(np.zeros(3)).__name__
    'numpy'
    """
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    with needs_extra("gpu", "Measuring on a GPU"):
        import array_api_compat  # torch does not follow the standard yet
    return array_api_compat.array_namespace(array)
