"""Keys are replaced while serving: nothing fails, nothing that was signed or sealed before is lost, every step is on
record, and an old key leaves only when nothing needs it."""
import hashlib
import os
import threading

import pytest
from cryptography.hazmat.primitives import serialization

from support import dsse, s3
from support.client import Client, Refused, refusing
from support.deployment import AUDITOR, BACKEND, OPERATOR
from support.operator import operator as policy_operator

pytestmark = pytest.mark.timeout(180)

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


class KeyOperator(Client):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        from twokey.v1 import key_pb2, key_pb2_grpc

        self.key_pb, self.keys = key_pb2, key_pb2_grpc.KeyStub(self.channel)

    def role(self, name):
        return self.audit_pb.KeyRole.Value("KEY_ROLE_" + name.upper())

    @refusing
    def list(self):
        answer = self.keys.List(self.key_pb.ListKeysRequest(), timeout=self.timeout)
        return {(self.audit_pb.KeyRole.Name(key.role)[9:].lower(), key.generation): key for key in answer.keys}

    def states(self):
        return {name: self.key_pb.KeyState.Name(key.state)[10:] for name, key in self.list().items()}

    @refusing
    def use(self, role, generation, bucket="", why="rotation", **fields):
        return self.keys.Use(self.key_pb.UseKeyRequest(role=self.role(role), generation=generation, bucket=bucket, why=why,
                                                       **fields), timeout=self.timeout)

    @refusing
    def retire(self, role, generation, bucket="", why="rotation"):
        request = self.key_pb.RetireKeyRequest(role=self.role(role), generation=generation, bucket=bucket, why=why)
        return list(self.keys.Retire(request, timeout=self.timeout))[-1]

    @refusing
    def count(self, bucket):
        told = list(self.keys.Count(self.key_pb.CountObjectsRequest(bucket=bucket), timeout=self.timeout))
        assert told[-1].complete
        return {entry.key_id: entry.objects for entry in told[-1].counts}


def operator(system, party="gatekeeper", identity=OPERATOR):
    made = KeyOperator(getattr(system, party).address, system.authority.path, system.identities[identity])
    system.clients.append(made)
    return made


def key_new(system, party, *arguments, stdin=b""):
    done = system.twokey("key", "new", "--config", getattr(system, party).path, *arguments, stdin=stdin)
    assert done.code == 0, done.err.decode()
    return done.out.decode()


