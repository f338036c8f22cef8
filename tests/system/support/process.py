"""Processes that a test starts, watches and ends."""
import collections
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time

Result = collections.namedtuple("Result", "code out err")


def run(argv, env=None, stdin=b"", timeout=60, cwd=None, **options):
    """Runs a command to its end. Output as bytes; never raises for an exit code."""
    done = subprocess.run(argv, env=env, input=stdin, capture_output=True, timeout=timeout, cwd=cwd, **options)
    return Result(done.returncode, done.stdout, done.stderr)


def until(condition, timeout=20, what="the condition", pause=0.02):
    """Waits for a condition that nobody announces. Returns its (true) value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s"
        time.sleep(pause)


def free_port(host="127.0.0.1"):
    """A port below the range that outgoing connections take theirs from."""
    for _ in range(200):
        port = random.randrange(15000, 32768)
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port")


class Daemon:
    """A long-running process whose output is watched line by line."""

    def __init__(self, argv, env=None, cwd=None, log=None):
        self.argv, self.env, self.cwd, self.log_path = argv, env, cwd, log
        self.lines, self.process, self.reader = [], None, None
        self.news = threading.Condition()

    def start(self):
        self.lines = []
        # setpriv: dies with us, should we be killed. It execs, so the process id is the program's.
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *self.argv], env=self.env, cwd=self.cwd,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self.reader.start()
        return self

    def _read(self, stream):
        log = open(self.log_path, "ab") if self.log_path else None
        for raw in stream:
            if log:
                log.write(raw)
                log.flush()
            with self.news:
                self.lines.append(raw.decode(errors="replace").rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.lines.append(None)  # the end
            self.news.notify_all()
        stream.close()
        if log:
            log.close()

    def wait_for_line(self, pattern, timeout=30):
        """The first match of a line of output."""
        expression, at, deadline = re.compile(pattern), 0, time.monotonic() + timeout
        with self.news:
            while True:
                while at < len(self.lines):
                    line = self.lines[at]
                    assert line is not None, f"{self.argv[0]} ended before /{pattern}/:\n{self.text()}"
                    match = expression.search(line)
                    if match:
                        return match
                    at += 1
                left = deadline - time.monotonic()
                assert left > 0 and self.news.wait(left), f"no /{pattern}/ within {timeout} s:\n{self.text()}"

    def text(self):
        return "\n".join(line for line in self.lines if line is not None)

    @property
    def pid(self):
        return self.process.pid

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """kill -9, and wait for the end."""
        if self.running:
            self.process.kill()
        return self._wait(10)

    def stop(self, timeout=40):
        """SIGTERM, and wait for the end. Returns the exit code."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        return self._wait(timeout)

    def _wait(self, timeout):
        if self.process is None:
            return None
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"{self.argv[0]} did not end within {timeout} s:\n{self.text()}") from None
        self.reader.join(10)
        return code

    # ---- memory, from /proc ----
    def _status(self, key):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) * 1024
        raise KeyError(key)

    def rss(self):
        return self._status("VmRSS")

    def peak_rss(self):
        """The highest RSS since forget_peak."""
        return self._status("VmHWM")

    def forget_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as refs:
            refs.write("5\n")


def descendants(pid):
    """Process ids of all children and theirs."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as stat:
                parent = int(stat.read().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        if parent == pid:
            found += [int(entry), *descendants(int(entry))]
    return found


def processes_mentioning(text):
    """Process ids whose command line holds a text."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as cmdline:
                if text.encode() in cmdline.read():
                    found.append(int(entry))
        except OSError:
            continue
    return found
