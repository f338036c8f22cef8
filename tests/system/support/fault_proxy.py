"""An HTTP proxy between a gatekeeper and its S3 server that breaks what passes through it, by a seeded plan."""
import asyncio
import collections
import random
import threading

HEAD_MAX = 65536
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
INTERNAL = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"

# What may happen to a request, and how often of a hundred.
PLAN = {"none": 58, "reset_request": 6, "reset_response": 6, "lost_answer": 5, "error_500": 5, "error_503": 5, "storm": 1,
        "trickle": 3, "longer": 3, "shorter": 2, "damage_request": 2, "damage_response": 3, "stall": 1}
STORM = 12  # so many requests in a row are refused


class Broken(Exception):
    """The connection is to be torn down."""


async def read_head(reader):
    """The start line, and a list of (name, value); None at a clean end."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    lines = raw[:-4].decode("latin-1").split("\r\n")
    return lines[0], [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]


def header(headers, name):
    return next((value for each, value in headers if each.lower() == name), None)


def head_bytes(line, headers):
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin-1")


def reset(writer):
    """RST, not FIN."""
    transport = writer.transport
    if transport:
        transport.abort()


class FaultProxy:
    """Listens on a port of its own; `faulty` may be turned off and on."""

    def __init__(self, port, target, seed, stall_seconds):
        self.port, self.target, self.stall_seconds = port, target, stall_seconds
        self.random, self.faulty, self.storm, self.done = random.Random(seed), True, 0, collections.Counter()
        self.loop, self.thread = asyncio.new_event_loop(), None

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        started = threading.Event()

        async def serve():
            self.server = await asyncio.start_server(self._client, "127.0.0.1", self.port, limit=HEAD_MAX)
            started.set()

        def run():
            asyncio.set_event_loop(self.loop)
            self.loop.run_until_complete(serve())
            self.loop.run_forever()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert started.wait(10)
        return self

    def stop(self):
        async def end():
            self.server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0.1)
            self.loop.stop()

        asyncio.run_coroutine_threadsafe(end(), self.loop)
        self.thread.join(10)
        self.loop.close()

    # ---- one connection ----
    async def _client(self, reader, writer):
        try:
            while await self._request(reader, writer):
                pass
        except (Broken, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError,
                asyncio.CancelledError):
            pass
        finally:
            reset(writer)

    def _choose(self):
        if not self.faulty:
            return "none"
        if self.storm > 0:
            self.storm -= 1
            return "error_503"
        fault = self.random.choices(list(PLAN), PLAN.values())[0]
        if fault == "storm":
            self.storm, fault = STORM, "error_503"
        return fault

    async def _request(self, reader, writer):
        head = await read_head(reader)
        if head is None:
            return False
        line, headers = head
        length = int(header(headers, "content-length") or 0)
        fault = self._choose()
        self.done[fault] += 1
        if fault in ("error_500", "error_503"):
            await self._refuse(reader, writer, fault, header(headers, "expect"), length)
            return True
        upstream = await asyncio.open_connection("127.0.0.1", self.target, limit=HEAD_MAX)
        try:
            return await self._forward(reader, writer, upstream, line, headers, length, fault)
        finally:
            reset(upstream[1])

    async def _refuse(self, reader, writer, fault, expect, length):
        if not expect:
            await reader.readexactly(length)
        status, body = ("500 Internal Server Error", INTERNAL) if fault == "error_500" else ("503 Slow Down", SLOW_DOWN)
        headers = [("Content-Type", "application/xml"), ("Content-Length", len(body))]
        if expect:
            headers.append(("Connection", "close"))
        writer.write(head_bytes(f"HTTP/1.1 {status}", headers) + body)
        await writer.drain()
        if expect:
            raise Broken

    async def _forward(self, reader, writer, upstream, line, headers, length, fault):
        if header(headers, "expect"):
            headers = [(name, value) for name, value in headers if name.lower() != "expect"]
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        upstream[1].write(head_bytes(line, headers))
        await self._send_body(reader, upstream[1], length, fault)
        answer = await read_head(upstream[0])
        if answer is None or fault == "lost_answer":
            raise Broken
        if fault == "stall":
            await asyncio.sleep(self.stall_seconds)
            raise Broken
        return await self._answer(writer, upstream[0], line, answer, fault)

    async def _send_body(self, reader, writer, length, fault):
        cut = self.random.randrange(length + 1) if fault == "reset_request" else None
        flip = self.random.randrange(length) if fault == "damage_request" and length else None
        sent = 0
        while sent < length:
            chunk = bytearray(await reader.readexactly(min(length - sent, 65536)))
            if cut is not None and sent + len(chunk) >= cut:
                writer.write(bytes(chunk[:cut - sent]))
                await writer.drain()
                raise Broken
            if flip is not None and sent <= flip < sent + len(chunk):
                chunk[flip - sent] ^= 1
            writer.write(bytes(chunk))
            await writer.drain()
            sent += len(chunk)
        if cut is not None:
            raise Broken

    async def _answer(self, writer, reader, line, answer, fault):
        status, headers = answer
        length = int(header(headers, "content-length") or 0)
        bodiless = line.startswith("HEAD ") or " 204 " in status + " " or " 304 " in status + " "
        body = b"" if bodiless else await reader.readexactly(length)
        if header(headers, "transfer-encoding"):
            raise Broken  # versitygw never does; nothing here would understand it
        changed = {"longer": length + 7, "shorter": max(length - 7, 0)}.get(fault)
        if changed is not None and not bodiless:
            headers = [(name, changed if name.lower() == "content-length" else value) for name, value in headers]
        if fault == "damage_response" and body and status.split()[1] in ("200", "206") and line.startswith("GET "):
            at = self.random.randrange(len(body))
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]
        data = head_bytes(status, headers) + (body[:changed] if fault == "shorter" else body)
        if fault == "reset_response":
            data = data[:self.random.randrange(len(data) + 1)]
        await self._write(writer, data, fault)
        if fault in ("reset_response", "longer", "shorter"):
            raise Broken
        return True

    async def _write(self, writer, data, fault):
        step = max(len(data) // 20, 1) if fault == "trickle" else len(data)
        for at in range(0, len(data), step or 1):
            writer.write(data[at:at + step])
            await writer.drain()
            if fault == "trickle":
                await asyncio.sleep(0.02)
