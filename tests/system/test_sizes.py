"""Files of every size, both ways, through both kinds of store; the server's memory stays flat."""
import hashlib
import os
import subprocess
import threading

import pytest

from support.deployment import BACKEND

KI, MI, GI = 1 << 10, 1 << 20, 1 << 30
# Around the boundaries of a sealed segment, of a message, of a multipart part.
SIZES = [0, 1, 65_479, 65_480, 65_481, 64 * KI - 1, 64 * KI, 64 * KI + 1, 256 * KI, 5 * MI - 1, 5 * MI, 5 * MI + 1,
         17 * MI + 3]
HEADROOM = 64 * MI


def through(system, size):
    client, data, key = system.client(), os.urandom(size), f"size/{size}"
    stored = system.put(client, key, data)
    assert (stored.bytes, stored.sha256) == (size, hashlib.sha256(data).digest())
    assert system.get(client, key).data == data
    entries, _ = client.list(system.propose("LIST", key))
    assert entries[0].size == size


@pytest.mark.parametrize("size", SIZES)
def test_directory(system, size):
    through(system, size)


@pytest.mark.parametrize("size", SIZES)
def test_versitygw(s3_system, size):
    through(s3_system, size)


def test_odd_chunks(system, client):
    """However the client cuts its stream, the object is the same."""
    data = os.urandom(300_000)
    cuts = {"bytes": [data[at:at + 1] for at in range(3000)] + [data[3000:]],
            "empty chunks": [b"", data[:7], b"", b"", data[7:], b""],
            "1 MiB": [data]}
    for name, chunks in cuts.items():
        client.store(system.propose("PUT", f"odd/{name}"), chunks)
        assert system.get(client, f"odd/{name}").data == data


class Source(threading.Thread):
    """Writes pseudo-random bytes into a pipe, and hashes them."""

    def __init__(self, pipe, size):
        super().__init__(daemon=True)
        self.pipe, self.size, self.hash = pipe, size, hashlib.sha256()
        self.block = os.urandom(MI)

    def run(self):
        left, number = self.size, 0
        while left:
            piece = (number.to_bytes(8, "big") + self.block[8:])[:left]
            self.hash.update(piece)
            self.pipe.write(piece)
            left -= len(piece)
            number += 1
        self.pipe.close()


def spawn(system, *arguments, **pipes):
    return subprocess.Popen([str(system.binary), *map(str, arguments)], env=system.env, **pipes)


def proposal(system, operation, key, path):
    done = system.twokey("authorize", *system.connection("vendor", BACKEND), operation, f"reports/{key}", "--gatekeeper",
                         "gatekeeper", "--subject", "dr.bell", "--output", path)
    assert done.code == 0, done.err
    return path


def upload(system, key, size, folder):
    """`twokey store ENVELOPE -`, from a pipe. Returns the hash."""
    envelope = proposal(system, "put", key, folder / "put.json")
    process = spawn(system, "store", *system.connection(), envelope, "-", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    source = Source(process.stdin, size)
    source.start()
    errors = process.stderr.read()
    assert process.wait(300) == 0, errors
    source.join(10)
    return source.hash.hexdigest()


def download(system, key, folder):
    """`twokey fetch ENVELOPE --output -`, into a pipe. Returns the number of bytes and their hash."""
    envelope = proposal(system, "get", key, folder / "get.json")
    process = spawn(system, "fetch", *system.connection(), envelope, "--output", "-", stdout=subprocess.PIPE)
    count, total = 0, hashlib.sha256()
    while piece := process.stdout.read(MI):
        count += len(piece)
        total.update(piece)
    assert process.wait(60) == 0
    return count, total.hexdigest()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", ["directory", "versitygw"])
def test_one_gibibyte_in_bounded_memory(make_system, release_bin, tmp_path, request, store):
    """1 GiB in and out; the peak of the server's memory stays within 64 MiB of what it is when idle."""
    kind = "directory" if store == "directory" else request.getfixturevalue("versitygw")
    system = make_system(binary=release_bin, store=kind)
    server = system.gatekeeper.daemon
    client = system.client()
    system.put(client, "warm", b"up")
    system.get(client, "warm")
    idle = server.rss()
    peaks = {}

    server.forget_peak()
    sent = upload(system, "big", GI, tmp_path)
    peaks["store"] = server.peak_rss() - idle
    server.forget_peak()
    assert download(system, "big", tmp_path) == (GI, sent)
    peaks["fetch"] = server.peak_rss() - idle

    print(f"{store}: idle {idle / MI:.1f} MiB; above it, at the peak: "
          + ", ".join(f"{name} {peak / MI:.1f} MiB" for name, peak in peaks.items()))
    client.remove(system.propose("DELETE", "big"))  # the disk is not ours
    assert max(peaks.values()) < HEADROOM, peaks


@pytest.mark.timeout(300)
def test_slow_readers_do_not_pile_up_memory(make_system, release_bin):
    """Forty clients open a Fetch of 20 MiB each and read nothing: flow control holds the server back."""
    system = make_system(binary=release_bin)
    client = system.client()
    system.put(client, "slow", os.urandom(20 * MI))
    idle = system.gatekeeper.daemon.rss()
    system.gatekeeper.daemon.forget_peak()
    calls = []
    for _ in range(40):
        one = system.client(options=[("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)])
        call = one.stub.Fetch(one.pb.FetchRequest(envelope=system.propose("GET", "slow")), timeout=120)
        assert next(call).WhichOneof("part") == "head"
        calls.append(call)
    grown = system.gatekeeper.daemon.peak_rss() - idle
    for call in calls:
        call.cancel()
    print(f"40 slow readers: {grown / MI:.1f} MiB above idle")
    assert grown < 2 * HEADROOM
    assert system.get(client, "slow").head.size == 20 * MI
