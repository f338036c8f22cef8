"""kill -9 at random moments under load. Afterwards what the clients received is compared with the record: no use was
spent twice, every granted transfer has its record, the ledger opens and goes on.

20 kills in `make check`, 200 in `make torture`."""
import collections
import hashlib
import os
import random
import threading
import time

import grpc
import pytest

from support import dsse
from support.client import Refused
from support.deployment import AUDITOR
from support.process import until

TORTURE = bool(os.environ.get("TWOKEY_TORTURE"))
KILLS = {"embedded": 200 if TORTURE else 20, "postgresql": 200 if TORTURE else 4}
WORKERS = 6
OBJECTS = 8
GRANTED = 1
FETCH, STORE, COSIGN, COMPLETION, START, RECOVERY, GAP = 5, 6, 4, 9, 1, 11, 17
TRANSFERS = (5, 6, 7, 8)

pytestmark = [pytest.mark.torture, pytest.mark.timeout(3000 if TORTURE else 400)]


class Observed:
    """What clients saw, across all lives of the server."""

    def __init__(self):
        self.lock = threading.Lock()
        self.heads = collections.defaultdict(list)  # transaction id -> records of the Fetch heads received
        self.uses = {}  # transaction id -> how many it has
        self.cosigned = []  # (transaction id, record)
        self.stored = {}  # key -> (SHA-256, record)
        self.tried = []  # keys whose Store had no answer
        self.spent = []  # envelopes of which every use was seen to be spent
        self.unexpected = []


def fetch(client, envelope, uses, seen):
    """A Fetch that notes how far it came."""
    identity = dsse.messages().Transaction.FromString(envelope.payload).id
    with seen.lock:
        seen.uses[identity] = uses
    whole = False
    for response in client.stub.Fetch(client.pb.FetchRequest(envelope=envelope), timeout=30):
        if response.HasField("head"):
            with seen.lock:
                seen.heads[identity].append(response.head.record)
        whole = response.HasField("tail")
    assert whole, "a stream ended well without its tail"


def one_fetch(system, client, seen, rng):
    envelope = system.propose("GET", f"base/{rng.randrange(OBJECTS)}")
    fetch(client, envelope, 1, seen)
    with seen.lock:
        seen.spent.append(envelope)


def contested_fetch(system, client, seen, rng):
    """One transaction with two uses, asked for three times at once by this worker and its twins."""
    envelope = system.propose("GET", f"base/{rng.randrange(OBJECTS)}", uses=2)
    failures = []

    def attempt():
        try:
            fetch(client, envelope, 2, seen)
        except (Refused, grpc.RpcError) as error:
            failures.append(error)

    twins = [threading.Thread(target=attempt) for _ in range(3)]
    for twin in twins:
        twin.start()
    for twin in twins:
        twin.join()
    for failure in failures:
        if refusal_of(failure) != "REPLAYED":
            raise failure


def refusal_of(error):
    return error.reason if isinstance(error, Refused) else Refused(error).reason


def one_cosign(system, client, seen, rng):
    envelope = system.propose("GET", f"base/{rng.randrange(OBJECTS)}")
    answer = client.cosign(envelope)
    with seen.lock:
        seen.cosigned.append((dsse.messages().Transaction.FromString(envelope.payload).id, answer.record))


def one_store(system, client, seen, rng):
    key, data = f"stored/{rng.getrandbits(64):016x}", rng.randbytes(rng.randrange(0, 400_000))
    with seen.lock:
        seen.tried.append(key)
    answer = client.store(system.propose("PUT", key), data)
    with seen.lock:
        seen.stored[key] = (hashlib.sha256(data).digest(), answer.record)


JOBS = [one_fetch, one_fetch, contested_fetch, one_cosign, one_store]


def work(system, seen, seed, stop, started):
    """Random jobs until the server dies."""
    rng = random.Random(seed)
    client = system.client(timeout=30)
    try:
        while not stop.is_set():
            try:
                rng.choice(JOBS)(system, client, seen, rng)
                started.set()
            except (Refused, grpc.RpcError) as error:
                code = error.code if isinstance(error, Refused) else error.code()
                if code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL):
                    seen.unexpected.append(error)
                return
    except Exception as error:
        seen.unexpected.append(error)
    finally:
        client.close()


