"""Write the Python code of the protocol next to its .proto files, or check that it is up to date.

Run ``python proto/generate.py`` after changing a .proto file and commit what it writes. ``--check`` writes
nothing and fails when the committed code differs. The generator is pinned low on purpose: generated code
refuses runtimes older than its generator, so a newer one would force users to the newest grpcio.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = sorted(path.relative_to(HERE).as_posix() for path in HERE.glob("pollinator/v1/*.proto"))


def generate(out: Path) -> None:
    """Compile every .proto file into ``out``; raises CalledProcessError when one does not compile."""
    bin_dir = Path(sys.executable).parent
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{HERE}",
            # protoc would otherwise take whichever plugin is first on PATH.
            f"--plugin=protoc-gen-mypy={bin_dir / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={bin_dir / 'protoc-gen-mypy_grpc'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out=quiet,readable_stubs:{out}",
            f"--mypy_grpc_out=quiet,only_async,generate_concrete_servicer_stubs:{out}",
            *SOURCES,
        ],
        check=True,
        cwd=HERE,
    )
    _drop_empty_services(out)


def _drop_empty_services(out: Path) -> None:
    """Files of messages only get an empty ``_pb2_grpc`` module from the generator; nobody needs it."""
    for source in SOURCES:
        if "\nservice " not in (HERE / source).read_text(encoding="utf-8"):
            stem = out / source.removesuffix(".proto")
            for suffix in ("_pb2_grpc.py", "_pb2_grpc.pyi"):
                stem.with_name(stem.name + suffix).unlink(missing_ok=True)


def stale_files() -> list[str]:
    """Names of committed files that differ from what the generator writes now."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        generate(out)
        fresh = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*_pb2*")}
    kept = {
        path.relative_to(HERE).as_posix(): path.read_bytes() for path in HERE.glob("pollinator/v1/*_pb2*")
    }
    return sorted(name for name in fresh.keys() | kept.keys() if fresh.get(name) != kept.get(name))


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code."""
    if arguments == ["--check"]:
        stale = stale_files()
        if stale:
            sys.stderr.write("\n  ".join(["out of date, run python proto/generate.py:", *stale]) + "\n")
        return 1 if stale else 0
    if arguments:
        sys.stderr.write("usage: generate.py [--check]\n")
        return 2
    generate(HERE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
