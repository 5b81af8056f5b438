"""Clients that break off, lie and attack: each gets its status, and others are served meanwhile."""

import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("what a process holds is read from /proc", allow_module_level=True)

from benchmarks.hostile_clients import FAULTS, Target, ask_photo, ask_raw
from benchmarks.http_clients import Client, open_socket
from benchmarks.processes import settle
from benchmarks.service import mix

QUICK = [name for name, fault in FAULTS.items() if not fault.slow]  # the others wait for time-outs of the service


@pytest.fixture
def target(service, sharp_jpeg):
    return Target(("127.0.0.1", service.port), sharp_jpeg, patience_s=30, quiet_s=0.1)


def ask(target):
    """Ask as a client does, who comes again after a 503: -> the status."""
    client = Client(target.address)
    for _ in range(5):
        answer = client.ask(ask_raw(target.photo))
        if answer.status != 503:
            break
        time.sleep(float(answer.headers["retry-after"]))
    client.close()
    return answer.status


@pytest.mark.parametrize("name", QUICK)
def test_a_hostile_client_gets_its_status_and_the_next_one_is_served(name, target):
    assert FAULTS[name].find_outcome(target) in FAULTS[name].allowed
    assert ask(target) == 200


def test_clients_that_hang_take_the_place_of_nobody(target):
    photo = target.photo
    begun = [b"", b"POST /v1/ver", ask_raw(photo)[: -len(photo)], ask_raw(photo)[:-100], ask_photo(photo)[:-100]]
    with ExitStack() as stack:
        for beginning in begun * 8:
            stack.enter_context(open_socket(target.address)).sendall(beginning)
        assert [ask(target) for _ in range(5)] == [200] * 5


def test_requests_good_bad_and_broken_off_leave_no_handle_open(service, target, blurred_jpeg):
    def count_handles():
        return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))

    statuses = Counter()
    mix(target.address, target.photo, blurred_jpeg, 40, statuses)  # opens what is opened once
    before = settle(count_handles, patience_s=10)
    mix(target.address, target.photo, blurred_jpeg, 120, statuses)
    assert settle(count_handles, patience_s=10) <= before
    assert {"200", "404", "415", "422", "left"} <= set(statuses) <= {"200", "404", "415", "422", "503", "left"}