def one_life(system, seen, rng):
    """Load, then a kill at a random moment, then a start."""
    stop, started = threading.Event(), threading.Event()
    workers = [threading.Thread(target=work, args=(system, seen, rng.getrandbits(64), stop, started))
               for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    assert started.wait(30), f"no job ended well: {seen.unexpected}"
    time.sleep(rng.random() * 0.4)  # the random moment
    system.gatekeeper.kill()
    stop.set()
    for worker in workers:
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    system.gatekeeper.start()


def searchable(auditor):
    """The index opens beside the service, which does not wait for it."""
    try:
        return auditor.search(limit=1)
    except Refused as refusal:
        assert refusal.code == grpc.StatusCode.UNAVAILABLE, refusal
        return None


def all_records(auditor):
    """The whole record, oldest first."""
    _, tail = until(lambda: searchable(auditor), what="the search index is open")
    committed = tail.committed
    records, below = [], committed
    while below:
        page, _ = auditor.search(before_index=below, wait_for_index=committed - 1)
        assert page, f"nothing below {below}"
        records += page
        below = page[-1].index
    return records[::-1]


def compare(seen, records, ledger):
    """The three things that must hold."""
    assert [record.index for record in records] == list(range(len(records))), "the record has holes"
    times = [record.time.ToNanoseconds() for record in records]
    assert times == sorted(times), "time ran backwards"
    spent = collections.Counter(record.transaction_id for record in records
                                if record.event == FETCH and record.decision == GRANTED)
    for identity, uses in seen.uses.items():
        assert spent[identity] <= uses, "a use was spent twice, says the record"
        assert len(seen.heads[identity]) <= uses, "a use was spent twice, saw the clients"
        for index in seen.heads[identity]:
            record = records[index]
            assert (record.event, record.decision, record.transaction_id) == (FETCH, GRANTED, identity)
        assert len(set(seen.heads[identity])) == len(seen.heads[identity])
    for identity, index in seen.cosigned:
        record = records[index]
        assert (record.event, record.decision, record.transaction_id) == (COSIGN, GRANTED, identity)
    begun = [record.index for record in records if record.event in TRANSFERS and record.decision == GRANTED]
    ended = collections.Counter(record.decision_index for record in records
                                if record.event == COMPLETION)
    assert set(ended) <= set(begun) and set(ended.values()) <= {1}
    if ledger == "embedded":  # in a shared one, nobody knows for certain that another process has died
        assert ended == collections.Counter(begun), "each transfer that was granted ends on record, exactly once"
    completions = {record.decision_index: record for record in records if record.event == COMPLETION}
    for key, (digest, index) in seen.stored.items():
        record = records[index]
        assert (record.event, record.decision, record.object) == (STORE, GRANTED, key)
        assert completions[index].outcome == "complete" and completions[index].sha256 == digest


def ledger_of(request, kind):
    """The ledger's configuration."""
    if kind == "embedded":
        return {"directory": "ledger"}
    connection = request.getfixturevalue("postgres").connection
    return {"directory": "ledger", "postgresql": {"connection": connection}}


@pytest.mark.parametrize("ledger", ["embedded", "postgresql"])
def test_kill_at_any_moment(make_system, release_bin, request, ledger):
    seed = int(os.environ.get("TWOKEY_SEED", random.SystemRandom().getrandbits(32)))
    print(f"TWOKEY_SEED={seed}")
    rng, seen = random.Random(seed), Observed()
    kills, system = KILLS[ledger], make_system(binary=release_bin, gatekeeper={"ledger": ledger_of(request, ledger)})
    client = system.client()
    for number in range(OBJECTS):
        system.put(client, f"base/{number}", os.urandom(1 << (8 + 2 * number)))
    for _ in range(kills):
        one_life(system, seen, rng)
        assert not seen.unexpected, seen.unexpected[:3]
        after_life(system, seen, rng)

    auditor = system.client("gatekeeper", AUDITOR)
    records = all_records(auditor)
    compare(seen, records, ledger)
    starts = [record for record in records if record.event == START]
    assert len(starts) == kills + 1
    if ledger == "embedded":  # of a shared one a process that starts does not know whether the others have ended
        assert sum(record.event == GAP for record in records) == kills, "each start says that the end before it was none"
    check_objects(system, seen)
    interrupted = sum(record.outcome == "interrupted" for record in records)
    print(f"{kills} kills, {interrupted} interrupted transfers, {len(records)} records, {len(seen.uses)} transactions fetched, {len(seen.stored)} objects "
          f"stored, {sum(1 for record in records if record.event == RECOVERY)} recoveries")
    assert len(seen.spent) > kills and len(seen.stored) > kills / 4, "there was hardly any load"


def after_life(system, seen, rng):
    """What was spent before the kill is spent after it."""
    client = system.client()
    for envelope in rng.sample(seen.spent, min(3, len(seen.spent))) + seen.spent[-3:]:
        with pytest.raises(Refused) as refused:
            client.fetch(envelope)
        assert refused.value.reason in ("REPLAYED", "EXPIRED"), refused.value
    client.close()


def check_objects(system, seen):
    """What was acknowledged is there, whole; what was not is there whole or not at all."""
    client = system.client()
    for key, (digest, _) in seen.stored.items():
        assert hashlib.sha256(system.get(client, key).data).digest() == digest
    for key in seen.tried:
        if key in seen.stored:
            continue
        try:
            system.get(client, key)  # the client checks the tail's hash
        except Refused as refusal:
            assert refusal.reason == "OBJECT_NOT_FOUND", refusal


def test_a_torn_last_write_is_found_and_told(make_system):
    """The tail of the log, cut at every kind of place, as a power failure might leave it: it opens, says what it found, and
    goes on. A record that was acknowledged and is damaged is another matter: that ledger does not open."""
    system = make_system()
    client = system.client()
    for number in range(5):
        client.cosign(system.propose("GET", f"torn/{number}"))
    system.gatekeeper.kill()
    system.gatekeeper.start()
    auditor = system.client("gatekeeper", AUDITOR)
    records = all_records(auditor)
    assert [record.index for record in records] == list(range(len(records)))
    system.client().cosign(system.propose("GET", "torn/after"))

    system.gatekeeper.kill()
    segments = sorted((system.gatekeeper.folder / "ledger").rglob("*.log")) or \
        [path for path in (system.gatekeeper.folder / "ledger").rglob("*") if path.stat().st_size > 1 << 20]
    assert segments, "no segment found"
    data = bytearray(segments[0].read_bytes())
    at = data.index(b"torn/1")  # in the middle: acknowledged, followed by others
    data[at] ^= 1
    segments[0].write_bytes(data)
    done = system.twokey("serve", "--config", system.gatekeeper.path)
    assert done.code == 1, done
    assert done.err, "it must say where"
    data[at] ^= 1
    segments[0].write_bytes(data)
    system.gatekeeper.start()


def test_disk_trouble_grants_nothing(make_system):
    """When the record cannot be written, nothing is granted, health says so, and it is not our doing that must mend it."""
    system = make_system(start=False)
    system.vendor.start()
    # The log is preallocated in segments: a limit on the size of files stops the next one.
    system.gatekeeper.config["ledger"]["segment_size"] = 1 << 20
    system.gatekeeper.write()
    system.gatekeeper.start(prefix=["prlimit", "--fsize=1200000:1200000"])
    client = system.client()
    envelope, granted, refusal = system.propose("GET", "full"), 0, None
    while refusal is None and granted < 20_000:
        try:
            client.cosign(envelope)
            granted += 1
        except Refused as error:
            refusal = error
    assert refusal is not None, "it granted without a record"
    assert refusal.code == grpc.StatusCode.UNAVAILABLE, refusal
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            client.cosign(system.propose("GET", "full"))
        assert refused.value.code == grpc.StatusCode.UNAVAILABLE
    # All that was granted is on record after a start without the limit.
    system.gatekeeper.kill()
    system.gatekeeper.start()
    records = all_records(system.client("gatekeeper", AUDITOR))
    assert sum(record.event == COSIGN and record.decision == GRANTED for record in records) >= granted
    system.client().cosign(system.propose("GET", "room again"))
