"""Python code of the messages, generated from proto/ alone when the session starts, with the package of clients/python around
it. Import this module after `generate` has run."""
import pathlib
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]


def generate(target):
    """Compiles the .proto files into `target`, and makes that importable. google.rpc comes from googleapis-common-protos, as
    for everybody else."""
    import grpc
    import grpc_tools
    from grpc_tools import protoc

    proto = ROOT / "proto"
    known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    files = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto") if "google" not in path.parts)
    code = protoc.main(["protoc", f"-I{proto}", f"-I{known}", f"--python_out={target}", f"--pyi_out={target}",
                        f"--grpc_python_out={target}", *files])
    assert code == 0, "grpc_tools.protoc failed"
    shutil.copytree(ROOT / "clients" / "python" / "src" / "twokey", pathlib.Path(target) / "twokey", dirs_exist_ok=True)
    sys.path.insert(0, str(target))
    # grpc/health and grpc/reflection are generated into a folder that has the name of the library.
    grpc.__path__.append(str(pathlib.Path(target) / "grpc"))
