"""The twelve weaknesses of this service's predecessor, one test each: the attack first, then why it fails here. And the
first ten fields of a transaction, each changed by one byte.

`system.stolen` is a vendor key that the gatekeeper trusts and whose private half the test holds: these are attacks that
even the owner of a vendor's key can make."""
import concurrent.futures
import hashlib
import os
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils

from support import dsse, pki
from support.client import Client, Refused
from support.deployment import AUDITOR, OPEN_RULES

GRANTED, COMPLETION = 1, 9  # audit.proto: Decision, Event


def refused(reason, call, *arguments, **options):
    """Asserts that a call is refused for a reason. Returns the refusal."""
    with pytest.raises(Refused) as caught:
        call(*arguments, **options)
    assert caught.value.reason == reason, caught.value
    return caught.value


def copy_of(envelope):
    made = type(envelope)()
    made.CopyFrom(envelope)
    return made


def test_01_the_signature_covers_the_whole_path(system, client, backend):
    """Then: only the last part of the path was signed, so a link to one folder opened another."""
    system.put(client, "ward/4711/report.txt", b"mine")
    system.put(client, "ward/4712/report.txt", b"not mine")
    honest = backend.authorize("GET", "reports", "ward/4711/report.txt").envelope
    attack = copy_of(honest)
    attack.payload = honest.payload.replace(b"ward/4711", b"ward/4712")
    refused("SIGNATURE_INVALID", client.fetch, attack)

    start = honest.payload.index(b"ward/4711/report.txt")
    for at in range(start, start + len(b"ward/4711/report.txt")):
        attack.payload = dsse.flip(honest.payload, at)
        refused("SIGNATURE_INVALID", client.fetch, attack)
    assert client.fetch(honest).data == b"mine"


def test_02_fields_cannot_run_into_one_another(system, client):
    """Then: fields were joined without separators before signing; moving a boundary kept the signature valid."""
    pairs = [({"account": "ac", "subject": "me"}, {"account": "a", "subject": "cme"}),
             ({"account": "acme1", "subject": "1"}, {"account": "acme", "subject": "11"})]
    for signed, wanted in pairs:
        first = dsse.transaction("GET", "reports", "x", **signed)
        second = dsse.transaction("GET", "reports", "x", **wanted)
        second.id = first.id
        envelope = dsse.sign(first.SerializeToString(), system.stolen)
        client.cosign(envelope)
        envelope.payload = second.SerializeToString()
        refused("SIGNATURE_INVALID", client.cosign, envelope)
    # The same between payload type and payload.
    envelope = dsse.sign(dsse.transaction("GET", "reports", "x").SerializeToString(), system.stolen)
    envelope.payload_type, envelope.payload = envelope.payload_type[:-1], b"f" + envelope.payload
    with pytest.raises(Refused) as caught:
        client.cosign(envelope)
    assert caught.value.reason in ("SIGNATURE_INVALID", "MALFORMED")


def test_03_expiry_is_bounded_by_the_customer(system, client, backend):
    """Then: whoever signed chose any expiry, and links lived for years."""
    for lifetime in (301, 3601, 86_400, 10 * 365 * 86_400, 200_000_000_000):
        refused("LIFETIME_TOO_LONG", client.fetch, system.propose("GET", "x", lifetime=lifetime))
    for lifetime in (0, -1):
        refused("MALFORMED", client.fetch, system.propose("GET", "x", lifetime=lifetime))
    refused("LIFETIME_TOO_LONG", backend.authorize, "GET", "reports", "x", lifetime_seconds=301)
    refused("LIFETIME_TOO_LONG", backend.authorize, "GET", "reports", "x", lifetime_seconds=2**32 - 1)


