"""A transaction that names a holder key is of use to its holder only: by the command line, and against whoever reads
along on the line."""
import hashlib
import os
import time
from concurrent import futures

import grpc
import pytest

from cryptography.hazmat.primitives.asymmetric import ec

from support import dsse, pki
from support.client import Refused
from support.deployment import AUDITOR, BACKEND
from support.tap import Tap

TORTURE = bool(os.environ.get("TWOKEY_TORTURE"))
SESSIONS = 2000 if TORTURE else 40  # five calls each
SERVICE = "/twokey.v1.Gatekeeper/"
VICTIM, THIEF = [("x-forwarded-for", "192.0.2.10")], [("x-forwarded-for", "198.51.100.66")]


# ---- the command line ----
@pytest.fixture
def keys(system, tmp_path):
    """Two holder keys, made by the command."""
    for name in ("mine", "theirs"):
        made = system.twokey("holder", "new", tmp_path / name)
        assert made.code == 0, made.err
    return tmp_path


def authorize(system, operation, object_, *options):
    done = system.twokey("authorize", *system.connection("vendor", BACKEND), operation, f"reports/{object_}",
                         "--gatekeeper", "gatekeeper", "--subject", "dr.bell", *options)
    assert done.code == 0, done.err
    return done.out


def test_holder_new_makes_a_key_that_nobody_else_can_read(system, keys):
    private, public = keys / "mine", keys / "mine.pub"
    assert private.stat().st_mode & 0o777 == 0o600
    before = private.read_bytes()
    shown = system.twokey("holder", "show", private)
    assert shown.code == 0
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(before, None)
    assert public.read_bytes() == pki.public_pem(key)
    assert shown.out.decode().strip() == hashlib.sha256(pki.public_der(key)).hexdigest()
    again = system.twokey("holder", "new", private)  # nothing is written over
    assert again.code == 1 and b"exists" in again.err and private.read_bytes() == before
    private.chmod(0o644)
    assert system.twokey("holder", "show", private).code == 1


def test_every_command_proves_its_holder_key(system, keys, tmp_path):
    holder, key = ["--holder", keys / "mine.pub"], ["--holder-key", keys / "mine"]
    data = os.urandom(300_000)
    (tmp_path / "in").write_bytes(data)
    line = system.connection()

    def run(*words, stdin=b""):
        done = system.twokey(*words, stdin=stdin)
        assert (done.code, done.err) == (0, b""), done
        return done.out

    cosigned = run("cosign", *line, *key, "-", stdin=authorize(system, "put", "holder/a", *holder))
    (tmp_path / "put.json").write_bytes(cosigned)
    run("store", *line, *key, tmp_path / "put.json", tmp_path / "in")
    assert run("fetch", *line, *key, "-", stdin=authorize(system, "get", "holder/a", *holder)) == data
    assert b"holder/a" in run("ls", *line, *key, "-", stdin=authorize(system, "list", "holder/", *holder))
    run("rm", *line, *key, "-", stdin=authorize(system, "delete", "holder/a", *holder))


@pytest.mark.parametrize("command, operation", [("cosign", "get"), ("fetch", "get"), ("ls", "list"), ("rm", "delete"),
                                                ("store", "put")])
def test_without_the_key_it_is_refused(system, keys, command, operation):
    envelope = authorize(system, operation, "holder/b", "--holder", keys / "mine.pub")
    file = ["/dev/null"] if command == "store" else []
    for wrong in ([], ["--holder-key", keys / "theirs"]):
        done = system.twokey(command, *system.connection(), *wrong, "-", *file, stdin=envelope)
        assert done.code == 3 and b"HOLDER_PROOF_INVALID" in done.err, done


def test_what_is_no_holder_key_is_told_before_anybody_is_asked(system, keys):
    for words in (["--holder", keys / "mine"], ["--holder", "/nowhere"], ["--holder", system.authority.path]):
        done = system.twokey("authorize", "--server", "127.0.0.1:1", "get", "reports/x", "--gatekeeper", "g", "--subject", "s",
                             *words)
        assert done.code == 1 and done.err.startswith(b"twokey: "), done
    done = system.twokey("authorize", "--server", "127.0.0.1:1", "get", "reports/x", "--gatekeeper", "g", "--subject", "s",
                         "--holder", keys / "mine.pub", "--holder-key-sha256", "00" * 32)
    assert done.code == 2
    done = system.twokey("fetch", "--server", "127.0.0.1:1", "--holder-key", keys / "mine.pub", "-",
                         stdin=authorize(system, "get", "x"))
    assert done.code == 1 and b"private key" in done.err


# ---- on the line ----
METHODS = {"Store": "PUT", "Fetch": "GET", "List": "LIST", "CoSign": "GET", "Remove": "DELETE"}


class Victim:
    """A data client. Its transactions may be used often: what stops a replay is the proof, not the count of uses."""

    def __init__(self, system, client):
        self.system, self.client, self.key = system, client, ec.generate_private_key(ec.SECP256R1())
        self.key_sha256 = hashlib.sha256(pki.public_der(self.key)).digest()

    def envelope(self, method, name):
        more = {"overwrite": True} if method == "Store" else {}
        return self.system.propose(METHODS[method], name, holder_key_sha256=self.key_sha256, uses=100, **more)

    def prove(self, envelope, method, now=None):
        return dsse.holder_proof(envelope, self.key, SERVICE + method, now)

    def work(self, name):
        """Every method once."""
        for method in METHODS:
            envelope = self.envelope(method, name)
            proof = self.prove(envelope, method)
            if method == "Store":
                self.client.store(envelope, name.encode(), proof)
            else:
                getattr(self.client, method.lower())(envelope, proof)


