"""Two gatekeepers, one PostgreSQL: once means once, what one is told binds the other, and a database that is away or
comes back late leads to no effect without a record.

Samples in `make check`, full size in `make torture`."""
import collections
import hashlib
import itertools
import os
import random
import threading
import time

import grpc
import pytest

from support.cable import Cable
from support.client import Refused
from support.deployment import AUDITOR
from support.operator import operator
from support.process import until

TORTURE = bool(os.environ.get("TWOKEY_TORTURE"))
TRANSACTIONS, ATTEMPTS = (1000, 10) if TORTURE else (40, 10)
TROUBLES = 200 if TORTURE else 4
GRANTED, FETCH, COMPLETION = 1, 5, 9
PATIENCE = 60
BIG = 24 << 20

pytestmark = [pytest.mark.torture, pytest.mark.timeout(3000 if TORTURE else 400)]
schemas = (f"ledger_{number}" for number in itertools.count())


def health(client):
    from grpc.health.v1 import health_pb2, health_pb2_grpc

    return health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status


def connection_through(port):
    return f"host=127.0.0.1 port={port} user=twokey dbname=postgres"


@pytest.fixture
def pair(make_system, postgres):
    """Makes a system with the gatekeepers `gatekeeper` and `second` on a fresh schema; each may have a cable of its own."""
    cables = []

    def make(cabled=False):
        schema = next(schemas)

        def ledger():
            connection = postgres.connection
            if cabled:
                cables.append(Cable(postgres.port).__enter__())
                connection = connection_through(cables[-1].port)
            return {"directory": "ledger", "postgresql": {"connection": connection, "schema": schema}}

        system = make_system(start=False, gatekeeper={"ledger": ledger()})
        system.schema, system.cables = schema, cables
        system.add_gatekeeper("second", ledger=ledger())
        system.vendor.start()
        system.gatekeeper.start()
        system.second.start()
        return system

    yield make
    for cable in cables:
        cable.mend()
        cable.__exit__()


def both(system):
    return [system.client("gatekeeper"), system.client("second")]


def outcome(call, *arguments):
    """"" or the reason of the refusal."""
    try:
        call(*arguments)
        return ""
    except Refused as refused:
        return refused.reason or refused.code.name
    except grpc.RpcError as error:
        return Refused(error).reason or error.code().name


def all_records(auditor):
    def committed():
        try:
            return auditor.search(limit=1)[1].committed
        except Refused as refusal:
            assert refusal.code == grpc.StatusCode.UNAVAILABLE, refusal
            return None

    below, records = until(committed, PATIENCE, "the index is there"), []
    last = below - 1
    while below:
        page, _ = auditor.search(before_index=below, wait_for_index=last)
        records += page
        below = page[-1].index
    return records[::-1]


def verify(postgres, schema):
    """The table itself: no hole, and the chain as docs/AUDIT.md has it. Returns how many records there are."""
    rows = postgres.sql(f"SELECT idx, encode(chain, 'hex'), encode(bytes, 'hex') FROM {schema}.record ORDER BY idx").split()
    chain = bytes(32)
    for number, row in enumerate(rows):
        index, claimed, record = row.split("|")
        leaf = hashlib.sha256(b"\0" + bytes.fromhex(record)).digest()
        chain = hashlib.sha256(chain + leaf).digest()
        assert int(index) == number and claimed == chain.hex(), f"record {number} does not follow"
    head = postgres.sql(f"SELECT next, encode(chain, 'hex') FROM {schema}.head").split("|")
    assert head == [str(len(rows)), chain.hex()]
    return len(rows)


