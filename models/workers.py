"""One process for each core, which ends when the command that started it does, whatever ended that."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread


def open_workers() -> ProcessPoolExecutor:
    """Open as many as there are cores."""
    return ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    Thread(target=_wait_for_its_end, daemon=True).start()


def _wait_for_its_end() -> None:
    parent = parent_process()
    if parent:
        parent.join()  # a process that is killed cannot say so to its workers
        os._exit(1)