def request_of(pb, method, envelope, proof=None):
    """The messages of a call."""
    if method == "Store":
        return [pb.StoreRequest(head=pb.StoreHead(envelope=envelope, proof=proof)).SerializeToString(),
                pb.StoreRequest(tail=pb.StoreTail(bytes=0)).SerializeToString()]
    return [getattr(pb, method + "Request")(envelope=envelope, proof=proof).SerializeToString()]


def parts_of(pb, stolen):
    """The envelope and the proof in a captured call."""
    method = stolen.method.rpartition("/")[2]
    first = pb.StoreRequest.FromString(stolen.messages[0]).head if method == "Store" else \
        getattr(pb, method + "Request").FromString(stolen.messages[0])
    return method, first.envelope, first.proof


def attacks(pb, stolen, other, thief):
    """What can be done with a captured call: (method, messages)."""
    method, envelope, proof = parts_of(pb, stolen)
    _, other_envelope, _ = parts_of(pb, other)
    elsewhere = "CoSign" if method != "CoSign" else "Fetch"
    yield method, stolen.messages
    yield elsewhere, request_of(pb, elsewhere, envelope, proof)
    yield method, request_of(pb, method, envelope)
    yield method, request_of(pb, method, envelope, dsse.holder_proof(envelope, thief, SERVICE + method))
    yield method, request_of(pb, method, other_envelope, proof)


@pytest.fixture(scope="module")
def line_system(make_module_system):
    """A gatekeeper behind a proxy that it trusts: the test says which address a client comes from."""
    return make_module_system(gatekeeper={"trusted_proxies": ["127.0.0.1"]})


def steal(system, sessions):
    """Everything that so many clients said, while they were served."""
    with Tap(system.gatekeeper.address, system.authority.path, system.server_identity, VICTIM) as tap:
        from support.client import Client

        def session(number):
            with Client(tap.address, system.authority.path) as client:
                Victim(system, client).work(f"tap/{number}")

        with futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(session, range(sessions)))
    assert len(tap.stolen) == sessions * len(METHODS)
    return tap.stolen


def replay(client, tries):
    """How each of the tries ended: a Refused, or what was answered."""
    def one(attempt):
        method, messages = attempt
        if len(messages) == 1:
            call = client.channel.unary_stream(SERVICE + method)(messages[0], timeout=60, metadata=THIEF)
        else:
            call = client.channel.stream_stream(SERVICE + method)(iter(messages), timeout=60, metadata=THIEF)
        try:
            return f"{method} answered {list(call)}"
        except grpc.RpcError as error:
            return Refused(error)

    with futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, tries))


def all_refused(ends):
    return not [end for end in ends if not isinstance(end, Refused) or end.reason != "HOLDER_PROOF_INVALID"][:5]


@pytest.mark.torture
@pytest.mark.timeout(3600 if TORTURE else 400)
def test_what_is_stolen_on_the_line_is_worth_nothing(line_system):
    """`make torture`: 10,000 envelopes, each tried in five ways."""
    stolen, thief, client = steal(line_system, SESSIONS), ec.generate_private_key(ec.SECP256R1()), line_system.client()
    others = stolen[1:] + stolen[:1]
    tries = [attempt for call, other in zip(stolen, others) for attempt in attacks(client.pb, call, other, thief)]
    assert len(tries) == 5 * len(stolen) == 25 * SESSIONS
    ends = replay(client, tries)
    assert all_refused(ends), ends[:3]
    found, _ = line_system.client("gatekeeper", AUDITOR).search(reason="HOLDER_PROOF_INVALID",
                                                                wait_for_index=max(end.record for end in ends))
    assert len(found) == min(10_000, len(tries)) and {record.address for record in found} == {THIEF[0][1]}


def test_what_was_held_back_on_the_line_is_too_old(line_system):
    """A call that the thief has kept from the gatekeeper, to bring it later."""
    client = line_system.client()
    victim = Victim(line_system, client)
    envelopes = {method: victim.envelope(method, "tap/delayed") for method in METHODS}
    tries = [(method, request_of(client.pb, method, envelope, victim.prove(envelope, method, time.time() - late)))
             for method, envelope in envelopes.items() for late in (62, 300, 86400)]
    assert len(tries) == 15 and all_refused(replay(client, tries))


def test_a_proof_counts_once_and_a_restart_does_not_change_that(make_system):
    system = make_system()
    client = system.client()
    victim = Victim(system, client)
    system.put(client, "once", b"1")
    envelope = victim.envelope("Fetch", "once")
    proof = victim.prove(envelope, "Fetch")
    assert client.fetch(envelope, proof).data == b"1"
    unused = victim.prove(envelope, "Fetch")  # made before the restart, never delivered
    for tried in (proof, unused):
        if tried is unused:
            system.gatekeeper.restart()
            client = system.client()
        with pytest.raises(Refused) as refused:
            client.fetch(envelope, tried)
        assert refused.value.reason == "HOLDER_PROOF_INVALID"
    with pytest.raises(Refused) as refused:
        client.fetch(envelope, proof)
    assert refused.value.reason == "HOLDER_PROOF_INVALID"
    assert client.fetch(envelope, victim.prove(envelope, "Fetch")).data == b"1"


def test_no_room_means_no(make_system):
    """The memory for proofs is full: nothing is taken that could not be remembered, others without proofs are served."""
    system = make_system(gatekeeper={"limits": {"proofs": 256}})
    client = system.client()
    victim = Victim(system, client)
    envelope = victim.envelope("CoSign", "room")
    ends = []
    for _ in range(130):
        try:
            client.cosign(envelope, victim.prove(envelope, "CoSign"))
            ends.append("")
        except Refused as refused:
            ends.append(refused.reason)
    assert ends == [""] * 128 + ["FLOOD_LIMIT"] * 2  # half of it, by one address
    system.put(client, "room", b"x")