def key_id(path):
    public = serialization.load_pem_public_key(path.read_bytes())
    return hashlib.sha256(public.public_bytes(serialization.Encoding.DER,
                                              serialization.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


class Load:
    """Threads that go through authorize, store and fetch until told to stop; `failed` is what went wrong."""

    def __init__(self, system, threads=4):
        self.system, self.stop, self.failed, self.done, self.keyids = system, threading.Event(), [], 0, set()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(threads)]
        self.lock, self.moved = threading.Lock(), threading.Condition()

    def run(self, number):
        backend, client = self.system.client("vendor", BACKEND), self.system.client()
        turn = 0
        while not self.stop.is_set():
            try:
                name, data, turn = f"load/{number}/{turn}", os.urandom(1000), turn + 1
                for operation in ("PUT", "GET"):
                    envelope = backend.authorize(operation, self.system.bucket, name).envelope
                    with self.lock:
                        self.keyids.update(signature.keyid for signature in envelope.signatures)
                    if operation == "PUT":
                        client.store(client.cosign(envelope).envelope, data)
                    else:
                        assert client.fetch(envelope).data == data
            except Exception as error:  # whatever it is: the test says it
                self.failed.append(repr(error))
                return
            with self.moved:
                self.done += 1
                self.moved.notify_all()

    def more(self, rounds):
        """Waits until so many more rounds have been done."""
        with self.moved:
            goal = self.done + rounds
            assert self.moved.wait_for(lambda: self.done >= goal or self.failed, 60) and not self.failed, self.failed

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        assert not self.failed, self.failed


def test_every_key_is_replaced_under_load(make_system):
    """Vendor's and gatekeeper's transaction keys, audit key and KEK change while four clients work: no call fails."""
    system = make_system(start=False)
    system.gatekeeper.config["vendor_keys"].append({"name": "acme-2", "public_key": "../vendor/vendor.transaction-2.pem"})
    system.gatekeeper.write()
    assert "made twokey-transaction@2" in key_new(system, "vendor", "transaction")
    system.start()
    at_vendor, at_gatekeeper = operator(system, "vendor"), operator(system)
    first = {name: key.key_id for name, key in at_gatekeeper.list().items()}
    with Load(system) as load:
        load.more(8)
        at_vendor.use("transaction", 2, why="yearly")
        load.more(8)
        for role, bucket in (("transaction", ""), ("audit", ""), ("kek", system.bucket)):
            key_new(system, "gatekeeper", role, *(["--bucket", bucket] if bucket else []))
            at_gatekeeper.use(role, 2, bucket)
            load.more(8)
    vendor = system.vendor.folder
    assert {key_id(vendor / "vendor.transaction.pem"), key_id(vendor / "vendor.transaction-2.pem")} <= load.keyids
    now = at_gatekeeper.list()
    assert at_gatekeeper.states() == {**{(role, 1): "OLD" for role in ("transaction", "audit", "kek")},
                                      **{(role, 2): "CURRENT" for role in ("transaction", "audit", "kek")}}
    assert now["transaction", 2].key_id == key_id(system.gatekeeper.folder / "gatekeeper.transaction-2.pem")
    assert now["audit", 2].key_id == key_id(system.gatekeeper.folder / "gatekeeper.audit-2.pem")
    assert {name: now[name].key_id for name in first} == first, "the first generations are what they were"
    counts = at_gatekeeper.count(system.bucket)
    assert counts[now["kek", 1].key_id] > 0 and counts[now["kek", 2].key_id] > 0
    assert sum(counts.values()) >= load.done

    # On record: who, what, why; and the same after a restart, with and without a snapshot.
    records, _ = system.client("gatekeeper", AUDITOR).search(event=system.client().audit_pb.EVENT_KEY)
    used = [record for record in records if record.key_action == 2]
    assert [record.key_label for record in reversed(used)] == ["twokey-transaction@2", "twokey-audit@2",
                                                               f"twokey-kek-{system.bucket}@2"]
    assert all(record.identity == OPERATOR and record.why == "rotation" for record in used)
    found = [record for record in records if record.key_action == 1]
    assert {record.key_id for record in found} == {now[role, 2].key_id for role in ("transaction", "audit", "kek")}
    snapshot = system.gatekeeper.folder / "ledger" / "restrictions.snapshot"
    for remove in (False, True):
        assert system.gatekeeper.stop() == 0
        if remove:
            snapshot.unlink()
        system.gatekeeper.start()
        after = operator(system)
        assert after.states()["kek", 2] == "CURRENT" and after.states()["kek", 1] == "OLD"
        client = system.client()
        assert system.get(client, "load/0/0").data
        assert client.cosign(system.propose("GET", "load/0/0")).envelope.signatures[1].keyid == now["transaction", 2].key_id


def test_what_was_signed_before_counts_after(make_system):
    """An envelope co-signed by the old key is used after the change: no second co-signature is made."""
    system = make_system()
    client, at = system.client(), operator(system)
    system.put(client, "a", b"bytes")
    signed = client.cosign(system.propose("GET", "a")).envelope
    key_new(system, "gatekeeper", "transaction")
    at.use("transaction", 2)
    fetched = client.fetch(signed)
    assert fetched.data == b"bytes"
    assert [signature.keyid for signature in fetched.head.envelope.signatures] == \
        [signature.keyid for signature in signed.signatures]
    # Back again: a rotation can be undone.
    at.use("transaction", 1)
    assert client.cosign(system.propose("GET", "a")).envelope.signatures[1].keyid == at.list()["transaction", 1].key_id


def test_an_old_transaction_key_from_the_new_one_to_its_end(make_system, release_bin):
    """A vendor's key, all the way: both count while both are trusted, the old one's envelopes are refused when the
    gatekeeper has withdrawn it, and it is retired when nothing that it signed can be valid any more."""
    system = make_system(start=False, binary=release_bin)  # sanitizers and faketime do not go together
    key_new(system, "vendor", "transaction")
    system.start()
    backend, client, at = system.client("vendor", BACKEND), system.client(), operator(system, "vendor")
    auditor, boss = system.client("gatekeeper", AUDITOR), policy_operator(system)
    system.put(client, "a", b"bytes")

    def signer(envelope):
        return auditor.record(client.cosign(envelope).record).vendor_key

    def trust(*names):
        keys = {"acme": "../vendor/vendor.transaction.pem", "acme-2": "../vendor/vendor.transaction-2.pem"}
        system.gatekeeper.config["vendor_keys"] = [{"name": name, "public_key": keys[name]} for name in names]
        system.gatekeeper.write()
        boss.reload()

    old = backend.authorize("GET", system.bucket, "a").envelope
    trust("acme", "acme-2")
    at.use("transaction", 2)
    new = backend.authorize("GET", system.bucket, "a").envelope
    assert signer(old) == "acme" and signer(new) == "acme-2"
    with pytest.raises(Refused) as refused:
        at.retire("transaction", 1)
    assert refused.value.reason == "KEY_NEEDED" and "valid for another" in refused.value.message

    trust("acme-2")
    for call in (client.cosign, client.fetch):
        with pytest.raises(Refused) as refused:
            call(old)
        assert refused.value.reason == "SIGNATURE_INVALID"
        record = auditor.record(refused.value.record)
        assert record.reason == "SIGNATURE_INVALID" and record.decision == auditor.audit_pb.DECISION_DENIED
    assert client.fetch(new).data == b"bytes"

    # Ten minutes later.
    assert system.vendor.stop() == 0
    system.env.update(LD_PRELOAD=FAKETIME, FAKETIME="+10m", FAKETIME_DONT_FAKE_MONOTONIC="1")
    system.vendor.start()
    at = operator(system, "vendor")
    index = at.retire("transaction", 1, why="yearly rotation").record
    record = system.client("vendor", AUDITOR).record(index)
    assert (record.event, record.key_action, record.key_label) == (auditor.audit_pb.EVENT_KEY, 3, "twokey-transaction")
    assert (record.identity, record.why) == (OPERATOR, "yearly rotation")
    system.vendor.restart()
    states = operator(system, "vendor").states()
    assert states["transaction", 1] == "RETIRED" and states["transaction", 2] == "CURRENT"


def test_retiring_is_refused_while_something_needs_the_key(make_system):
    system = make_system()
    client, at = system.client(), operator(system)
    system.put(client, "old", b"sealed under the first")
    for role, bucket in (("transaction", ""), ("audit", ""), ("kek", system.bucket)):
        key_new(system, "gatekeeper", role, *(["--bucket", bucket] if bucket else []))
        with pytest.raises(Refused) as refused:
            at.retire(role, 1, bucket)
        assert refused.value.reason == "KEY_NEEDED", "it is current"
        at.use(role, 2, bucket)
    with pytest.raises(Refused) as refused:
        at.retire("transaction", 1)
    assert refused.value.reason == "KEY_NEEDED" and "valid for another" in refused.value.message
    with pytest.raises(Refused) as refused:
        at.retire("kek", 1, system.bucket)
    assert refused.value.reason == "KEY_NEEDED" and "1 of 1 objects" in refused.value.message
    assert system.get(client, "old").data == b"sealed under the first"
    system.put(client, "old", b"sealed anew", overwrite=True)
    assert at.retire("kek", 1, system.bucket).complete
    assert at.retire("audit", 1).complete
    assert at.states()["kek", 1] == "RETIRED"
    with pytest.raises(Refused) as refused:
        at.retire("kek", 1, system.bucket)
    assert refused.value.reason == "KEY_UNUSABLE"
    system.gatekeeper.restart()
    assert operator(system).states()["kek", 1] == "RETIRED"
    assert system.get(system.client(), "old").data == b"sealed anew"


def test_who_may_and_what_is_refused(make_system):
    system = make_system()
    at, auditor = operator(system), operator(system, identity=AUDITOR)
    assert auditor.states()["audit", 1] == "CURRENT"
    key_new(system, "gatekeeper", "transaction")
    for who, arguments, reason in ((auditor, ("transaction", 2), "CALLER_NOT_ALLOWED"), (at, ("transaction", 3), "NO_SUCH_KEY"),
                                   (at, ("transaction", 1), "KEY_UNUSABLE"), (at, ("kek", 1, "nowhere"), "NO_SUCH_KEY")):
        with pytest.raises(Refused) as refused:
            who.use(*arguments)
        assert refused.value.reason == reason, arguments
    with pytest.raises(Refused) as refused:
        at.use("transaction", 2, why="")
    assert refused.value.reason == "MALFORMED"
    # A refusal says what was asked for.
    record = system.client("gatekeeper", AUDITOR).record(refused.value.record)
    assert record.event == system.client().audit_pb.EVENT_KEY and record.key_label == "twokey-transaction@2"


def test_a_new_s3_secret(make_system, versitygw):
    """A secret that the bucket does not accept never becomes current; one that it does is used at once, and after a
    restart."""
    system = make_system(store=versitygw)
    client, at = system.client(), operator(system)
    system.put(client, "before", b"1")
    key_new(system, "gatekeeper", "s3", "--bucket", system.bucket, "--s3-secret", "-", stdin=b"x" * 40 + b"\n")
    with pytest.raises(Refused) as refused:
        at.use("s3", 2, system.bucket)
    assert refused.value.reason == "KEY_UNUSABLE"
    key_new(system, "gatekeeper", "s3", "--bucket", system.bucket, "--s3-secret", "-", stdin=s3.SECRET.encode() + b"\n")
    with pytest.raises(Refused) as refused:
        at.use("s3", 3, system.bucket, access_key_id="nobody")
    assert refused.value.reason == "KEY_UNUSABLE"
    at.use("s3", 3, system.bucket, access_key_id=s3.ACCESS)
    assert at.states()["s3", 3] == "CURRENT" and at.list()["s3", 3].access_key_id == s3.ACCESS
    system.put(client, "after", b"2")
    assert system.get(client, "before").data == b"1"
    system.gatekeeper.restart()
    assert system.get(system.client(), "after").data == b"2"
    assert operator(system).retire("s3", 1, system.bucket).complete


def test_the_command_line(make_system):
    system = make_system()
    system.put(system.client(), "a", b"bytes")
    out = key_new(system, "gatekeeper", "kek", "--bucket", system.bucket)
    assert f"made twokey-kek-{system.bucket}@2" in out and f"twokey key use kek 2 --bucket {system.bucket}" in out
    connection = system.connection("gatekeeper", OPERATOR)

    def key(*arguments):
        return system.twokey("key", *arguments, *connection)

    done = key("use", "kek", "2", "--bucket", system.bucket, "--why", "a test")
    assert done.code == 0 and b"current: " in done.out, done.err
    done = key("status", "--count")
    assert done.code == 0 and f"1 objects of {system.bucket} are sealed under twokey-kek-{system.bucket}\n" in done.out.decode()
    assert "CURRENT twokey-kek-" in done.out.decode() and "a test" in done.out.decode()
    done = key("retire", "kek", "1", "--bucket", system.bucket, "--why", "a test")
    assert done.code == 3 and b"KEY_NEEDED" in done.err
    assert key("use", "kek", "--why", "x").code == 2 and key("use", "nothing", "1", "--why", "x").code == 2
    for arguments in (["nothing"], ["kek"], ["kek", "--bucket", "nowhere"], ["s3", "--bucket", system.bucket],
                      ["transaction", "--s3-secret", "-"]):
        assert system.twokey("key", "new", "--config", system.gatekeeper.path, *arguments, stdin=b"x" * 40).code != 0, arguments
