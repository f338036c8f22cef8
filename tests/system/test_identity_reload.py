"""Certificates, authorities and revocation lists are exchanged under load: no call fails."""
import os
import ssl
import threading

import pytest

from support import pki
from support.client import Client, Refused
from support.deployment import AUDITOR
from support.process import until

TORTURE = bool(os.environ.get("TWOKEY_TORTURE"))
RELOADS = 200 if TORTURE else 40


class Load:
    """Calls on one connection that stays, and on new ones all the time."""

    def __init__(self, system):
        self.system, self.stop = system, threading.Event()
        self.failures, self.counts = [], {"same": 0, "new": 0}
        self.threads = [threading.Thread(target=self._run, args=(work, name)) for work, name in
                        ((self._same, "same"), (self._new, "new"))]
        self.client = system.client("gatekeeper", AUDITOR)

    def _run(self, work, name):
        while not self.stop.is_set():
            try:
                work()
                self.counts[name] += 1
            except Refused as refused:
                self.failures.append(f"{name}: {refused}")

    def _same(self):
        self.client.cosign(self.system.propose("GET", "x"))
        self.client.search(limit=1)

    def _new(self):
        with Client(self.system.gatekeeper.address, self.system.authority.path, self.system.identities[AUDITOR],
                    timeout=60) as client:
            client.search(limit=1)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(120)


def served_certificate(system):
    host, port = system.gatekeeper.address.split(":")
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port)), timeout=60))


def prepare(make_system, folder):
    system = make_system(start=False)
    files = {name: folder / name for name in ("server.pem", "server.key", "authorities.pem", "revoked.pem")}
    pki.replace(files["server.pem"], system.server_identity.certificate.read_bytes())
    pki.replace(files["server.key"], system.server_identity.key.read_bytes())
    pki.replace(files["authorities.pem"], system.authority.path.read_bytes())
    system.authority.revocation_list(files["revoked.pem"])
    system.gatekeeper.config["tls"] = {"certificate": str(files["server.pem"]), "key": str(files["server.key"]),
                                       "client_ca": str(files["authorities.pem"]),
                                       "revocation_lists": [str(files["revoked.pem"])]}
    system.gatekeeper.write()
    return system.start(), files


@pytest.mark.torture
@pytest.mark.timeout(1800 if TORTURE else 300)
def test_reloads_under_load_without_a_failed_call(make_system, tmp_path):
    system, files = prepare(make_system, tmp_path)
    servers = [system.authority.server(f"server-{i}") for i in range(4)]
    others = [pki.Authority(tmp_path / f"ca-{i}", f"another CA {i}") for i in range(2)]
    other_lists = [other.revocation_list(tmp_path / f"list-{i}").read_bytes() for i, other in enumerate(others)]
    revoked = [system.authority.client(f"gone-{i}.example") for i in range(4)]
    with Load(system) as load:
        for i in range(RELOADS):
            server, other = servers[i % 4], i % 2
            pki.replace(files["server.pem"], server.certificate.read_bytes())
            pki.replace(files["server.key"], server.key.read_bytes())
            # A new authority's list is there before the authority.
            own = system.authority.revocation_list(tmp_path / "own", revoked[:i % 4]).read_bytes()
            pki.replace(files["revoked.pem"], own + b"".join(other_lists))
            pki.replace(files["authorities.pem"], system.authority.path.read_bytes() + others[other].path.read_bytes())
            if i % 3 == 0:
                system.gatekeeper.daemon.signal(1)
            until(lambda s=server: served_certificate(system) == ssl.PEM_cert_to_DER_cert(s.certificate.read_text()),
                  timeout=60, what=f"certificate {i}")
            before = dict(load.counts)
            until(lambda b=before: load.failures or all(load.counts[name] > b[name] for name in b), timeout=60,
                  what="more calls")
            assert not load.failures, load.failures[:3]
    assert not load.failures, load.failures[:3]
    assert min(load.counts.values()) >= RELOADS
    # What was exchanged last is in force.
    system.identities["gone"] = revoked[0]
    system.authority.revocation_list(files["revoked.pem"], revoked)
    with pytest.raises(Refused) as refused:
        until(lambda: system.client("gatekeeper", "gone").search() and False, timeout=60)
    assert refused.value.reason in ("CALLER_NOT_ALLOWED", "CERTIFICATE_REVOKED")