def test_04_once_means_once(make_system):
    """Then: a captured request could be sent again until it expired."""
    system = make_system()
    client = system.client()
    system.put(client, "once", b"once")
    envelope = system.propose("GET", "once")
    cosigned = client.cosign(envelope).envelope
    assert client.fetch(cosigned).data == b"once"

    # The same in all its disguises: without the second signature, in another order, with a twisted but valid signature.
    reordered = copy_of(cosigned)
    reordered.signatures.reverse()
    r, s = utils.decode_dss_signature(envelope.signatures[0].sig)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    twisted = copy_of(envelope)
    twisted.signatures[0].sig = utils.encode_dss_signature(r, order - s)
    for disguise in (cosigned, envelope, reordered, twisted):
        refused("REPLAYED", client.fetch, disguise)

    # Sixteen at the same moment: one wins.
    envelope = system.propose("GET", "once")
    clients = [system.client() for _ in range(16)]
    barrier = threading.Barrier(len(clients))

    def attempt(one):
        barrier.wait()
        try:
            return one.fetch(envelope).data
        except Refused as refusal:
            return refusal.reason

    with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
        results = list(pool.map(attempt, clients))
    assert sorted(map(str, results)) == sorted([str(b"once")] + ["REPLAYED"] * 15)

    # After a restart, and after a kill.
    system.gatekeeper.restart()
    refused("REPLAYED", system.client().fetch, envelope)
    system.gatekeeper.kill()
    system.gatekeeper.start()
    refused("REPLAYED", system.client().fetch, envelope)


ELSEWHERE = """
version: 1
rules:
  - {name: guests-read, effect: allow, operations: [GET, LIST], objects: ["public/**"]}
  - {name: from-the-clinic, effect: allow, operations: [GET, PUT, LIST, DELETE], networks: [192.0.2.0/24]}
"""


def test_05_uploads_obey_the_address_rule(make_system):
    """Then: the address was checked for downloads only."""
    system = make_system(rules=ELSEWHERE)
    client = system.client()
    refused("NETWORK_DENIED", client.store, system.propose("PUT", "ward/1"), b"x")
    refused("NETWORK_DENIED", client.store, system.propose("PUT", "public/1"), b"x")
    refused("NETWORK_DENIED", client.fetch, system.propose("GET", "ward/1"))
    refused("NETWORK_DENIED", client.list, system.propose("LIST", "ward/"))
    refused("NETWORK_DENIED", client.remove, system.propose("DELETE", "ward/1"))
    refused("NETWORK_DENIED", client.cosign, system.propose("PUT", "ward/1"))
    # Not even the vendor's word helps: its constraints only narrow.
    refused("NETWORK_DENIED", client.store, system.propose("PUT", "ward/1", networks=["127.0.0.0/8"]), b"x")
    assert not system.objects()


def test_06_a_copy_is_worth_nothing_without_the_holders_key(system, client):
    """Then: the link was a bearer link; whoever had it could use it."""
    system.put(client, "held", b"held")
    holder, thief = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    named = {"holder_key_sha256": hashlib.sha256(pki.public_der(holder)).digest()}
    envelope = system.propose("GET", "held", **named)
    other = system.propose("GET", "held", **named)
    fetch, cosign = "/twokey.v1.Gatekeeper/Fetch", "/twokey.v1.Gatekeeper/CoSign"
    good = dsse.holder_proof(envelope, holder, fetch)
    bad = {
        "none": None,
        "the thief's key": dsse.holder_proof(envelope, thief, fetch),
        "for another envelope": dsse.holder_proof(other, holder, fetch),
        "for another method": dsse.holder_proof(envelope, holder, cosign),
        "too old": dsse.holder_proof(envelope, holder, fetch, now=time.time() - 120),
        "from the future": dsse.holder_proof(envelope, holder, fetch, now=time.time() + 120),
    }
    wrong = copy_of(good)
    wrong.signature = dsse.flip(good.signature, 40)
    bad["a changed signature"] = wrong
    for what, proof in bad.items():
        refusal = refused("HOLDER_PROOF_INVALID", client.fetch, envelope, proof)
        assert refusal.record is not None, what
    refused("HOLDER_PROOF_INVALID", client.cosign, envelope, good)  # made for Fetch
    assert client.fetch(envelope, good).data == b"held"
    refused("REPLAYED", client.fetch, envelope, dsse.holder_proof(envelope, holder, fetch))


