"""From project.yaml to a spec, and what is said about mistakes."""

from __future__ import annotations

import pytest

from pollinator.model.project import load_spec
from pollinator.v1.spec_pb2 import EnvironmentVariable, Gpu, RunSpec, Tunnel
from pollinator.wire.errors import InvalidInput

HASH = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"

OF_VERSION_1_0_8 = f"""\
projectname: {HASH}
conditions:
  executorNames:
  - lumi-std
  nodes: 1
  processesPerNode: 1
  cpu: 1000m
  mem: 1000Mi
  walltime: 600
  gpu:
    count: 0
    name: ""
environment:
  docker: python:3.12-rc-bookworm
  rebuildImage: false
  init-cmd: pip3 install numpy
  cmd: python3
  source: main.py
tunnel: null
"""

EVERY_KEY = """\
schemaVersion: 2
x-mine: anything
projectname: all
conditions:
  executorType: local
  executorNames: [a, b]
  nodes: 2
  processesPerNode: 3
  cpu: 1.5
  mem: 4Gi
  walltime: 01:30:00
  gpu: {count: 4, name: A100, x-note: [1]}
environment:
  docker: img:1
  rebuildImage: True
  init-cmd: "a && b"
  cmd: python3 -u
  source: dir/main.py
  args: [one, 2, "three four", 0.50, yes]
  env:
    LATER: "1"
    EARLIER: 1.10
tunnel:
  user: me
  jumpHost: login.example.org
  jumpHostPort: 22
  sshKey: ~/.ssh/id
  localPort: 8888
  remotePort: 9999
sync:
  allowExternalLinks: true
"""

BASE = "projectname: p\nenvironment:\n  cmd: python3\n"
"""Lines 1 to 3 of most files here."""


def load(text: str | bytes) -> RunSpec:
    return load_spec(text, "project.yaml")


def complaints(text: str | bytes) -> list[tuple[str, str]]:
    """Place, as ``line:column``, and message of all that is wrong."""
    with pytest.raises(InvalidInput) as caught:
        load(text)

    assert "bad_spec" == caught.value.reason
    assert all(each.where.startswith("project.yaml:") for each in caught.value.violations)
    return [(each.where.partition(":")[2], each.message) for each in caught.value.violations]


def complaint(text: str | bytes) -> tuple[str, str]:
    (only,) = complaints(text)
    return only


def test_a_project_of_the_original_is_what_it_was() -> None:
    assert load(OF_VERSION_1_0_8) == RunSpec(
        project=HASH,
        nodes=1,
        processes_per_node=1,
        cpu_millis=1000,
        memory_bytes=1000 << 20,
        walltime_ms=600_000,
        gpu=Gpu(count=0, name=""),
        image="python:3.12-rc-bookworm",
        rebuild_image=False,
        init_command="pip3 install numpy",
        command="python3",
        source="main.py",
        executor_names=["lumi-std"],
    )


def test_the_names_of_its_first_version_still_work() -> None:
    spec = load(
        "projectid: old\nconditions: {executorType: container-executor}\nenvironment: {cmd: python3}\n"
    )

    assert ("old", "container-executor") == (spec.project, spec.executor_type)


def test_every_key_has_its_place_in_the_spec() -> None:
    assert load(EVERY_KEY) == RunSpec(
        project="all",
        executor_type="local",
        executor_names=["a", "b"],
        nodes=2,
        processes_per_node=3,
        cpu_millis=1500,
        memory_bytes=4 << 30,
        walltime_ms=5_400_000,
        gpu=Gpu(count=4, name="A100"),
        image="img:1",
        rebuild_image=True,
        init_command="a && b",
        command="python3 -u",
        source="dir/main.py",
        arguments=["one", "2", "three four", "0.50", "yes"],
        environment=[
            EnvironmentVariable(name="EARLIER", value="1.10"),
            EnvironmentVariable(name="LATER", value="1"),
        ],
        tunnel=Tunnel(
            user="me",
            jump_host="login.example.org",
            jump_host_port=22,
            ssh_key="~/.ssh/id",
            local_port=8888,
            remote_port=9999,
        ),
        allow_external_links=True,
    )


def test_what_is_left_out_asks_for_one_rank_and_nothing_more() -> None:
    assert RunSpec(project="p", command="python3", nodes=1, processes_per_node=1) == load(BASE)


