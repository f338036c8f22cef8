#!/usr/bin/env python3
"""What many slow downloads cost the gatekeeper in memory: clients that take the first bytes of a sealed object on S3 and then
stop reading, all at once.

Usage: tools/bench.sh [--streams N]"""
import argparse
import os
import pathlib
import shutil
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
OBJECT_BYTES = 4 << 20  # more than every buffer on the way holds
CHANNELS = 50


def memory_kib(pid):
    """Private memory: what is resident, less what is shared with files."""
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(fields["RssAnon"].split()[0])


def settled(pid):
    """Until it grows no more."""
    last = memory_kib(pid)
    for _ in range(60):
        time.sleep(0.5)
        now = memory_kib(pid)
        if abs(now - last) < 64:
            return now
        last = now
    return last


def open_streams(system, clients, envelopes):
    calls = []
    for number, envelope in enumerate(envelopes):
        client = clients[number % len(clients)]
        call = client.stub.Fetch(client.pb.FetchRequest(envelope=envelope), timeout=600)
        calls.append(call)
    for call in calls:
        assert next(call).WhichOneof("part") == "head"
        assert next(call).WhichOneof("part") == "chunk"
    return calls


def bench(system, streams):
    pid = system.gatekeeper.daemon.pid
    clients = [system.client() for _ in range(min(CHANNELS, streams))]
    system.put(clients[0], "bench/slow", os.urandom(OBJECT_BYTES))
    for client in clients:
        system.get(client, "bench/slow")  # each connection is there, and what it keeps
    before = settled(pid)
    began = time.monotonic()
    calls = open_streams(system, clients, [system.propose("GET", "bench/slow", lifetime=300) for _ in range(streams)])
    took = time.monotonic() - began
    during = settled(pid)
    for call in calls:
        call.cancel()
    print(f"Fetch  {streams} slow downloads at once over {len(clients)} connections: {(during - before) / streams:5.0f} KiB each "
          f"(private memory {before / 1024:.0f} -> {during / 1024:.0f} MiB); all begun within {took:.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--streams", type=int, default=1000)
    options, _ = parser.parse_known_args()
    from support import stubs

    folder = pathlib.Path(tempfile.mkdtemp(dir=pathlib.Path(options.folder).resolve()))
    (folder / "stubs").mkdir()
    stubs.generate(folder / "stubs")
    from support import pki, s3
    from support.deployment import System

    for name in ("system", "s3"):
        (folder / name).mkdir()
    server = s3.Versitygw(folder / "s3", pki.Authority(folder / "s3tls", "S3 CA")).start()
    system = None
    limits = {"limits": {"flood": 0, "max_calls": options.streams + 100, "max_streams": options.streams + 50}}
    try:
        server.make_bucket("reports")
        system = System(folder / "system", pathlib.Path(options.binary).resolve(), store=server, gatekeeper=limits).start()
        bench(system, options.streams)
        system.stop()
        system = None
    finally:
        if system:
            system.abandon()
        server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
