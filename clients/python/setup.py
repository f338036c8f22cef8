"""The messages' code is generated from proto/ when the package is built; it is not in the repository."""
import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
# In a source distribution beside this file, in the repository at its root.
PROTO = next(folder for folder in (HERE / "proto", HERE.parents[1] / "proto") if (folder / "twokey").is_dir())


def generate(target):
    """Compiles proto/twokey into the folder `target`."""
    import grpc_tools
    from grpc_tools import protoc

    known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    files = sorted(str(path.relative_to(PROTO)) for path in (PROTO / "twokey").rglob("*.proto"))
    words = [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-I{PROTO}", f"-I{known}", *words, *files]) != 0:
        raise SystemExit("protoc has failed")


class BuildWithMessages(build_py):
    def run(self):
        super().run()
        generate(self.build_lib)

    def get_outputs(self, include_bytecode=1):
        made = [str(path) for path in (pathlib.Path(self.build_lib) / "twokey" / "v1").glob("*")]
        return super().get_outputs(include_bytecode) + made


class SourceWithProto(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        shutil.copytree(PROTO / "twokey", pathlib.Path(base_dir) / "proto" / "twokey")


setup(cmdclass={"build_py": BuildWithMessages, "sdist": SourceWithProto})
