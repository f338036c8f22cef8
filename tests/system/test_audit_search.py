"""The record as auditors use it: searching, following, showing."""
import json
import queue
import threading

import pytest

from support import mmdb
from support.client import Refused
from support.deployment import AUDITOR, BACKEND
from support.process import Daemon

PROXY = {"trusted_proxies": ["127.0.0.1"]}
ADDRESSES = {"DE": "198.51.100.1", "US": "198.51.100.200", "": "203.0.113.5"}
RULES = """
version: 1
rules:
- {name: not-from-there, effect: deny, countries: [US]}
- {name: everything, effect: allow}
"""


@pytest.fixture(scope="module")
def worldly(make_module_system):
    """One co-signature asked for from each of three addresses; its record by country."""
    system = make_module_system(start=False, rules=RULES, gatekeeper={**PROXY, "countries_database": "countries.mmdb"})
    mmdb.write(system.gatekeeper.folder / "countries.mmdb", {"198.51.100.0/25": "DE", "198.51.100.128/25": "US"})
    system.start()
    client, made = system.client(), {}
    for country, address in ADDRESSES.items():
        request = client.pb.CoSignRequest(envelope=system.propose("GET", f"from/{country or 'nowhere'}"))
        import grpc

        try:
            made[country] = client.stub.CoSign(request, metadata=[("x-forwarded-for", address)], timeout=60).record
        except grpc.RpcError as error:
            made[country] = Refused(error).record
    return system, made


def indexes(records):
    return [record.index for record in records]


def test_a_decision_knows_the_country(worldly):
    system, made = worldly
    auditor = system.client("gatekeeper", AUDITOR)
    for country, index in made.items():
        record = auditor.record(index)
        assert (record.country, record.address) == (country, ADDRESSES[country])
    assert auditor.record(made["US"]).decision == 2


@pytest.mark.parametrize("fields, found", [
    ({"country": "DE"}, ["DE"]),
    ({"country": "US"}, ["US"]),
    ({"country": "FR"}, []),
    ({"network": "198.51.100.0/24"}, ["US", "DE"]),
    ({"network": "198.51.100.128/25"}, ["US"]),
    ({"network": "203.0.113.5"}, [""]),
    ({"network": "::/0", "event": 4}, ["", "US", "DE"]),
    ({"network": "198.51.100.0/24", "country": "DE"}, ["DE"]),
    ({"network": "2001:db8::/32"}, []),
])
def test_search_by_country_and_network(worldly, fields, found):
    system, made = worldly
    records, tail = system.client("gatekeeper", AUDITOR).search(count=True, **fields)
    assert indexes(records) == [made[country] for country in found]
    assert tail.total == tail.returned == len(found)


def test_the_same_on_the_command_line(worldly):
    system, made = worldly
    options = system.connection("gatekeeper", AUDITOR)
    done = system.twokey("audit", "search", "--network", "198.51.100.0/24", "--oldest-first", "--count", "--json", *options)
    assert done.code == 0, done.err.decode()
    assert [json.loads(line)["index"] for line in done.out.splitlines()] == [made["DE"], made["US"]]
    assert b"2 of 2 records that match" in done.err
    done = system.twokey("audit", "show", str(made["US"]), *options)
    assert done.code == 0 and b"country              US" in done.out and b"not-from-there" in done.out
    done = system.twokey("audit", "show", "99999999", *options)
    assert done.code != 0
    done = system.twokey("audit", "search", "--network", "198.51.100.1/24", *options)
    assert done.code != 0 and b"no network" in done.err


def test_reading_is_on_record(system, auditor):
    auditor.search(subject="dr.bell", limit=7, why="the yearly review")
    found = auditor.search(event=12, text="yearly review", limit=2)[0][1:]  # behind this search itself
    assert found[0].why == "the yearly review" and found[0].identity == AUDITOR
    assert found[0].detail == "search subject=dr.bell limit=7"
    auditor.record(found[0].index)
    assert auditor.search(event=12, limit=2)[0][1].detail == f"record {found[0].index}"
    assert indexes(auditor.search(identity=AUDITOR, limit=1)[0])
    with pytest.raises(Refused) as refusal:
        auditor.search(why="x" * 600)
    assert refusal.value.reason == "MALFORMED"


@pytest.fixture
def following(auditor):
    """Starts a Tail; a function that waits for its next record."""
    calls = []

    def follow(**matching):
        request = auditor.audit_pb.TailRequest(matching=auditor.audit_pb.SearchRequest(**matching))
        call, records = auditor.records.Tail(request, timeout=120), queue.Queue()
        calls.append(call)

        def pump():
            try:
                for page in call:
                    for record in page.records:
                        records.put(record)
            except Exception as error:
                records.put(error)

        threading.Thread(target=pump, daemon=True).start()
        return lambda: records.get(timeout=60)

    yield follow
    for call in calls:
        call.cancel()


def test_tail_goes_on_as_records_come(system, client, auditor, following):
    start = auditor.search(limit=1)[1].committed
    follow = following(from_index=start, event=6)
    for i in range(5):
        system.put(client, f"tail/{i}", b"x")
        record = follow()
        assert (record.event, record.object) == (6, f"tail/{i}")
    # From the past on, in order, and only what matches.
    again = following(from_index=start, object_prefix="tail/", event=9)
    assert [again().object for _ in range(5)] == [f"tail/{i}" for i in range(5)]


def test_tail_needs_the_role(system):
    from grpc import RpcError

    stranger = system.client("gatekeeper", BACKEND)
    with pytest.raises(RpcError):
        list(stranger.records.Tail(stranger.audit_pb.TailRequest(), timeout=60))
    assert system.client("gatekeeper", AUDITOR).search(event=12, decision=2, limit=1)[0][0].reason == "CALLER_NOT_ALLOWED"


def test_tail_on_the_command_line(system, client, auditor, tmp_path):
    start = auditor.search(limit=1)[1].committed
    argv = [str(system.binary), "audit", "tail", "--from", str(start), "--event", "STORE", "--count", "2", "--json",
            *system.connection("gatekeeper", AUDITOR)]
    daemon = Daemon(argv, env=system.env, cwd=tmp_path, log=tmp_path / "tail.log").start()
    try:
        system.put(client, "live/1", b"x")
        daemon.wait_for_line(r'"object":\s*"live/1"')
        system.put(client, "live/2", b"x")
        daemon.wait_for_line(r'"object":\s*"live/2"')
        assert daemon.process.wait(60) == 0
    finally:
        daemon.kill()
