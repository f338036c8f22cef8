"""Custody: every secret object in the tokens is SENSITIVE and not EXTRACTABLE; and the memory of the running servers
holds neither the S3 secret, nor the PIN, nor a private key."""
import base64
import contextlib
import json
import os
import pathlib
import secrets
import sys
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from support import memory, s3
from support.client import Refused
from support.deployment import BACKEND
from support.process import run

pytestmark = pytest.mark.timeout(300)
READER = pathlib.Path(__file__).parent / "support" / "read_token.py"


def read_token(system, label):
    done = run([sys.executable, "-P", str(READER), label, str(system.tokens.folder / f"{label}.pin")], env=system.env)
    assert done.code == 0, done.err.decode()
    return json.loads(done.out)


@pytest.fixture(scope="module")
def provisioned(make_module_system, versitygw):
    """Both tokens as `twokey init` makes them, with an imported S3 secret."""
    return make_module_system(store=versitygw)


EXPECTED = {"vendor": {"twokey-transaction", "twokey-audit"},
            "gatekeeper": {"twokey-transaction", "twokey-audit", "twokey-kek-reports", "twokey-s3-reports"}}
# What each key may do; everything else it may not.
MAY = {"twokey-transaction": {"SIGN"}, "twokey-audit": {"SIGN"}, "twokey-s3-reports": {"SIGN"},
       "twokey-kek-reports": {"ENCRYPT", "DECRYPT"}}


@pytest.mark.parametrize("label", EXPECTED)
def test_every_secret_object_is_sensitive_and_stays(provisioned, label):
    objects = [thing for thing in read_token(provisioned, label) if thing["secret"]]
    assert {thing["label"] for thing in objects} == EXPECTED[label]
    assert len(objects) == len(EXPECTED[label])
    for thing in objects:
        assert thing["SENSITIVE"] is True and thing["EXTRACTABLE"] is False, thing
        assert thing["PRIVATE"] is True and thing["TOKEN"] is True, thing
        assert all(thing[name] is None for name in ("VALUE", "PRIVATE_EXPONENT", "PRIME_1", "PRIME_2")), thing
        uses = {name for name in ("SIGN", "ENCRYPT", "DECRYPT", "WRAP", "UNWRAP", "DERIVE") if thing[name]}
        assert uses <= MAY[thing["label"]], (thing["label"], uses)
        if thing["label"] != "twokey-s3-reports":  # the only one that came from outside
            assert thing["LOCAL"] and thing["ALWAYS_SENSITIVE"] and thing["NEVER_EXTRACTABLE"], thing


def test_no_object_is_public_that_should_not_be(provisioned):
    for label in EXPECTED:
        for thing in read_token(provisioned, label):
            assert thing["secret"] or thing["class"] in ("PUBLIC_KEY", "CERTIFICATE"), thing


def test_no_secret_is_in_any_file(provisioned):
    """Configuration, ledger, index, logs, bucket: none of them holds the PIN or the S3 secret."""
    pins = [(provisioned.tokens.folder / f"{label}.pin").read_bytes().strip() for label in EXPECTED]
    needles = [s3.SECRET.encode(), *pins]
    for party in (provisioned.vendor, provisioned.gatekeeper):
        for path in party.folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert not any(needle in data for needle in needles), path


def forms(name, secret):
    """A secret in the forms in which it might lie around."""
    yield name, secret
    yield f"{name}, reversed", secret[::-1]  # big numbers, least significant first
    yield f"{name}, hex", secret.hex().encode()
    yield f"{name}, HEX", secret.hex().upper().encode()
    yield f"{name}, base64", base64.b64encode(secret).rstrip(b"=")[:-1]


def private_bytes(key):
    return key.private_numbers().private_value.to_bytes(32, "big")


class Known:
    """Keys that were made outside and imported, so that there is something to look for."""

    def __init__(self):
        self.keys = {}

    def import_all(self, system):
        number = 0
        for label in ("vendor", "gatekeeper"):
            for name in ("twokey-transaction", "twokey-audit"):
                number += 1
                key = self.keys[f"{label}'s {name}"] = ec.generate_private_key(ec.SECP256R1())
                system.tokens.import_key(label, key, name, f"{number:02x}")


class Turns:
    """Workers take turns; `rest` waits until none is in one, and keeps them out."""

    def __init__(self, workers):
        self.gate = threading.Event()
        self.gate.set()
        self.locks = [threading.Lock() for _ in range(workers)]

    @contextlib.contextmanager
    def rest(self):
        self.gate.clear()
        with contextlib.ExitStack() as held:
            for lock in self.locks:
                held.enter_context(lock)
            yield
        self.gate.set()