def test_exactly_one_wins_each_transaction(pair, postgres):
    system = pair()
    clients = both(system)
    system.put(clients[0], "prize", b"x")
    envelopes = [system.propose("GET", "prize") for _ in range(TRANSACTIONS)]
    attempts = [(envelope.payload, envelope, clients[number % 2]) for envelope in envelopes for number in range(ATTEMPTS)]
    random.shuffle(attempts)
    won, other, lock = collections.Counter(), collections.Counter(), threading.Lock()

    def race(share):
        for identity, envelope, client in share:
            reason = outcome(client.fetch, envelope)
            with lock:
                (won if not reason else other)[identity if not reason else reason] += 1

    racers = [threading.Thread(target=race, args=(attempts[number::12],)) for number in range(12)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(won) == TRANSACTIONS and set(won.values()) == {1}
    assert other == {"REPLAYED": TRANSACTIONS * (ATTEMPTS - 1)}
    verify(postgres, system.schema)
    # Each has the whole record, whoever wrote it.
    for party in ("gatekeeper", "second"):
        records = all_records(system.client(party, AUDITOR))
        assert [record.index for record in records] == list(range(len(records)))
        granted = [record for record in records if record.event == FETCH and record.decision == GRANTED]
        assert len({record.transaction_id for record in granted}) == len(granted) == TRANSACTIONS


def test_what_one_is_told_binds_the_other_at_its_next_decision(pair):
    system = pair()
    first, second = both(system)
    bosses = [operator(system, party) for party in ("gatekeeper", "second")]
    system.put(first, "file", b"x")
    for number in range(200 if TORTURE else 20):
        teller, asked = bosses[number % 2], (first, second)[(number + 1) % 2]
        teller.revoke(object="file")
        assert outcome(system.get, asked, "file") == "REVOKED"
        (bosses[(number + 1) % 2]).reinstate(object="file")
        # What allows more is known at the others a moment later.
        until(lambda: outcome(system.get, (first, second)[number % 2], "file") == "", PATIENCE, "it is reinstated")
    # Two at once: one of them finds it done, or both are in order; the state is the same at both.
    tellers = [threading.Thread(target=boss.lockdown) for boss in bosses]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    assert [outcome(system.get, client, "file") for client in (first, second)] == ["LOCKDOWN"] * 2
    bosses[1].lockdown(release=True)
    for client in (first, second):
        until(lambda: outcome(system.get, client, "file") == "", PATIENCE, "it is released")
    # A third, which starts now, knows as well.
    bosses[0].revoke(prefix="f")
    system.add_gatekeeper("third")
    system.third.start()
    assert outcome(system.get, system.client("third"), "file") == "REVOKED"


def test_running_streams_of_the_other_are_cut(pair):
    system = pair()
    first, second = both(system)
    boss, auditor = operator(system, "gatekeeper"), system.client("gatekeeper", AUDITOR)
    system.put(first, "big", bytes(BIG))
    slow = system.client("second", options=[("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0)])
    call = slow.stub.Fetch(slow.pb.FetchRequest(envelope=system.propose("GET", "big")), timeout=PATIENCE)
    decision = next(call).head.record
    next(call)
    boss.revoke(object="big")

    def completion():
        records, _ = auditor.search(event=COMPLETION, limit=50)
        return next((record for record in records if record.decision_index == decision), None)

    ended = until(completion, PATIENCE, "the completion")
    assert ended.outcome == "REVOKED"
    with pytest.raises(grpc.RpcError) as error:
        for _ in call:
            pass
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_without_the_database_nothing_is_granted_and_it_comes_back_by_itself(pair, postgres):
    from grpc.health.v1 import health_pb2

    system = pair()
    clients = both(system)
    system.put(clients[0], "file", b"x")
    spent = system.propose("GET", "file")
    clients[1].fetch(spent)
    postgres.kill()
    try:
        for client in clients:
            assert outcome(client.cosign, system.propose("GET", "file")) == "LEDGER_UNAVAILABLE"
            assert outcome(client.fetch, spent) == "LEDGER_UNAVAILABLE"
            until(lambda: health(client) == health_pb2.HealthCheckResponse.NOT_SERVING, PATIENCE, "health is red")
        for party in (system.gatekeeper, system.second):
            assert "PostgreSQL at" in party.daemon.text() and "not serving" in party.daemon.text()
    finally:
        postgres.restart()
    for client in clients:
        until(lambda: outcome(client.cosign, system.propose("GET", "file")) == "", PATIENCE, "service")
        until(lambda: health(client) == health_pb2.HealthCheckResponse.SERVING, PATIENCE, "health is green")
        assert outcome(client.fetch, spent) == "REPLAYED"
    verify(postgres, system.schema)


def test_a_gatekeeper_that_is_cut_off_does_not_stop_the_other(pair, postgres):
    system = pair(cabled=True)
    first, second = both(system)
    boss = operator(system, "gatekeeper")
    system.put(first, "file", b"x")
    system.cables[1].cut()
    assert outcome(second.cosign, system.propose("GET", "file")) in ("LEDGER_UNAVAILABLE", "DEADLINE_EXCEEDED")
    # It may have held the head's lock: the server takes it back.
    until(lambda: outcome(system.get, first, "file") == "", PATIENCE, "the other serves")
    boss.revoke(object="file")
    assert outcome(system.get, second, "file") == "LEDGER_UNAVAILABLE"
    system.cables[1].mend()
    until(lambda: outcome(system.get, second, "file") == "REVOKED", PATIENCE, "it is back, and knows")
    verify(postgres, system.schema)


def trouble(system, postgres, kind, rng):
    if kind == "kill a gatekeeper":
        party = rng.choice([system.gatekeeper, system.second])
        party.kill()
        party.start()
    elif kind == "kill the database":
        postgres.kill()
        postgres.restart()
    elif kind == "reset":
        rng.choice(system.cables).reset()
    else:
        cable = rng.choice(system.cables)
        cable.cut()
        time.sleep(rng.random() * 2)
        cable.mend()


def test_kills_and_partitions(pair, postgres):
    """Load on both, trouble at random. No effect without a record, and no use spent twice."""
    seed = int(os.environ.get("TWOKEY_SEED", random.SystemRandom().getrandbits(32)))
    print(f"TWOKEY_SEED={seed}")
    rng = random.Random(seed)
    system = pair(cabled=True)
    system.put(system.client(), "file", b"content")
    heads, lock, stop = collections.defaultdict(list), threading.Lock(), threading.Event()
    counts = collections.Counter()

    def load(number):
        client, party = None, ("gatekeeper", "second")[number % 2]
        envelope = None
        while not stop.is_set():
            client = client or system.client(party, timeout=PATIENCE)
            # Every envelope is tried at both: by whoever made it, and by its neighbour.
            with lock:
                envelope = pool.pop() if pool else system.propose("GET", "file")
                if rng.random() < 0.5:
                    pool.append(envelope)
            try:
                for answer in client.stub.Fetch(client.pb.FetchRequest(envelope=envelope), timeout=PATIENCE):
                    if answer.HasField("head"):
                        with lock:
                            heads[envelope.payload].append(answer.head.record)
                counts["served"] += 1
            except grpc.RpcError as error:
                counts[Refused(error).reason or error.code().name] += 1
                if error.code() == grpc.StatusCode.UNAVAILABLE:
                    client.close()
                    client = None
                    stop.wait(0.05)

    pool = []
    workers = [threading.Thread(target=load, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    kinds = ["kill a gatekeeper", "kill the database", "reset", "partition"]
    for number in range(TROUBLES):
        served = counts["served"]
        until(lambda: counts["served"] > served, PATIENCE, f"service after {number} troubles")
        trouble(system, postgres, kinds[number % len(kinds)], rng)
    served = counts["served"]
    until(lambda: counts["served"] > served, PATIENCE, "service at the end")
    stop.set()
    for worker in workers:
        worker.join()
    verify(postgres, system.schema)
    records = all_records(system.client("second", AUDITOR))
    spent = collections.Counter(record.transaction_id for record in records
                                if record.event == FETCH and record.decision == GRANTED)
    assert all(count == 1 for count in spent.values()), "a use was spent twice, says the record"
    for indexes in heads.values():
        assert len(indexes) == 1, "a use was spent twice, saw the clients"
        record = records[indexes[0]]
        assert (record.event, record.decision) == (FETCH, GRANTED), "served without a record"
    print(dict(counts), len(records), "records")
