#!/usr/bin/env python3
"""How fast one gatekeeper is, as grpcio clients on the same machine see it, and what a call costs it in CPU time. The
clients take their share of the same cores, so calls per second are a lower bound; CPU per call is the number to compare.

Usage: tools/bench.sh [--seconds N] [--mebibytes N]"""
import argparse
import multiprocessing
import os
import pathlib
import shutil
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cosign_client(address, ca, envelope, seconds, in_flight, results):
    """One process: keeps some calls in flight for some seconds; reports how many, and each one's latency."""
    import concurrent.futures
    import threading

    from support.client import Client

    latencies, lock = [], threading.Lock()
    with Client(address, pathlib.Path(ca)) as client:
        from twokey.v1 import transaction_pb2

        message = transaction_pb2.Envelope.FromString(envelope)
        client.cosign(message)
        end = time.monotonic() + seconds

        def loop():
            mine = []
            while (start := time.monotonic()) < end:
                client.cosign(message)
                mine.append(time.monotonic() - start)
            with lock:
                latencies.extend(mine)

        with concurrent.futures.ThreadPoolExecutor(in_flight) as pool:
            for future in [pool.submit(loop) for _ in range(in_flight)]:
                future.result()
    results.put(latencies)


def bench_cosign(system, seconds, processes, in_flight):
    context, pid = multiprocessing.get_context("fork"), system.gatekeeper.daemon.pid
    results = context.Queue()
    clients = [context.Process(target=cosign_client,
                               args=(system.gatekeeper.address, str(system.authority.path),
                                     system.propose("GET", f"bench/{number}").SerializeToString(), seconds, in_flight, results))
               for number in range(processes)]
    before = cpu_seconds(pid)
    for client in clients:
        client.start()
    latencies = sorted(latency for _ in clients for latency in results.get())
    for client in clients:
        client.join()
    spent = cpu_seconds(pid) - before
    count = len(latencies)
    print(f"CoSign  {processes * in_flight:3} in flight: {count / seconds:7.0f}/s, p50 {latencies[count // 2] * 1e3:6.2f} ms, "
          f"p99 {latencies[count * 99 // 100] * 1e3:6.2f} ms, {spent / count * 1e6:5.0f} us CPU each")


def bench_transfer(system, mebibytes, folder):
    """The command line moves one large object in and out."""
    from support.deployment import BACKEND

    source, target, size = folder / "in", folder / "out", mebibytes << 20
    block = os.urandom(1 << 20)
    with open(source, "wb") as out:
        for _ in range(mebibytes):
            out.write(block)
    pid = system.gatekeeper.daemon.pid
    for command, operation, words in (("store", "put", [source]), ("fetch", "get", ["--output", target])):
        envelope = folder / f"{operation}.json"
        made = system.twokey("authorize", *system.connection("vendor", BACKEND), operation, "reports/bench/large",
                             "--gatekeeper", "gatekeeper", "--subject", "bench", "--output", envelope)
        assert made.code == 0, made.err
        before, start = cpu_seconds(pid), time.monotonic()
        done = system.twokey(command, *system.connection(), envelope, *words, timeout=600)
        took = time.monotonic() - start
        assert done.code == 0, done.err
        spent = cpu_seconds(pid) - before
        print(f"{command.capitalize():7} {mebibytes} MiB: {size / took / 1e6:6.0f} MB/s, {spent / (size / 2**30):5.2f} CPU s/GiB")
    source.unlink()
    target.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--folder", required=True, help="on the disk that is to be measured")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--mebibytes", type=int, default=512)
    options = parser.parse_args()
    from support import stubs

    folder = pathlib.Path(tempfile.mkdtemp(dir=pathlib.Path(options.folder).resolve()))
    (folder / "stubs").mkdir()
    stubs.generate(folder / "stubs")
    from support.deployment import System

    (folder / "system").mkdir()
    system = System(folder / "system", pathlib.Path(options.binary).resolve())
    try:
        system.start()
        for processes, in_flight in ((1, 1), (1, 8), (2, 16), (4, 16)):
            bench_cosign(system, options.seconds, processes, in_flight)
        bench_transfer(system, options.mebibytes, folder)
        system.stop()
    finally:
        system.abandon()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
