#!/usr/bin/env python3
"""What a TLS handshake costs the gatekeeper in CPU time: with its key in the token, and in a PEM file. Full handshakes
(TLS 1.3, ECDSA P-256), one after the other, by Python's OpenSSL on the same machine.

Usage: tools/bench.sh [--seconds N]"""
import argparse
import os
import pathlib
import shutil
import socket
import ssl
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "system"), str(ROOT / "bench")]
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
HANDSHAKES = 500


def handshakes(system, count):
    """CPU seconds of the gatekeeper for each."""
    from service import cpu_seconds

    host, port = system.gatekeeper.address.split(":")
    context = ssl.create_default_context(cafile=system.authority.path)
    context.set_alpn_protocols(["h2"])

    def once():
        with socket.create_connection((host, int(port)), timeout=60) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as tls:
                tls.recv(1)  # the server's settings: the handshake is over on its side, too

    once()
    before = cpu_seconds(system.gatekeeper.daemon.pid)
    for _ in range(count):
        once()
    return (cpu_seconds(system.gatekeeper.daemon.pid) - before) / count


def with_token_key(system):
    """The gatekeeper's TLS key is made in its token, and certified."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    party = system.gatekeeper
    party.config["tls"]["key"] = "pkcs11:token=gatekeeper;object=twokey-tls"
    party.write()
    party.init()
    request = x509.load_pem_x509_csr((party.folder / "gatekeeper.tls.csr").read_bytes())
    authority, name = system.authority, x509.DNSName("localhost")
    builder = authority._builder(request.subject, request.public_key())
    made = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False).sign(authority.key, hashes.SHA256())
    path = party.folder / "token.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    party.config["tls"]["certificate"] = str(path)
    party.write()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--folder", required=True)
    options, _ = parser.parse_known_args()
    from support import stubs

    folder = pathlib.Path(tempfile.mkdtemp(dir=pathlib.Path(options.folder).resolve()))
    (folder / "stubs").mkdir()
    stubs.generate(folder / "stubs")
    from support.deployment import System

    (folder / "system").mkdir()
    system = System(folder / "system", pathlib.Path(options.binary).resolve())
    try:
        system.start()
        pem = handshakes(system, HANDSHAKES)
        system.gatekeeper.stop()
        with_token_key(system)
        system.gatekeeper.start()
        token = handshakes(system, HANDSHAKES)
        system.stop()
    finally:
        system.abandon()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"TLS handshake: {token * 1e3:5.2f} ms CPU with the key in the token, {pem * 1e3:5.2f} ms with a PEM file: "
          f"{token / pem:4.2f} times")


if __name__ == "__main__":
    main()
