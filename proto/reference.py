"""Write docs/protocol.md from the .proto files, or check that it is up to date.

Run ``python proto/reference.py`` after changing a .proto file and commit what it writes. ``--check`` writes
nothing and fails when the document says something else. All its words are the comments of the protocol.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from generate import HERE, SOURCES
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

PAGE = HERE.parent / "docs" / "protocol.md"

PACKAGE = ".pollinator.v1."
HEAD = """\
# Protocol

All calls, messages and words of `pollinator.v1`, made from the comments in
[proto/pollinator/v1](../proto/pollinator/v1) by `proto/reference.py`. How they are used is told in
[api.md](api.md).
"""

# Numbers of fields in descriptor.proto: by them a comment is found.
_MESSAGES, _ENUMS, _SERVICES, _MEMBERS = 4, 5, 6, 2

Comments = dict[tuple[int, ...], str]


def descriptors() -> list[FileDescriptorProto]:
    """All .proto files as they are compiled; raises CalledProcessError when one does not compile."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "all")
        command = [
            "-m",
            "grpc_tools.protoc",
            f"-I{HERE}",
            f"--descriptor_set_out={out}",
            "--include_source_info",
        ]
        subprocess.run([sys.executable, *command, *SOURCES], check=True, cwd=HERE)
        files = FileDescriptorSet.FromString(out.read_bytes()).file
        return sorted(files, key=lambda file: file.name)


def page() -> str:
    """The whole document."""
    files = [(file, _comments(file)) for file in descriptors()]
    services = [line for each in files for line in _services(*each)]
    messages = [line for each in files for line in _messages(*each)]
    enums = [line for each in files for line in _enums(*each)]
    return "\n".join([HEAD, "## Calls", "", *services, "## Messages", "", *messages, "## Words", "", *enums])


def _comments(file: FileDescriptorProto) -> Comments:
    return {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
    }


def _services(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    for at, service in enumerate(file.service):
        yield from _heading(service.name, comments[_SERVICES, at])
        yield from ("| call | takes | gives | |", "|---|---|---|---|")
        for number, call in enumerate(service.method):
            takes = _link(call.input_type) + _stream(call.client_streaming)
            gives = _link(call.output_type) + _stream(call.server_streaming)
            yield _row(f"`{call.name}`", takes, gives, comments[_SERVICES, at, _MEMBERS, number])
        yield ""


def _messages(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    for at, message in enumerate(file.message_type):
        yield from _heading(message.name, comments[_MESSAGES, at])
        if message.field:
            yield from ("| field | type | |", "|---|---|---|")
        for number, field in enumerate(message.field):
            text = comments[_MESSAGES, at, _MEMBERS, number]
            yield _row(f"`{field.name}` = {field.number}", _type(message, field), text)
        if message.field:
            yield ""


def _enums(file: FileDescriptorProto, comments: Comments) -> Iterator[str]:
    for at, enum in enumerate(file.enum_type):
        yield from _heading(enum.name, comments[_ENUMS, at])
        yield from ("| word | |", "|---|---|")
        for number, value in enumerate(enum.value):
            yield _row(f"`{value.name}` = {value.number}", comments[_ENUMS, at, _MEMBERS, number])
        yield ""


def _heading(name: str, text: str) -> Sequence[str]:
    return (f"### {name}", "", text, "")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    kinds = FieldDescriptorProto.Type
    name = _link(field.type_name) if field.type_name else kinds.Name(field.type).removeprefix("TYPE_").lower()
    if (pair := _map_entry(message, field)) is not None:
        return f"map of {' to '.join(_type(pair, each) for each in pair.field)}"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {name}"
    if field.proto3_optional:
        return f"{name}, optional"
    if field.HasField("oneof_index"):
        return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return name


def _map_entry(message: DescriptorProto, field: FieldDescriptorProto) -> DescriptorProto | None:
    name = field.type_name.rpartition(".")[2]
    return next((each for each in message.nested_type if each.name == name and each.options.map_entry), None)


def _link(name: str) -> str:
    if not name.startswith(PACKAGE):
        return f"`{name.removeprefix('.')}`"
    short = name.removeprefix(PACKAGE)
    return f"[{short}](#{short.lower()})"


def _stream(streaming: bool) -> str:
    return ", a stream" if streaming else ""


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code."""
    if arguments == ["--check"]:
        stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page()
        if stale:
            sys.stderr.write("docs/protocol.md is out of date, run python proto/reference.py\n")
        return int(stale)
    if arguments:
        sys.stderr.write("usage: reference.py [--check]\n")
        return 2
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
