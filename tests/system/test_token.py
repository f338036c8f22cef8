"""A token that fails under a serving gatekeeper: it goes away and comes back, it hangs, its server is killed. Nothing is
granted unrecorded meanwhile, callers are answered in time, and service comes back by itself."""
import os
import signal
import subprocess
import threading
import time

import grpc
import pytest

from support.client import Refused
from support.deployment import AUDITOR
from support.process import until

RECOVERY = 5 if os.environ.get("TWOKEY_TORTURE") else 60  # seconds; the machine may be busy with other tests
COSIGN, GRANTED = 4, 1
PATIENCE = 1500  # ms, the gatekeeper's for its token

UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE,)


@pytest.fixture
def faulty(make_system):
    """Deployments whose token fails by rule."""
    def prepare(system):
        system.gatekeeper.config["token"]["timeout_ms"] = PATIENCE
        system.gatekeeper.write()

    return make_system(tokens={"faults": True}, before_init=prepare)


class Load:
    """Clients that ask for co-signatures all the time."""

    def __init__(self, system, workers=8):
        self.system, self.granted, self.refused, self.strange, self.slowest = system, [], 0, [], 0.0
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.threads = [threading.Thread(target=self._work) for _ in range(workers)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads)

    def _work(self):
        client = self.system.client(timeout=30)
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                answer = client.cosign(self.system.propose("GET", "load"))
                with self.lock:
                    self.granted.append(answer.record)
                    assert len(answer.envelope.signatures) == 2
            except Refused as refusal:
                with self.lock:
                    self.refused += 1
                    if refusal.code not in UNAVAILABLE:
                        self.strange.append(refusal)
                time.sleep(0.01)
            except Exception as error:
                self.strange.append(error)
                return
            with self.lock:
                self.slowest = max(self.slowest, time.monotonic() - began)

    def progress(self, count=20, timeout=30):
        """Waits for so many more grants."""
        goal = len(self.granted) + count
        until(lambda: len(self.granted) >= goal or self.strange, timeout, "more grants")
        assert not self.strange, self.strange[:3]


def cosigned(system):
    """The indexes of all co-signatures on record."""
    auditor = system.client("gatekeeper", AUDITOR)
    indexes, below = set(), auditor.search(limit=1)[1].committed
    latest = below - 1
    while below:
        page, _ = auditor.search(before_index=below, wait_for_index=latest)
        if not page:
            break
        indexes |= {record.index for record in page if record.event == COSIGN and record.decision == GRANTED}
        below = page[-1].index
    return indexes


def check_records(system, load):
    assert not load.strange, load.strange[:3]
    assert len(set(load.granted)) == len(load.granted)
    assert set(load.granted) <= cosigned(system), "granted without a record"


def serves(system):
    with system.client(timeout=10) as client:
        try:
            return client.cosign(system.propose("GET", "probe"))
        except Refused as refusal:
            assert refusal.code in UNAVAILABLE, refusal
            return None


def is_healthy(system):
    """What grpc.health.v1 says, on the wire: HealthCheckResponse{status: SERVING}."""
    with system.client() as client:
        return client.raw("/grpc.health.v1.Health/Check", b"") == b"\x08\x01"


def test_token_directory_away_and_back(make_system):
    system = make_system()
    tokens, away = system.tokens.tokens, system.tokens.folder / "away"
    with Load(system) as load:
        load.progress()
        for _ in range(3):
            tokens.rename(away)
            until(lambda: serves(system) is None, 20, "the loss to be noticed")
            until(lambda: not is_healthy(system), 20, "health to say so")
            granted = len(load.granted)
            time.sleep(0.2)  # it stays away for a while
            assert len(load.granted) <= granted + 8, "granted without a token"
            back = time.monotonic()
            away.rename(tokens)
            until(lambda: serves(system), RECOVERY, "service")
            print(f"back after {time.monotonic() - back:.2f} s")
            until(lambda: is_healthy(system), RECOVERY, "health")
            load.progress()
    check_records(system, load)


def test_stuck_token(faulty):
    """Every call hangs: each client has its answer in time, and when the token returns nothing is left behind."""
    system = faulty
    with Load(system, workers=24) as load:
        load.progress()
        load.slowest = 0.0
        system.tokens.fail("C_Sign stall\n")
        until(lambda: load.refused >= 24, 20, "answers")
        until(lambda: not is_healthy(system), 20, "health to say so")
        before = time.monotonic()
        for _ in range(20):
            assert serves(system) is None
        assert time.monotonic() - before < PATIENCE / 1000 * 4, "new calls have to be refused at once"
        assert load.slowest < PATIENCE / 1000 + 3, f"answered after {load.slowest:.1f} s"
        system.tokens.fail("")
        back = time.monotonic()
        until(lambda: serves(system), RECOVERY, "service")
        print(f"back after {time.monotonic() - back:.2f} s; the slowest answer took {load.slowest:.2f} s")
        until(lambda: is_healthy(system), RECOVERY, "health")
        load.progress()
    check_records(system, load)


