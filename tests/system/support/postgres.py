"""A PostgreSQL server of our own: in a folder of its own, on a socket there, started as somebody who is not root.

As a program (for unit tests): postgres.py start FOLDER | stop FOLDER"""
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import time

SUPERUSER = "twokey"
LIFE_S = 1800  # a server that nobody stopped ends by itself
START_S = 60


def bin_folder():
    folders = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not folders:
        raise FileNotFoundError("no PostgreSQL server: install the Debian package postgresql")
    return folders[-1].parent


def as_somebody():
    """A prefix of commands: the server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


def processes():
    """(process id, parent, state) of each."""
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
            yield int(path.parent.name), int(fields[1]), fields[0]
        except (FileNotFoundError, ProcessLookupError):
            pass


class Postgres:
    def __init__(self, folder):
        self.folder, self.port = pathlib.Path(folder), 5432
        self.data = self.folder / "data"
        self.pid_file = self.folder / "pid"
        self.log = self.folder / "log"

    @property
    def connection(self):
        return f"host={self.folder} port={self.port} user={SUPERUSER} dbname=postgres"

    def init(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        subprocess.run(as_somebody() + [bin_folder() / "initdb", "--pgdata", self.data, "--username", SUPERUSER,
                                        "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"],
                       check=True, stdout=subprocess.DEVNULL, cwd=self.folder)

    def start(self, port=None, listen=""):
        """`listen`: an address beside the socket, for what has to go through a proxy."""
        self.port, self.listen = port or self.port, listen
        command = ["timeout", str(LIFE_S)] + as_somebody() + [
            bin_folder() / "postgres", "-D", self.data, "-k", self.folder, "-p", str(self.port),
            "-c", f"listen_addresses={listen}", "-c", "max_connections=100", "-c", "shared_buffers=32MB"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=self.folder,
                                            start_new_session=True)
        self.pid_file.write_text(str(self.process.pid))
        self.await_ready()

    def await_ready(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            done = subprocess.run([bin_folder() / "pg_isready", "-q", "-h", self.folder, "-p", str(self.port)], check=False)
            if done.returncode == 0:
                return
            time.sleep(0.05)
        raise TimeoutError(f"PostgreSQL did not start: {self.log.read_text()[-2000:]}")

    def sql(self, text):
        done = subprocess.run(["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", self.connection, "-c", text],
                              check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def postmaster(self):
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def kill(self):
        """As a crash: every process of it at once, nothing flushed or said."""
        postmaster = self.postmaster()
        os.kill(postmaster, signal.SIGSTOP)  # so that it makes no more of them
        pids = [postmaster, *(pid for pid, parent, _ in processes() if parent == postmaster)]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(START_S)
        end = time.monotonic() + START_S  # what is left would keep the next one from starting
        while any(pid in pids and state != "Z" for pid, _, state in processes()) and time.monotonic() < end:
            time.sleep(0.01)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def restart(self):
        self.start(self.port, self.listen)

    def stop(self):
        if getattr(self, "process", None) and self.process.poll() is None:
            os.kill(self.postmaster(), signal.SIGQUIT)  # immediate
            self.process.wait(START_S)

    def stop_other(self):
        """One that another process started here."""
        try:
            pid = self.postmaster()
            os.kill(pid, signal.SIGQUIT)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return
        end = time.monotonic() + START_S
        while pathlib.Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.05)


def main():
    action, folder = sys.argv[1:]
    server = Postgres(folder)
    server.stop_other()
    shutil.rmtree(folder, ignore_errors=True)
    if action == "start":
        server.init()
        server.start()


if __name__ == "__main__":
    main()