def test_07_a_list_is_complete(make_system, versitygw):
    """Then: a list ended at 1,000 objects and left out empty ones."""
    system = make_system(store=versitygw)
    client = system.client()
    system.put(client, "many/empty", b"")
    system.put(client, "many/full", b"12345")
    s3 = versitygw.client()

    def copy(number):
        source = "many/empty" if number % 2 else "many/full"
        s3.copy_object(Bucket="reports", Key=f"many/{number:05}", CopySource={"Bucket": "reports", "Key": source})

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(copy, range(2_203)))
    system.put(client, "other/one", b"elsewhere")
    entries, tail = client.list(system.propose("LIST", "many/"))
    names = [entry.object for entry in entries]
    assert names == sorted(names, key=str.encode) and len(set(names)) == len(names) == tail.count == 2_205
    assert {entry.size for entry in entries} == {0, 5}
    assert sum(entry.size == 0 for entry in entries) == 1_102
    assert not any(name.startswith("other") for name in names)


def test_08_an_upload_does_not_overwrite_unless_allowed(system, client):
    """Then: an upload silently replaced what was there."""
    system.put(client, "kept", b"first")
    refused("OBJECT_EXISTS", client.store, system.propose("PUT", "kept"), b"second")
    refused("OBJECT_EXISTS", client.store, system.propose("PUT", "kept", overwrite=False), b"second")
    assert system.get(client, "kept").data == b"first"
    system.put(client, "kept", b"third", overwrite=True)
    assert system.get(client, "kept").data == b"third"

    # Two at the same moment, both streams open before either ends: one wins, whole.
    barrier = threading.Barrier(2)

    def upload(content):
        def chunks():
            yield content * 1000
            barrier.wait(20)
            yield content * 1000

        try:
            system.client().store(system.propose("PUT", "raced"), chunks())
            return content
        except Refused as refusal:
            return refusal.reason

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(upload, [b"A", b"B"]))
    winners = [result for result in results if isinstance(result, bytes)]
    assert len(winners) == 1 and "OBJECT_EXISTS" in results, results
    assert system.get(client, "raced").data == winners[0] * 2000


def test_09_every_refusal_is_on_record(system, client, auditor):
    """Then: only successes were logged."""
    junk = dsse.sign(b"not a transaction", system.stolen)
    unsigned = system.propose("GET", "rec/1")
    del unsigned.signatures[:]
    stranger = dsse.sign(dsse.transaction("GET", "reports", "rec/2").SerializeToString(),
                         ec.generate_private_key(ec.SECP256R1()))
    spent = system.propose("LIST", "rec/spent/")
    client.list(spent)
    cases = [
        (client.fetch, (junk,), "MALFORMED"),
        (client.fetch, (unsigned,), None),
        (client.fetch, (stranger,), "SIGNATURE_INVALID"),
        (client.fetch, (system.propose("GET", "rec/3", gatekeeper="other"),), "AUDIENCE_MISMATCH"),
        (client.store, (system.propose("GET", "rec/4"), b"x"), "OPERATION_MISMATCH"),
        (client.fetch, (system.propose("GET", "rec/5", lifetime=1000),), "LIFETIME_TOO_LONG"),
        (client.fetch, (system.propose("GET", "rec/6", now=time.time() - 5000),), "EXPIRED"),
        (client.list, (spent,), "REPLAYED"),
        (client.fetch, (system.propose("GET", "rec/7", networks=["192.0.2.1"]),), "NETWORK_DENIED"),
        (client.fetch, (system.propose("GET", "rec/none"),), "OBJECT_NOT_FOUND"),
        (client.search, (), "CALLER_UNAUTHENTICATED"),
        (client.authorize, ("GET", "reports", "x"), "GATEKEEPER_CANNOT"),
        (lambda: client.raw("/no.such.Service/Method", b""), (), "UNKNOWN_METHOD"),
        (lambda: client.raw("/twokey.v1.Gatekeeper/Fetch", b"\xff\xff"), (), "MALFORMED"),
    ]
    for call, arguments, reason in cases:
        with pytest.raises(Refused) as caught:
            call(*arguments)
        refusal = caught.value
        assert reason in (None, refusal.reason), refusal
        assert refusal.domain == "twokey" and refusal.record is not None, refusal
        record = auditor.record(refusal.record)
        assert record.address.startswith("127.0.0.1")
        if record.decision == GRANTED:  # it failed later: the completion that refers to this record says why
            found, _ = auditor.search(wait_for_index=refusal.record + 1, transaction_id=record.transaction_id)
            outcomes = [one.outcome for one in found if one.event == COMPLETION and one.decision_index == record.index]
            assert outcomes == [refusal.reason], record
            continue
        assert record.reason == refusal.reason, record
        found, _ = auditor.search(wait_for_index=refusal.record, reason=refusal.reason)
        assert refusal.record in [one.index for one in found]