def test_sigterm_while_stuck(faulty):
    """A token that keeps our threads does not keep the process. (What it holds cannot be freed: an end by force.)"""
    system = faulty
    system.gatekeeper.config["limits"] = {**system.gatekeeper.config.get("limits", {}), "drain": 1}
    system.gatekeeper.write()
    system.gatekeeper.restart()
    system.tokens.fail("C_Sign stall\n")
    with pytest.raises(Refused) as refused:
        system.client(timeout=30).cosign(system.propose("GET", "stuck"))
    assert refused.value.reason == "TOKEN_UNAVAILABLE"
    system.gatekeeper.daemon.signal(signal.SIGTERM)
    code = system.gatekeeper.daemon.stop(timeout=40)
    assert code in (0, 1)
    system.tokens.fail("")
    system.gatekeeper.start()
    assert serves(system)


@pytest.mark.parametrize("rule", ["* prob=0.05 rv=FUNCTION_FAILED", "C_Sign prob=0.3 rv=GENERAL_ERROR after",
                                  "* prob=0.01 rv=USER_NOT_LOGGED_IN", "C_SignInit prob=0.2 rv=KEY_HANDLE_INVALID",
                                  "C_Sign prob=0.1 rv=SESSION_HANDLE_INVALID"])
def test_faults_that_pass_are_ridden_out(faulty, rule):
    with Load(faulty) as load:
        load.progress()
        faulty.tokens.fail(rule + "\n")
        load.progress(150)
        faulty.tokens.fail("")
        load.progress()
    check_records(faulty, load)
    assert load.refused <= len(load.granted) / 50, f"{load.refused} of {len(load.granted)}"


# ---- the transport to the token: p11-kit's server in front of SoftHSM, killed and started again ----

class P11KitServer:
    """p11-kit server on a socket of ours. It carries no AES-GCM and no ECDSA with hash: a vendor needs neither."""

    def __init__(self, system, label):
        self.path = system.folder / "p11-kit.sock"
        self.argv = ["p11-kit", "server", "-f", "-n", str(self.path), "--provider", "/usr/lib/softhsm/libsofthsm2.so",
                     f"pkcs11:token={label}"]
        self.env, self.daemon = system.tokens.env(), None

    def start(self):
        self.daemon = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.argv], env=self.env, stdout=subprocess.DEVNULL,
                                       start_new_session=True)
        until(self.path.exists, 10, "the socket")
        return self

    def kill(self):
        """With the child that serves each connection."""
        os.killpg(self.daemon.pid, signal.SIGKILL)
        self.daemon.wait(10)
        self.path.unlink(missing_ok=True)


P11KIT_CLIENT = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so"


def test_p11kit_server_killed_under_load(make_system):
    """The vendor's token is behind a socket; its server is killed again and again while transactions are signed."""
    from support.deployment import BACKEND

    system = make_system(start=False, tokens={"kind": "softhsm"})
    server = P11KitServer(system, "vendor").start()
    try:
        config = system.vendor.config
        config["token"] = {**config["token"], "module": P11KIT_CLIENT, "timeout_ms": 3000}
        system.vendor.write()
        system.env["P11_KIT_SERVER_ADDRESS"] = f"unix:path={server.path}"
        system.vendor.start()
        stop, signed, failed, strange = threading.Event(), [], [], []

        def work():
            client = system.client("vendor", BACKEND)
            while not stop.is_set():
                try:
                    signed.append(client.authorize("GET", "reports", "x").record)
                except Refused as refusal:
                    failed.append(refusal)
                    if refusal.code not in UNAVAILABLE:
                        strange.append(refusal)
                    time.sleep(0.01)

        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for _ in range(3):
            goal = len(signed) + 20
            until(lambda: len(signed) >= goal or strange, 30, "signatures")
            server.kill()
            seen = len(failed)
            until(lambda: len(failed) > seen + 4, 20, "the loss to be noticed")
            back = time.monotonic()
            server.start()
            goal = len(signed) + 1
            until(lambda: len(signed) >= goal, RECOVERY, "service")
            print(f"back after {time.monotonic() - back:.2f} s")
        stop.set()
        for worker in workers:
            worker.join(60)
        assert not strange, strange[:3]
        assert len(set(signed)) == len(signed)
        system.vendor.stop()
    finally:
        server.kill()