@pytest.mark.parametrize("written", ["", "null", "~", "Null"])
def test_a_key_without_a_value_is_one_that_is_not_there(written: str) -> None:
    keys = ("conditions", "tunnel", "sync", "x-mine")
    more = "".join(f"{key}: {written}\n" for key in keys)
    text = BASE + f"  docker: {written}\n  args: {written}\n  env: {written}\n" + more

    assert load(BASE) == load(text)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("no", "no"),
        ("1.10", "1.10"),
        ("0x10", "0x10"),
        ("010", "010"),
        ("1e3", "1e3"),
        ("2024-01-02", "2024-01-02"),
        ("01:30:00", "01:30:00"),
        ('"null"', "null"),
        ("'true'", "true"),
        ("!!str 12", "12"),
        ("a # comment", "a"),
        ('"a # b"', "a # b"),
    ],
)
def test_a_text_is_what_is_written_and_not_what_yaml_makes_of_it(written: str, read: str) -> None:
    spec = load(f"projectname: p\nenvironment:\n  cmd: {written}\n  env:\n    A: {written}\n")

    assert (read, read) == (spec.command, spec.environment[0].value)


@pytest.mark.parametrize("written", ["", "null", "~"])
def test_a_variable_without_a_value_is_empty(written: str) -> None:
    assert [EnvironmentVariable(name="A")] == load(BASE + f"  env:\n    A: {written}\n").environment


def test_a_shell_command_may_have_several_lines() -> None:
    assert "one\ntwo\n" == load(BASE + "  init-cmd: |\n    one\n    two\n").init_command


@pytest.mark.parametrize(
    "text", ["\ufeff" + BASE, BASE.replace("\n", "\r\n"), "---\n" + BASE, "%YAML 1.2\n---\n" + BASE]
)
def test_other_ways_to_write_a_file_are_read(text: str) -> None:
    assert load(BASE) == load(text) == load(text.encode())


MERGING = """\
x-small: &small {cpu: 500m, mem: 1Gi}
x-long: &long {walltime: 1h, cpu: 8}
projectname: p
conditions:
  <<: %s
  mem: 2Gi
environment: {cmd: a}
"""


def test_a_mapping_can_be_merged_in_and_what_is_written_there_wins() -> None:
    spec = load(MERGING % "*small")

    assert (500, 2 << 30) == (spec.cpu_millis, spec.memory_bytes)


def test_of_several_merged_mappings_the_first_wins() -> None:
    spec = load(MERGING % "[*small, *long]")

    assert (500, 3_600_000) == (spec.cpu_millis, spec.walltime_ms)


def test_variables_can_be_merged_in() -> None:
    text = "x-e: &e {A: 1, B: 2}\nprojectname: p\nenvironment:\n  cmd: a\n  env: {<<: *e, B: 3}\n"

    assert [("A", "1"), ("B", "3")] == [(each.name, each.value) for each in load(text).environment]


def test_what_is_merged_in_is_checked_where_it_stands() -> None:
    text = "x-a: &a {cpus: 1}\nprojectname: p\nconditions:\n  <<: *a\nenvironment: {cmd: a}\n"

    assert ("1:10", "unknown key 'conditions.cpus'; did you mean 'cpu'?") == complaint(text)


@pytest.mark.parametrize("value", ["text", "[text]", "[[]]", "&x [*x]"])
def test_only_mappings_can_be_merged_in(value: str) -> None:
    where, message = complaint(f"projectname: p\nconditions:\n  <<: {value}\nenvironment: {{cmd: a}}\n")

    assert ("3:3", "`<<` takes another mapping, for example *name") == (where, message)


def test_a_mapping_that_holds_itself_is_no_endless_story() -> None:
    merged = "projectname: p\nconditions: &c\n  <<: *c\nenvironment: {cmd: a}\n"
    nested = "projectname: p\nconditions: &c\n  gpu: *c\nenvironment: {cmd: a}\n"

    assert ("3:3", "`<<` takes another mapping, for example *name") == complaint(merged)
    assert ("3:3", "unknown key 'conditions.gpu.gpu'; known are count, name") == complaint(nested)