def test_10_no_record_takes_anothers_place(system, client, auditor):
    """Then: records were named by the second and the object, and overwrote one another."""
    before = auditor.record(0).SerializeToString()
    envelope = system.propose("GET", "same")
    clients = [system.client() for _ in range(8)]
    barrier = threading.Barrier(len(clients))

    def ask(one):
        barrier.wait()
        return [one.cosign(envelope).record for _ in range(25)]

    with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
        indices = [index for part in pool.map(ask, clients) for index in part]
    assert len(set(indices)) == 200
    records, _ = auditor.search(wait_for_index=max(indices), object="same")
    assert {record.index for record in records} >= set(indices)
    for index in indices[::20]:
        record = auditor.record(index)
        assert (record.index, record.object) == (index, "same")
    assert auditor.record(0).SerializeToString() == before


def test_11_neither_party_can_sign_for_the_other(system, client, make_system):
    """Then: both held the same symmetric key, so either could make the other's signature."""
    cosigned = client.cosign(system.propose("GET", "two")).envelope
    # The gatekeeper's signature is not the vendor's...
    alone = copy_of(cosigned)
    del alone.signatures[0]
    refused("SIGNATURE_INVALID", client.cosign, alone)
    # ...even under the vendor's key id...
    alone.signatures[0].keyid = cosigned.signatures[0].keyid
    refused("SIGNATURE_INVALID", client.cosign, alone)
    # ...and the vendor's, twice, is not two: the gatekeeper still decides, and its own rules bind.
    twice = system.propose("GET", "two", networks=["192.0.2.1"])
    twice.signatures.add(sig=twice.signatures[0].sig, keyid=cosigned.signatures[1].keyid)
    refused("NETWORK_DENIED", client.fetch, twice)

    # One key for both sides: such a gatekeeper does not start.
    same = make_system(start=False)
    same.gatekeeper.config["vendor_keys"] = [{"name": "self", "public_key": "gatekeeper.transaction.pem"}]
    same.gatekeeper.write()
    done = same.twokey("serve", "--config", same.gatekeeper.path)
    assert done.code == 1 and b"own" in done.err, done
    # And one vendor key under two names is one.
    same.gatekeeper.config["vendor_keys"] = [{"name": name, "public_key": "stolen.pem"} for name in ("one", "two")]
    same.gatekeeper.write()
    done = same.twokey("serve", "--config", same.gatekeeper.path)
    assert done.code == 1, done


def rules_for(network, effect="allow"):
    other = "" if effect == "allow" else "  - {name: rest, effect: allow}\n"
    return f'version: 1\nrules:\n  - {{name: one, effect: {effect}, networks: ["{network}"]}}\n{other}'


