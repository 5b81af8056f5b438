"""End the command on Ctrl-C and SIGTERM, also if a library drops the exception that they raise."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # exit code after SIGINT
_CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: 143}
_AGAIN = 0.05  # seconds until the exception is raised again, if nothing is ending the command
_PATIENCE = 10.0  # seconds for removing incomplete files, before the command ends without that


class _Received:
    """The first signal that came."""

    code = 0  # exit code; 0: none came
    deadline = 0.0


@contextmanager
def end_on_signals() -> Iterator[None]:
    """Raise an exception on Ctrl-C (SIGINT) and SIGTERM, and end the process when it has left the block.

    Incomplete files are so removed on the way out. Python drops an exception raised while a C library calls back, a
    module is compiled or an object is finalized; so it is raised again until one is on its way. If it has not left the
    block after ten seconds, the process ends there. A SIGINT that the parent process has told us to ignore stays
    ignored.

    Yields
    ------
    None
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        if _Received.code:
            _leave(_Received.code)


@contextmanager
def prefer_interrupt() -> Iterator[None]:
    """Turn whatever ends the block after a signal into the exception of that signal.

    Yields
    ------
    None

    Raises
    ------
    KeyboardInterrupt
        After SIGINT.
    SystemExit
        After SIGTERM.
    """
    try:
        yield
    finally:
        if _Received.code:
            _raise()


def _interrupt(number: int, _: FrameType | None) -> None:
    """Raise for a signal, or again if the exception of an earlier one was dropped."""
    if not _Received.code:
        _Received.code, _Received.deadline = _CODES[signal.Signals(number)], time.monotonic() + _PATIENCE
        sys.unraisablehook = lambda _: None  # it would print the traceback of an exception that is dropped
        if hasattr(signal, "setitimer"):  # not on Windows
            signal.signal(signal.SIGALRM, _interrupt)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN, _AGAIN)
    elif time.monotonic() > _Received.deadline:
        _leave(_Received.code)
    elif sys.exception():  # it is on its way, and removes incomplete files
        return
    _raise()


def _raise() -> NoReturn:
    raise KeyboardInterrupt if _Received.code == INTERRUPTED else SystemExit(_Received.code)


def _leave(code: int) -> NoReturn:
    """End the process now: the interpreter's own exit would wait for the photos that threads are still decoding."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # closed, or its reader is gone
            stream.flush()
    os._exit(code)
