import subprocess
import sys

import pytest

CODES = {"SIGINT": 130, "SIGTERM": 143}
START = """
import os, signal, sys, time
from blurgate import signals
def send():
    os.kill(os.getpid(), signal.{how})
signal.signal(signal.SIGINT, signal.default_int_handler)  # even if the parent process ignores it
"""


def run(code, how="SIGINT"):
    """Run code that sends itself a signal: (exit code, stdout, stderr)."""
    words = [sys.executable, "-c", START.format(how=how) + code]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("how", sorted(CODES))
def test_an_exception_that_is_dropped_is_raised_again(how):
    code = """
class Dropped:
    def __del__(self):
        send()
with signals.end_on_signals():
    Dropped()
    print("dropped")
    time.sleep(50)
    print("went on")
"""
    assert run(code, how) == (CODES[how], "dropped\n", "")


@pytest.mark.parametrize("how", sorted(CODES))
def test_nothing_interrupts_what_removes_incomplete_files(how):
    code = """
with signals.end_on_signals():
    try:
        send()
    finally:
        time.sleep(0.2)
        send()
        print("removed")
"""
    assert run(code, how) == (CODES[how], "removed\n", "")


def test_what_does_not_end_is_ended():
    code = """
signals._PATIENCE = 0.2
with signals.end_on_signals():
    try:
        send()
    finally:
        time.sleep(50)
        print("removed")
"""
    assert run(code) == (130, "", "")


@pytest.mark.parametrize("what", ["raise ValueError", "pass"])
def test_a_signal_decides_the_exit_code(what):
    code = f"""
with signals.end_on_signals():
    try:
        send()
    except KeyboardInterrupt:
        {what}
"""
    assert run(code) == (130, "", "")


@pytest.mark.parametrize("what", ["raise ValueError", "pass"])
def test_what_ends_a_block_after_a_signal_is_an_interrupt(what):
    code = f"""
with signals.end_on_signals():
    try:
        with signals.prefer_interrupt():
            try:
                send()
            except KeyboardInterrupt:
                {what}
    except KeyboardInterrupt:
        print("interrupted")
"""
    assert run(code) == (130, "interrupted\n", "")


def test_an_ignored_interrupt_stays_ignored():
    code = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
with signals.end_on_signals():
    send()
    print("went on")
"""
    assert run(code) == (0, "went on\n", "")


def test_a_signal_during_the_first_imports_prints_no_traceback():
    code = """
class Finder:
    def find_spec(name, *_):
        if name == "blurgate.cli":
            send()
sys.meta_path.insert(0, Finder)
from blurgate.__main__ import main
main()
"""
    assert run(code) == (130, "", "")