@pytest.mark.parametrize("rules, connect, allowed", [
    # An IPv4 client reaches a dual-stack listener as ::ffff:127.0.0.1; it is 127.0.0.1 all the same.
    (rules_for("127.0.0.0/8"), "127.0.0.1", True),
    (rules_for("127.0.0.0/8", "deny"), "127.0.0.1", False),
    (rules_for("::ffff:127.0.0.0/104"), "127.0.0.1", True),
    (rules_for("::/0"), "[::1]", True),
    (rules_for("::1/128"), "[::1]", True),
    (rules_for("::1/128", "deny"), "[::1]", False),
    (rules_for("127.0.0.0/8"), "[::1]", False),
    (rules_for("0.0.0.0/0"), "[::1]", False),
    (rules_for("2001:db8::/32"), "[::1]", False),
    (rules_for("::1/128"), "127.0.0.1", False),
])
def test_12_ipv6_and_mapped_addresses_are_matched_rightly(make_system, rules, connect, allowed):
    """Then: addresses were compared as text; an IPv6 or IPv4-mapped client matched the wrong rule, or none."""
    system = make_system(start=False, rules=rules, gatekeeper={"listen": "[::]:0"})
    system.vendor.start()
    system.gatekeeper.start()
    port = system.gatekeeper.address.rpartition(":")[2]
    with Client(f"{connect}:{port}", system.authority.path) as client:
        envelope = system.propose("PUT", "where")
        if allowed:
            client.store(envelope, b"here")
        else:
            refused("NETWORK_DENIED", client.store, envelope, b"here")
    system.gatekeeper.host = connect
    system.gatekeeper.address = f"{connect}:{port}"
    records, _ = system.client("gatekeeper", AUDITOR).search(object="where")
    assert records[0].address == connect.strip("[]")


def change(number):
    """Changes field `number` of a transaction by one byte (or one step, where it is a number)."""

    def bump(text):
        return text[:-1] + chr(ord(text[-1]) ^ 1)

    def apply(made):
        name = made.DESCRIPTOR.fields_by_number[number].name
        value = getattr(made, name)
        if name in ("issued_at", "not_before", "expires_at"):
            value.seconds ^= 1
        elif name == "id":
            made.id = dsse.flip(value, 7)
        elif name == "operation":
            made.operation = 2
        else:
            setattr(made, name, bump(value))

    return apply


@pytest.mark.parametrize("number", range(1, 11))
@pytest.mark.parametrize("signatures", [1, 2])
def test_each_of_the_first_ten_fields_is_signed(system, client, backend, number, signatures):
    honest = backend.authorize("GET", "reports", "field", account="acme").envelope
    if signatures == 2:
        honest = client.cosign(honest).envelope
    made = client.types.Transaction.FromString(honest.payload)
    assert made.SerializeToString() == honest.payload
    before = made.SerializeToString()
    change(number)(made)
    after = made.SerializeToString()
    assert len(after) == len(before) and sum(a != b for a, b in zip(before, after)) == 1
    attack = copy_of(honest)
    attack.payload = after
    refusal = refused("SIGNATURE_INVALID", client.cosign, attack)
    assert "signature" in refusal.message
    refused("SIGNATURE_INVALID", client.fetch, attack)
    assert client.cosign(honest)  # the unchanged one is still good


def test_no_byte_of_an_envelope_may_change(system, client, backend):
    """Every byte of the payload, the type and the first signature, one at a time."""
    honest = backend.authorize("GET", "reports", "field", purpose="p").envelope
    for at in range(len(honest.payload)):
        attack = copy_of(honest)
        attack.payload = dsse.flip(honest.payload, at, 1 << (at % 8))
        refused("SIGNATURE_INVALID", client.cosign, attack)
    for at in range(len(honest.signatures[0].sig)):
        attack = copy_of(honest)
        attack.signatures[0].sig = dsse.flip(honest.signatures[0].sig, at)
        refused("SIGNATURE_INVALID", client.cosign, attack)
    for at in range(len(honest.payload_type)):
        attack = copy_of(honest)
        attack.payload_type = dsse.flip(honest.payload_type.encode(), at).decode()
        refused("MALFORMED", client.cosign, attack)
    attack = copy_of(honest)
    attack.signatures[0].keyid = os.urandom(32).hex()
    assert client.cosign(attack)  # a hint decides nothing


def test_the_old_rules_are_gone_from_here(system):
    """Nothing above passes because everything is refused: the open rules let an honest client through."""
    assert OPEN_RULES.count("allow") == 1
    client = system.client()
    system.put(client, "honest", b"yes")
    assert system.get(client, "honest").data == b"yes"
