"""A network and an S3 server that fail in every way there is, between the gatekeeper and the bucket. What was stored is
there whole, what was not is not there at all or whole, and nothing is left behind: no part, no descriptor, no memory (the
sanitizer's leak check at the end).

60 transfers in `make check`, 2,000 in `make torture`."""
import collections
import concurrent.futures
import os
import random
import time

import pytest

from support import pki, s3
from support.client import Refused
from support.fault_proxy import FaultProxy
from support.process import free_port, until

TORTURE = bool(os.environ.get("TWOKEY_TORTURE"))
TRANSFERS = 2000 if TORTURE else 60
WORKERS = 6
STALL_TIMEOUT = 1
SEED = int(os.environ.get("TWOKEY_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
SIZES = [0, 1, 1000, 65536, 200_000, 1_000_000, 9 << 20, 17 << 20]
WEIGHTS = [1, 2, 4, 4, 4, 3, 2, 1]

pytestmark = [pytest.mark.torture, pytest.mark.timeout(3000 if TORTURE else 300)]


class Between:
    """A gatekeeper, the proxy, and versitygw without TLS behind it: what passes can be read and changed."""

    def __init__(self, make_system, folder):
        self.folder = folder
        self.gateway = s3.Versitygw(folder, pki.Authority(folder / "tls"), tls=False).start()
        self.gateway.make_bucket("reports")
        self.proxy = FaultProxy(free_port(), self.gateway.port, SEED, STALL_TIMEOUT + 1).start()
        bucket = {"name": "reports", "store": "s3", "endpoint": self.proxy.endpoint, "region": s3.REGION,
                  "access_key_id": s3.ACCESS, "path_style": True, "stall_timeout": STALL_TIMEOUT}
        self.proxy.faulty = False
        self.system = make_system(store=self.gateway, gatekeeper={"buckets": [bucket]})

    def stop(self):
        self.proxy.stop()
        self.gateway.stop()

    def open_uploads(self):
        return self.gateway.client().list_multipart_uploads(Bucket="reports").get("Uploads", [])


@pytest.fixture
def between(make_system, tmp_path):
    made = Between(make_system, tmp_path)
    try:
        yield made
    finally:
        made.stop()


class Model:
    """What the bucket may hold: of a key that was stored its content; of one whose Store failed that, or nothing."""

    def __init__(self):
        self.sure, self.maybe, self.outcomes = {}, {}, collections.Counter()

    def note(self, operation, error):
        self.outcomes[operation, error.reason if error else "ok"] += 1


def content(rng):
    return rng.randbytes(rng.choices(SIZES, WEIGHTS)[0])


def store_one(system, client, model, rng, number):
    key, data = f"faults/{number:05}", content(rng)
    try:
        receipt = client.store(system.propose("PUT", key, overwrite=rng.random() < 0.5), data)
        assert receipt.bytes == len(data)
        model.sure[key] = data
        model.note("store", None)
    except Refused as error:
        model.maybe[key] = data
        model.note("store", error)


def fetch_one(system, client, model, rng):
    known = list(model.sure.items())
    if not known:
        return
    key, data = rng.choice(known)
    try:
        assert client.fetch(system.propose("GET", key)).data == data
        model.note("fetch", None)
    except Refused as error:
        assert error.code.name in ("UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED"), error
        model.note("fetch", error)


def work(between, client, model, numbers, worker):
    rng = random.Random(SEED + worker)
    for number in numbers:
        if rng.random() < 0.5:
            store_one(between.system, client, model, rng, number)
        else:
            fetch_one(between.system, client, model, rng)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def check_bucket(between, client, model):
    """With nothing in the way any more."""
    for key, data in model.sure.items():
        assert client.fetch(between.system.propose("GET", key)).data == data, key
    for key, data in model.maybe.items():
        try:
            assert client.fetch(between.system.propose("GET", key)).data == data, f"{key} is half there"
        except Refused as error:
            assert error.reason == "OBJECT_NOT_FOUND", f"{key}: {error}"


def parts_left(between):
    """Bytes of parts in the server's own folder; an upload whose beginning was not answered has none."""
    folder = between.gateway.root / "reports" / ".sgwtmp"
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 0 and path.name.isdigit()]


def test_nothing_is_lost_and_nothing_left(between):
    system, model = between.system, Model()
    client = system.client(timeout=120)
    system.put(client, "faults/first", b"x")
    model.sure["faults/first"] = b"x"
    pid = system.gatekeeper.daemon.pid
    before = descriptors(pid)
    between.proxy.faulty = True
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for future in [pool.submit(work, between, client, model, range(worker, TRANSFERS, WORKERS), worker)
                       for worker in range(WORKERS)]:
            future.result()
    took = time.monotonic() - start
    between.proxy.faulty = False
    between.proxy.storm = 0
    check_bucket(between, client, model)
    until(lambda: descriptors(pid) <= before + 4 * WORKERS, what="descriptors are given back")
    until(lambda: not parts_left(between), timeout=60, what="no part is left")
    print(f"seed {SEED}: {TRANSFERS} transfers in {took:.0f} s; {dict(model.outcomes)}; faults {dict(between.proxy.done)}; "
          f"uploads begun and not known of: {len(between.open_uploads())}")
    # Every key is used once: whatever is there is ours, even when the answer that said so was lost, and the next as well.
    assert model.outcomes["store", "OBJECT_EXISTS"] == 0
    assert sum(count for fault, count in between.proxy.done.items() if fault != "none") > TRANSFERS / 10
    assert model.outcomes["store", "ok"] > TRANSFERS / 10 and model.outcomes["fetch", "ok"] > TRANSFERS / 20
