#!/usr/bin/env python3
"""What the gatekeeper costs between a client and an S3 server, in one run on one machine: client, gatekeeper and
versitygw share its cores, TLS on both sides. The yardstick is curl moving the same object straight to and from the same
server.

Usage: tools/bench.sh [--mebibytes N]"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
TICKS = os.sysconf("SC_CLK_TCK")
ROUNDS = 3
SMALL_BYTES, SMALL_COUNT = 4096, 1000


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def timed(function, pid):
    """Seconds of the clock, and of the gatekeeper's CPU."""
    before, start = cpu_seconds(pid), time.monotonic()
    function()
    return time.monotonic() - start, cpu_seconds(pid) - before


class Large:
    """One large object, by `twokey` through the gatekeeper, and by curl past it."""

    def __init__(self, system, server, folder, mebibytes):
        self.system, self.server, self.folder, self.size = system, server, folder, mebibytes << 20
        self.source, self.target, self.count = folder / "in", folder / "out", 0
        block = os.urandom(1 << 20)
        with open(self.source, "wb") as out:
            for _ in range(mebibytes):
                out.write(block)

    def envelope(self, operation, key):
        from support.deployment import BACKEND

        path = self.folder / f"{operation}.json"
        made = self.system.twokey("authorize", *self.system.connection("vendor", BACKEND), operation, f"reports/{key}",
                                  "--gatekeeper", "gatekeeper", "--subject", "bench", "--output", path)
        assert made.code == 0, made.err
        return path

    def twokey(self, command, envelope, *words):
        done = self.system.twokey(command, *self.system.connection(), envelope, *words, timeout=900)
        assert done.code == 0, done.err

    def curl(self, operation, key, *words):
        url = self.server.client().generate_presigned_url(operation, Params={"Bucket": "reports", "Key": key})
        subprocess.run(["curl", "--silent", "--fail", "--cacert", str(self.server.ca), *words, url], check=True)

    def round(self, pid):
        """Seconds: store, curl up, fetch, curl down; and the gatekeeper's CPU of store and fetch."""
        self.count += 1
        sealed, straight = f"bench/sealed-{self.count}", f"bench/straight-{self.count}"
        put = self.envelope("put", sealed)
        store, store_cpu = timed(lambda: self.twokey("store", put, self.source), pid)
        up, _ = timed(lambda: self.curl("put_object", straight, "--upload-file", str(self.source)), pid)
        self.server.client().delete_object(Bucket="reports", Key=straight)
        get = self.envelope("get", sealed)
        fetch, fetch_cpu = timed(lambda: self.twokey("fetch", get, "--output", self.target), pid)
        self.target.unlink()
        down, _ = timed(lambda: self.curl("get_object", sealed, "--output", str(self.target)), pid)
        self.target.unlink()
        self.server.client().delete_object(Bucket="reports", Key=sealed)
        return store, up, fetch, down, store_cpu, fetch_cpu


def bench_large(system, server, folder, mebibytes):
    large, pid = Large(system, server, folder, mebibytes), system.gatekeeper.daemon.pid
    rounds = [large.round(pid) for _ in range(ROUNDS)]
    store, up, fetch, down, store_cpu, fetch_cpu = (statistics.median(column) for column in zip(*rounds))
    large.source.unlink()
    gib = large.size / 2**30
    for name, ours, curls, cpu in (("Store", store, up, store_cpu), ("Fetch", fetch, down, fetch_cpu)):
        print(f"{name}  {mebibytes} MiB sealed, TLS, S3: {large.size / ours / 1e6:5.0f} MB/s; curl straight "
              f"{large.size / curls / 1e6:5.0f} MB/s; ratio {curls / ours:4.2f}; gatekeeper {cpu / gib:4.2f} CPU s/GiB")


def curl_latencies(server, keys, folder):
    """One curl, one connection, one object after the other."""
    config = folder / "curl.conf"
    s3 = server.client()
    with open(config, "w", encoding="ascii") as out:
        for key in keys:
            url = s3.generate_presigned_url("get_object", Params={"Bucket": "reports", "Key": key})
            out.write(f'url = "{url}"\noutput = "/dev/null"\n')
    done = subprocess.run(["curl", "--silent", "--fail", "--cacert", str(server.ca), "--write-out", "%{time_total}\\n",
                           "--config", str(config)], check=True, capture_output=True, text=True)
    return sorted(float(line) for line in done.stdout.split())


def bench_small(system, server, folder):
    client, pid = system.client(), system.gatekeeper.daemon.pid
    keys = [f"small/{number}" for number in range(20)]
    for key in keys:
        system.put(client, key, os.urandom(SMALL_BYTES))
    envelopes = [system.propose("GET", keys[number % len(keys)]) for number in range(SMALL_COUNT)]
    latencies, before, start = [], cpu_seconds(pid), time.monotonic()
    for envelope in envelopes:
        began = time.monotonic()
        client.fetch(envelope)
        latencies.append(time.monotonic() - began)
    took, spent = time.monotonic() - start, cpu_seconds(pid) - before
    latencies.sort()
    curls = curl_latencies(server, [keys[number % len(keys)] for number in range(SMALL_COUNT)], folder)
    at = {"p50": SMALL_COUNT // 2, "p99": SMALL_COUNT * 99 // 100}
    added = ", ".join(f"{name} {latencies[place] * 1e3:5.2f} ms (curl {curls[place] * 1e3:5.2f}, added "
                      f"{(latencies[place] - curls[place]) * 1e3:5.2f})" for name, place in at.items())
    print(f"Fetch  4 KiB, one after the other: {SMALL_COUNT / took:5.0f}/s; {added}; {spent / SMALL_COUNT * 1e6:5.0f} us CPU each")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--folder", required=True, help="on the disk that is to be measured")
    parser.add_argument("--mebibytes", type=int, default=1024)
    options, _ = parser.parse_known_args()
    from support import stubs

    folder = pathlib.Path(tempfile.mkdtemp(dir=pathlib.Path(options.folder).resolve()))
    (folder / "stubs").mkdir()
    stubs.generate(folder / "stubs")
    from support import pki, s3
    from support.deployment import System

    (folder / "system").mkdir()
    (folder / "s3").mkdir()
    server = s3.Versitygw(folder / "s3", pki.Authority(folder / "s3tls", "S3 CA")).start()
    system = None
    try:
        server.make_bucket("reports")
        system = System(folder / "system", pathlib.Path(options.binary).resolve(), store=server).start()
        bench_small(system, server, folder)
        bench_large(system, server, folder, options.mebibytes)
        system.stop()
    finally:
        if system:
            system.abandon()
        server.daemon.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