MISTAKES = {
    "an unknown key": ("colour: red\n", "4:1", "unknown key 'colour'; known are conditions, environment,"),
    "a typing error": ("conditons:\n", "4:1", "unknown key 'conditons'; did you mean 'conditions'?"),
    "another case": (
        "conditions: {Nodes: 1}\n",
        "4:14",
        "unknown key 'conditions.Nodes'; did you mean 'nodes'?",
    ),
    "a key of elsewhere": ("cpu: 1\n", "4:1", "unknown key 'cpu'; did you mean 'conditions.cpu'?"),
    "a key too deep": ("conditions: {gpu: {mem: 1}}\n", "4:20", "did you mean 'conditions.mem'?"),
    "a key twice": ("conditions: {cpu: 1, cpu: 2}\n", "4:22", "'conditions.cpu' is there twice"),
    "a key under two names": ("projectid: q\n", "4:12", "'projectid' is 'projectname' under another name"),
    "a key that is a list": ("? [a]\n: b\n", "4:3", "a key is plain text"),
    "a value for a mapping": ("conditions: fast\n", "4:13", "conditions holds further settings"),
    "a list for a mapping": ("conditions: [a]\n", "4:13", "conditions holds further settings"),
    "a mapping for a value": ("conditions: {cpu: {a: 1}}\n", "4:19", "conditions.cpu takes one plain value"),
    "a list for a value": ("conditions: {cpu: [1]}\n", "4:19", "conditions.cpu takes one plain value"),
    "a value for a list": ("  args: one\n", "4:9", "environment.args takes a list"),
    "a list in a list": ("  args: [[a]]\n", "4:9", "environment.args takes a list"),
    "no count": ("conditions: {nodes: many}\n", "4:21", "'many' is not a whole number from 1 to 1000000"),
    "a count of 0": ("conditions: {nodes: 0}\n", "4:21", "'0' is not a whole number from 1 to 1000000"),
    "a negative count": ("conditions: {nodes: -1}\n", "4:21", "'-1' is not a whole number"),
    "a fraction of a count": ("conditions: {nodes: 1.0}\n", "4:21", "'1.0' is not a whole number"),
    "an exponent": ("conditions: {nodes: 1e1}\n", "4:21", "'1e1' is not a whole number"),
    "a hexadecimal count": ("conditions: {nodes: 0x10}\n", "4:21", "'0x10' is not a whole number"),
    "an octal count": ("conditions: {nodes: 010}\n", "4:21", "'010' is not a whole number"),
    "an underscore": ("conditions: {nodes: 1_0}\n", "4:21", "'1_0' is not a whole number"),
    "a sign": ("conditions: {nodes: +1}\n", "4:21", "'+1' is not a whole number"),
    "too many": (
        "conditions: {nodes: 1000001}\n",
        "4:21",
        "'1000001' is not a whole number from 1 to 1000000",
    ),
    "other digits": ("conditions: {nodes: \u0663}\n", "4:21", "is not a whole number"),
    "negative GPUs": (
        "conditions: {gpu: {count: -1}}\n",
        "4:27",
        "'-1' is not a whole number from 0 to 1000000",
    ),
    "no amount of CPU": (
        "conditions: {cpu: 1 core}\n",
        "4:19",
        "'1 core' is not an amount of CPU; write 500m or 2",
    ),
    "a negative CPU": ("conditions: {cpu: -1}\n", "4:19", "'-1' is not an amount of CPU"),
    "too fine a CPU": ("conditions: {cpu: 0.0001}\n", "4:19", "finer than a thousandth of a core"),
    "no amount of memory": ("conditions: {mem: 1 gig}\n", "4:19", "write 1000Mi or 4Gi"),
    "a negative memory": ("conditions: {mem: -1Gi}\n", "4:19", "'-1Gi' is not an amount of memory"),
    "too much memory": ("conditions: {mem: 99999999999Pi}\n", "4:19", "is more than there can be"),
    "no duration": ("conditions: {walltime: soon}\n", "4:24", "write 600, 10m, 1h30m or 01:30:00"),
    "a negative duration": ("conditions: {walltime: -5}\n", "4:24", "'-5' is not a duration"),
    "seconds above 59": ("conditions: {walltime: '01:00:75'}\n", "4:24", "'01:00:75' is not a duration"),
    "no truth": ("  rebuildImage: maybe\n", "4:17", "write true or false, not 'maybe'"),
    "a port of 0": ("tunnel: {localPort: 0}\n", "4:21", "'0' is not a port from 1 to 65535"),
    "a port too high": ("tunnel: {localPort: 65536}\n", "4:21", "'65536' is not a port from 1 to 65535"),
    "a source outside": ("  source: ../x\n", "4:11", "'../x' must be a path below cfs/src"),
    "an absolute source": ("  source: /x\n", "4:11", "'/x' must be a path below cfs/src"),
    "a list of variables": ("  env: [A]\n", "4:8", "environment.env takes lines like `NAME: value`"),
    "no name of a variable": ("  env: {A-B: 1}\n", "4:9", "'A-B' is not the name of a variable"),
    "a variable named by a list": ("  env: {[A]: 1}\n", "4:9", "this is not the name of a variable"),
    "a variable twice": ("  env: {A: 1, A: 2}\n", "4:15", "'A' is there twice"),
    "a variable that is a list": ("  env: {A: [1]}\n", "4:12", "A takes one plain value"),
    "NUL in a value": ('  source: "a\\0b"\n', "4:11", "holds U+0000, which no program can be given"),
    "NUL in a list": ('  args: [ok, "a\\0b"]\n', "4:14", "holds U+0000, which no program can be given"),
    "NUL in a variable": ('  env: {A: "\\0"}\n', "4:12", "holds U+0000, which no program can be given"),
    "half a character": ('  args: ["\\ud800"]\n', "4:10", "holds U+D800, which no program can be given"),
    "no character": ('  source: "\\UFFFFFFFF"\n', "4:14", "this escape stands for no character"),
    "a tab": ("\tsource: x\n", "4:1", "indent with spaces, not tabs"),
    "an open bracket": ("  args: [a\n", "5:1", "expected ',' or ']'"),
    "an open quote": ('  source: "a\n', "5:1", "found unexpected end of stream"),
    "a bad indentation": (" source: x\n", "4:2", "expected <block end>"),
    "no colon": ("source\n", "5:1", "could not find expected ':'"),
    "an unknown alias": ("conditions: *x\n", "4:13", "found undefined alias 'x'"),
    "a second document": ("---\na: b\n", "4:1", "found another document"),
    "a control character": ("  source: a\x01b\n", "4:12", "character U+0001 is not allowed in YAML"),
    "a wide line before": ("  docker: \N{SNOWMAN}\n  source: /\n", "5:11", "must be a path below cfs/src"),
    "something wide before": ("tunnel: {user: \N{SNOWMAN}, localPort: x}\n", "4:30", "'x' is not a port"),
    "a nest": ("x-a: " + "[" * 3000, "4:", "this is nested too deeply"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_what_to_write(what: str) -> None:
    more, where, message = MISTAKES[what]
    at, said = complaint(BASE + more)

    assert where in f"{at} " if where.endswith(":") else where == at
    assert message in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("environment: {cmd: a}\n", ("1:1", "projectname is missing")),
        ("projectname: p\n", ("1:1", "environment.cmd is missing")),
        ("projectname: p\nenvironment: {cmd: ''}\n", ("2:20", "the command is empty")),
        ("projectname: p\nenvironment: {cmd: '\"'}\n", ("2:20", "cannot be split into words")),
        ("projectname: a b\nenvironment: {cmd: a}\n", ("1:14", "'a b' is not a name")),
        ("projectname: .hidden\nenvironment: {cmd: a}\n", ("1:14", "'.hidden' is not a name")),
        (f"projectname: {'x' * 129}\nenvironment: {{cmd: a}}\n", ("1:14", "at most 128")),
        ("", ("1:1", "write settings as `key: value` lines")),
        ("# nothing\n", ("1:1", "write settings as `key: value` lines")),
        ("- a\n", ("1:1", "write settings as `key: value` lines")),
        ("text\n", ("1:1", "write settings as `key: value` lines")),
    ],
)
def test_what_every_project_needs_is_asked_for(text: str, expected: tuple[str, str]) -> None:
    where, message = complaint(text)

    assert expected[0] == where
    assert expected[1] in message


