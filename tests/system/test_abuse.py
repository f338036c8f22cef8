"""Repeated failures are told later, and summarised; nobody else waits for it."""
import threading
import time

import pytest

from support.client import Refused
from support.deployment import AUDITOR
from support.process import until

LIMIT = 10


@pytest.fixture(scope="module")
def watched(make_module_system):
    return make_module_system(gatekeeper={"limits": {"failures": LIMIT}})


def fail(system, client):
    envelope = system.propose("GET", "x")
    envelope.signatures[0].sig = b"\x30\x00"
    with pytest.raises(Refused) as refused:
        client.cosign(envelope)
    assert refused.value.reason == "SIGNATURE_INVALID" and refused.value.record is not None


def test_failures_are_told_later_and_successes_at_once(watched):
    thief, honest = watched.client(), watched.client()
    stop, count = threading.Event(), [0]

    def go_on():
        while not stop.is_set():
            fail(watched, watched.client())
            count[0] += 1

    for _ in range(LIMIT):
        fail(watched, thief)
    started = time.monotonic()
    for _ in range(20):
        fail(watched, thief)
    # At least what the delays add up to; how much longer is the machine's business.
    assert time.monotonic() - started >= sum(0.02 * over for over in range(1, 21)) * 0.9
    threads = [threading.Thread(target=go_on) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        # From the same address, all the while: granted, every one of them.
        for _ in range(30):
            honest.cosign(watched.propose("GET", "x"))
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert count[0] > 0


def test_an_identity_is_a_witness_too_and_the_summary_says_who(make_system):
    system = make_system(gatekeeper={"limits": {"failures": LIMIT}})
    auditor, thief = system.client("gatekeeper", AUDITOR), system.client()
    for _ in range(LIMIT + 5):
        fail(system, thief)
    for _ in range(LIMIT + 3):
        with pytest.raises(Refused):
            auditor.raw("/twokey.v1.Policy/Lockdown", b"")
    single, _ = auditor.search(reason="SIGNATURE_INVALID")
    assert len(single) == LIMIT + 5  # each is on record by itself
    # The minute that has begun is recorded at the end.
    system.gatekeeper.restart()
    auditor = system.client("gatekeeper", AUDITOR)
    records = until(lambda: auditor.search(event=auditor.audit_pb.EVENT_ABUSE)[0], timeout=60, what="the summary")
    by_address = [one for one in records if one.address]
    by_identity = [one for one in records if one.identity]
    assert len(by_address) == len(by_identity) == 1
    assert by_address[0].address == "127.0.0.1" and by_address[0].failures == 2 * LIMIT + 8
    assert "SIGNATURE_INVALID 15" in by_address[0].detail and "CALLER_NOT_ALLOWED 13" in by_address[0].detail
    assert by_identity[0].identity == AUDITOR and by_identity[0].failures == LIMIT + 3
    assert by_address[0].failures_since.seconds <= by_address[0].time.seconds


def test_without_a_limit_nothing_is_counted(make_system):
    system = make_system()
    client = system.client()
    for _ in range(100):
        fail(system, client)
    system.gatekeeper.restart()
    assert system.client("gatekeeper", AUDITOR).search(event=20)[0] == []
