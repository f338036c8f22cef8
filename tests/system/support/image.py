"""The container image, built without a daemon from a bootstrapped Debian, and a command that runs twokey in it."""
import json
import os
import pathlib
import shutil
import subprocess

from support.process import run
from support.stubs import ROOT

BASE = "localhost/debian:12-slim"

# Stands in for the binary: the same arguments and environment, but in a container of its own: the image's user, a root file
# system that cannot be written, no capability, no other process in sight. What the test made belongs to that user.
WRAPPER = """#!/usr/bin/python3
import json, os, subprocess, sys, tempfile
spec = json.load(open({spec!r}))
spec["process"]["args"] = ["/usr/bin/twokey", *sys.argv[1:]]
spec["process"]["env"] += [f"{{name}}={{value}}" for name, value in os.environ.items() if name.startswith(("TWOKEY_", "SOFTHSM2_"))]
spec["process"]["cwd"] = os.getcwd()
bundle = tempfile.mkdtemp(dir={bundles!r})
json.dump(spec, open(bundle + "/config.json", "w"))
user = spec["process"]["user"]
subprocess.run(["chown", "-R", f"{{user['uid']}}:{{user['gid']}}", {shared!r}], check=True)
os.execvp("runc", ["runc", "--root", {state!r}, "run", "--bundle", bundle, os.path.basename(bundle)])
"""


def base_archive():
    """A minimal Debian as a tar file; kept in the build folder, since several tests start from it."""
    archive = ROOT / "build" / "bootstrap" / "bookworm.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        part = archive.with_name(f"{os.getpid()}.tar")
        done = run(["mmdebstrap", "--variant=minbase", "bookworm", str(part)], timeout=480)
        assert done.code == 0, done.err.decode()[-4000:]
        part.rename(archive)
    return archive


class Image:
    """docker/Dockerfile, built and mounted. package: a .deb that stands in for what the build stage makes."""

    def __init__(self, folder, package=None):
        self.folder = pathlib.Path(folder)
        self._import_base()
        stand_in = self._stage(package) if package else []
        self._buildah("build", "--format", "docker", "-f", str(ROOT / "docker/Dockerfile"), "--build-arg", f"BASE={BASE}",
                      *stand_in, "-t", "twokey", str(ROOT), timeout=1500)
        self.config = json.loads(self._buildah("inspect", "--type", "image", "twokey"))["Docker"]["config"]
        self.container = self._buildah("from", "twokey")
        self.root = pathlib.Path(self._buildah("mount", self.container))

    def _buildah(self, *arguments, timeout=300):
        argv = ["buildah", "--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run"), *arguments]
        done = run(argv, env={**os.environ, "BUILDAH_ISOLATION": "chroot"}, timeout=timeout)
        assert done.code == 0, f"{argv}:\n{done.out.decode()[-2000:]}{done.err.decode()[-4000:]}"
        return done.out.decode().strip()

    def _import_base(self):
        base = self._buildah("from", "scratch")
        self._buildah("add", base, str(base_archive()), "/")
        self._buildah("commit", "-q", base, BASE)
        self._buildah("rm", base)

    def _stage(self, package):
        stage = self.folder / "stage" / "package"
        stage.mkdir(parents=True)
        shutil.copy(package, stage / "twokey.deb")
        return ["--build-context", f"build={stage.parent}"]

    def try_in_it(self, volumes, *argv):
        """Runs a command as root in a container that can be written, with folders mounted; its output."""
        mounts = [word for inside, outside in volumes.items() for word in ("-v", f"{outside}:{inside}")]
        return self._buildah("run", "--user", "root", *mounts, self.container, "--", *argv)

    def remove(self):
        self._buildah("umount", self.container)
        self._buildah("rmi", "--all", "--force")

    def user(self):
        """Numeric, from the image's own /etc/passwd."""
        for line in (self.root / "etc/passwd").read_text().splitlines():
            name, _, uid, gid = line.split(":")[:4]
            if name == self.config["User"]:
                return {"uid": int(uid), "gid": int(gid)}
        raise AssertionError(f"no user {self.config['User']!r} in the image")

    def binary(self, shared):
        """A program to be used as if it were `twokey`; the folder `shared` is seen and written by it."""
        bundles, state = self.folder / "bundles", self.folder / "state"
        bundles.mkdir()
        subprocess.run(["runc", "spec"], cwd=bundles, check=True)
        spec = json.loads((bundles / "config.json").read_text())
        spec["root"] = {"path": str(self.root), "readonly": True}
        spec["process"].update(terminal=False, user=self.user(), env=list(self.config["Env"]), capabilities={})
        spec["linux"]["namespaces"] = [each for each in spec["linux"]["namespaces"] if each["type"] not in ("network", "cgroup")]
        del spec["linux"]["resources"]  # no cgroup of its own: machines differ in who may make one
        spec["mounts"] = [each for each in spec["mounts"] if not each["destination"].startswith("/sys")]
        spec["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
        spec["mounts"].append({"destination": str(shared), "type": "bind", "source": str(shared), "options": ["rbind", "rw"]})
        (bundles / "config.json").write_text(json.dumps(spec))
        wrapper = self.folder / "twokey"
        wrapper.write_text(WRAPPER.format(spec=str(bundles / "config.json"), bundles=str(bundles), shared=str(shared),
                                          state=str(state)))
        wrapper.chmod(0o755)
        return wrapper
