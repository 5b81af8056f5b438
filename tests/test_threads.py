import os
import threading
import time

import pytest

from blurgate import threads
from blurgate.threads import run_in_order, work_beside


def test_results_keep_the_order_of_the_items():
    first_may_end = threading.Event()

    def work(item):
        if item == 0:
            first_may_end.wait(5)
        else:
            first_may_end.set()
        return item * 10

    assert list(run_in_order(work, range(20), jobs=4)) == [10 * item for item in range(20)]


def test_few_items_are_taken_ahead():
    taken = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    results = run_in_order(lambda item: item, items(), jobs=2)
    assert next(results) == 0
    assert len(taken) < 50
    results.close()


def test_an_error_ends_the_run_and_is_raised():
    started = []

    def work(item):
        started.append(item)
        if item == 3:
            raise RuntimeError("item 3")

    with pytest.raises(RuntimeError, match="item 3"):
        list(run_in_order(work, range(10_000), jobs=2))
    assert len(started) < 100


def test_jobs_must_be_positive():
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        list(run_in_order(abs, [1], jobs=0))


def test_known_results_need_no_work_and_keep_their_place():
    worked = []
    results = run_in_order(lambda n: worked.append(n) or n, range(40), jobs=2, known=lambda n: -n if n % 3 else None)
    assert list(results) == [-n if n % 3 else n for n in range(40)]
    assert sorted(worked) == list(range(0, 40, 3))


@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_does_not_wait_for_work_in_progress(how):
    may_end = threading.Event()

    def items():
        yield "slow"
        raise how

    try:
        with pytest.raises(how):
            list(run_in_order(lambda item: may_end.wait(60), items(), jobs=1))
        assert not may_end.is_set()
    finally:
        may_end.set()


def test_a_caller_who_takes_no_more_results_does_not_wait_either():
    may_end = threading.Event()
    results = run_in_order(lambda item: item == 0 or may_end.wait(60), range(10), jobs=2)
    assert next(results)
    results.close()
    assert not may_end.is_set()
    may_end.set()


def test_an_error_waits_for_work_in_progress():
    ended = []

    def work(item):
        if item == 0:
            raise RuntimeError("item 0")
        time.sleep(0.05)
        ended.append(item)

    with pytest.raises(RuntimeError, match="item 0"):
        list(run_in_order(work, range(2), jobs=2))
    assert ended in ([], [1])
    count = len(ended)
    time.sleep(0.1)
    assert len(ended) == count


def test_work_beside_a_loop_is_done_at_its_end_and_few_items_wait():
    begun, done, may_go_on = [], [], threading.Event()

    def work(item):
        begun.append(item)
        may_go_on.wait(5)
        done.append(item)

    with work_beside(work, jobs=2) as hand_over:
        for item in range(3):
            hand_over(item)
        assert not done
        threading.Timer(0.05, may_go_on.set).start()
        hand_over(3)  # waits for the first
        assert done
    assert sorted(done) == [0, 1, 2, 3]


def test_an_error_beside_a_loop_ends_it_and_cancels_what_has_not_started():
    done = []

    def work(item):
        if item == 0:
            raise ValueError("broken")
        done.append(item)

    with pytest.raises(ValueError, match="broken"), work_beside(work, jobs=1) as hand_over:
        for item in range(100):
            hand_over(item)
    assert len(done) < 10
    with pytest.raises(ValueError, match="jobs must be at least 1"), work_beside(work, jobs=0):
        pass


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", 8), ("200000 100000", 2), ("250000 100000", 3), ("100 100000", 1), ("", 8)]
)
def test_a_container_may_use_a_part_of_the_cores(tmp_path, monkeypatch, limit, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_LIMIT", tmp_path / "cpu.max")
    assert threads.count_cores() == 8
    (tmp_path / "cpu.max").write_text(limit + "\n")
    assert threads.count_cores() == cores