@pytest.mark.parametrize(
    ("data", "where", "byte"),
    [
        (b"projectname: p\nenvironment:\n  cmd: caf\xe9\n", "3:11", "0xe9"),
        (b"\xff\xfep\0r\0o\0", "1:1", "0xff"),
        ("projectname: \N{SNOWMAN}".encode() + b"\x80", "1:15", "0x80"),
    ],
)
def test_bytes_that_are_no_utf_8_are_pointed_at(data: bytes, where: str, byte: str) -> None:
    assert (where, f"byte {byte} is not UTF-8; save the file as UTF-8") == complaint(data)


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = BASE + "  sorce: x\nconditions:\n  nodes: 0\n  mem: lots\ncolour: red\n"

    assert ["4:3", "6:10", "7:8", "8:1"] == [where for where, _ in complaints(text)]


@pytest.mark.parametrize(
    ("text", "count"), [(BASE + "a: 1\n", "one thing is"), (BASE + "a: 1\nb: 1\n", "2 things are")]
)
def test_the_message_counts(text: str, count: str) -> None:
    with pytest.raises(InvalidInput, match=f"{count} not right in project.yaml"):
        load(text)


def test_what_is_said_about_a_long_value_is_short_and_still_helps() -> None:
    where, message = complaint(BASE + f"conditions: {{nodes: {'9' * 10_000}}}\n")

    assert "4:21" == where
    assert len(message) < 400
    assert message.endswith("is not a whole number from 1 to 1000000")
