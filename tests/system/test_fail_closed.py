"""What happens to the record's files while a gatekeeper serves: nothing is granted without a record, health says why, and
service resumes by itself once they are back."""
import shutil

import pytest

from support.client import Refused
from support.deployment import AUDITOR
from support.process import until


@pytest.fixture(scope="module")
def served(make_module_system):
    return make_module_system()


def segment(ledger):
    return sorted((ledger / "log").glob("*.seg"))[-1]


def move(path):
    away = path.with_name(path.name + ".away")
    path.rename(away)
    return lambda: away.rename(path)


def replace(path):
    """A copy of the same content is another file all the same."""
    undo = move(path)
    shutil.copy(path.with_name(path.name + ".away"), path)

    def back():
        path.unlink()
        undo()

    return back


CASES = {
    "the segment is removed": lambda ledger: move(segment(ledger)),
    "the segment is replaced": lambda ledger: replace(segment(ledger)),
    "the lock is removed": lambda ledger: move(ledger / "lock"),
    "the lock is replaced": lambda ledger: replace(ledger / "lock"),
    "the log's folder is removed": lambda ledger: move(ledger / "log"),
    "the ledger's folder is removed": move,
}


def refusal_of(system, client):
    try:
        client.cosign(system.propose("GET", "x"))
        return None
    except Refused as refusal:
        return refusal


def healthy(system):
    return system.twokey("status", *system.connection()).code == 0


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_granted_without_a_record(served, case):
    client = served.client()
    client.cosign(served.propose("GET", "before"))
    undo = CASES[case](served.gatekeeper.folder / "ledger")
    try:
        for _ in range(3):
            refusal = refusal_of(served, client)
            assert refusal and refusal.reason == "LEDGER_UNAVAILABLE" and refusal.record is None
        until(lambda: not healthy(served), 60, "health says so")
    finally:
        undo()
    until(lambda: refusal_of(served, client) is None, 60, "service resumes by itself")
    until(lambda: healthy(served), 60, "health says so")


def test_all_of_it_is_on_record(served):
    """Behind the cases above, a start finds one whole log, with every record's index in its place."""
    served.gatekeeper.restart()
    auditor = served.client("gatekeeper", AUDITOR)

    def last():
        try:
            return auditor.search(limit=1)[1].committed
        except Refused:
            return None

    committed = until(last, 60, "the search index is open")
    records = auditor.search(before_index=committed, wait_for_index=committed - 1)[0]
    assert [record.index for record in records] == list(range(committed - 1, -1, -1))
