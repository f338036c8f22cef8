"""Python stubs, generated from proto/ alone when the session starts. Import this module after `generate` has run."""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]


def generate(target):
    """Compiles every .proto into `target` and makes it importable."""
    import grpc
    import grpc_tools
    from grpc_tools import protoc

    proto = ROOT / "proto"
    known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    files = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    code = protoc.main(["protoc", f"-I{proto}", f"-I{known}", f"--python_out={target}", f"--grpc_python_out={target}",
                        *files])
    assert code == 0, "grpc_tools.protoc failed"
    sys.path.insert(0, str(target))
    # grpc/health and grpc/reflection are generated into a folder that has the name of the library.
    grpc.__path__.append(str(pathlib.Path(target) / "grpc"))