def load(system, stop, counts, turns, number):
    """Everything that uses a key, until told to stop."""
    backend, client = system.client("vendor", BACKEND), system.client()
    data = os.urandom(300_000)
    while not stop.is_set():
        turns.gate.wait(60)
        with turns.locks[number]:
            key = f"load/{secrets.token_hex(8)}"
            client.store(backend.authorize("PUT", "reports", key).envelope, data)
            assert client.fetch(client.cosign(backend.authorize("GET", "reports", key).envelope).envelope).data == data
            try:
                client.fetch(system.propose("GET", key, networks=["192.0.2.1"]))
            except Refused:
                counts.append(1)


@pytest.mark.timeout(900)
def test_the_servers_memory_holds_no_secret(make_system, release_bin, versitygw):
    """Looked at between calls, again and again while it works: SoftHSM is a library in the process, and has a key in memory
    for the moment in which it signs; what must not be is anything that stays. The PIN is looked for in mid-work too."""
    known = Known()
    canary = secrets.token_hex(16)
    rules = f"version: 1\nrules:\n  - {{name: canary-{canary}, effect: allow}}\n"
    system = make_system(start=False, binary=release_bin, store=versitygw, rules=rules, before_init=known.import_all)
    on_stack = secrets.token_hex(16)
    system.env["TWOKEY_TEST_CANARY"] = on_stack
    system.start()

    stop, counts, failures = threading.Event(), [], []

    turns = Turns(4)

    def guarded(number):
        while not stop.is_set():
            try:
                load(system, stop, counts, turns, number)
            except Exception as error:  # shown below; a process that was halted for long may have given up a commit
                if getattr(error, "reason", "") != "LEDGER_UNAVAILABLE":
                    failures.append(error)
                    return

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    seen = {}
    try:
        for party in (system.vendor, system.gatekeeper):
            secrets_of = {"PIN": (system.tokens.folder / f"{party.name}.pin").read_bytes().strip()}
            for name, key in known.keys.items():
                if name.startswith(party.name):
                    secrets_of[name] = private_bytes(key)
            if party is system.gatekeeper:
                secrets_of.update({"S3 secret": s3.SECRET.encode(), "AWS4 + S3 secret": b"AWS4" + s3.SECRET.encode()})
            needles = {form: needle for name, secret in secrets_of.items() for form, needle in forms(name, secret)}
            # What must be found, or the scanner is blind: one in the environment, and one from a file, on the heap.
            needles["canary in the environment"] = on_stack.encode()
            if party is system.gatekeeper:
                needles["canary on the heap"] = f"canary-{canary}".encode()
            for _ in range(5):
                before = len(counts)
                in_mid_work = {form: needle for form, needle in needles.items() if form.startswith("PIN")}
                found = memory.scan(party.daemon.pid, in_mid_work)
                with turns.rest():
                    for form, where in memory.scan(party.daemon.pid, needles).items():
                        found.setdefault(form, []).extend(where)
                assert found.pop("canary in the environment"), "the scanner sees nothing"
                if party is system.gatekeeper:
                    assert any("heap" in where or "anonymous" in where for where in found.pop("canary on the heap"))
                for name, where in found.items():
                    seen.setdefault(f"{party.name}: {name}", []).extend(where)
                wait_for_more(counts, before, failures)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not failures, failures
    assert len(counts) > 5, "there was no load"
    assert not seen, seen


def wait_for_more(counts, before, failures):
    """The load goes on between two looks."""
    from support.process import until

    until(lambda: len(counts) > before or failures, what="the load goes on")


def test_the_scanner_finds_what_is_there():
    """The proof of the proof: in a process that does hold these bytes, every form of them is found."""
    secret = secrets.token_bytes(32)
    planted = dict(forms("secret", secret))
    program = ("import sys; kept = [bytes.fromhex(word) for word in sys.stdin.readline().split()]; print('ready', flush=True);"
               "sys.stdin.readline()")
    import subprocess

    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(" ".join(form.hex() for form in planted.values()).encode() + b"\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"ready\n"
    try:
        found = memory.scan(process.pid, {**planted, "absent": secrets.token_bytes(32)})
    finally:
        process.stdin.close()
        process.wait(10)
    assert set(found) == set(planted)
