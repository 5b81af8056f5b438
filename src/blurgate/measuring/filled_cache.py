"""Compiled code read from a cache that cannot be written, such as that of a container with a read-only file system.

numba ignores a cache folder in which it cannot write, and compiles on every start. It asks this locator instead if the
environment says ``NUMBA_CACHE_LOCATOR_CLASSES=blurgate.measuring.filled_cache.FilledCacheLocator``. The cache must have
been filled at the same `NUMBA_CACHE_DIR`, for the same processor (`NUMBA_CPU_NAME`, `NUMBA_CPU_FEATURES`).
"""

from blurgate.errors import needs_extra

with needs_extra("fast", "Compiled code"):
    from numba.core.caching import UserProvidedCacheLocator


class FilledCacheLocator(UserProvidedCacheLocator):  # type: ignore[misc]
    """Finds compiled code in `NUMBA_CACHE_DIR`, whether or not that folder can be written."""

    def ensure_cache_path(self) -> None:
        """Accept the folder as it is."""
