"""One process per core; each ends with the command that started it, even if that was killed."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread


def open_workers() -> ProcessPoolExecutor:
    """Open a pool with one process per core."""
    return ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    Thread(target=_wait_for_its_end, daemon=True).start()


def _wait_for_its_end() -> None:
    parent = parent_process()
    if parent:
        parent.join()  # a killed process cannot tell its workers to stop
        os._exit(1)
