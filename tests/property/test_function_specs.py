"""What a run asks for reaches who takes it from a colony, through the templates of public executors, too."""

from __future__ import annotations

import html
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pollinator.executors.colonies.funcspec import Mount, Target, function_spec
from pollinator.executors.colonies.rows import piece_of, row_of
from pollinator.executors.colonies.wanted import wanted
from pollinator.v1.spec_pb2 import EnvironmentVariable, Gpu, RunSpec, Slurm

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
TRICKY = [
    "a b",
    "&&",
    "<x>",
    '"',
    "'",
    "$HOME",
    "`id`",
    "\\",
    "x;y",
    "\n",
    "é",
    "#",
    "~",
    "+",
    "{processid}",
    "",
]
WORDS = TEXTS | st.sampled_from(TRICKY)
VARIABLES = st.dictionaries(st.from_regex(r"V_[A-Za-z0-9_]{0,5}", fullmatch=True), WORDS, max_size=3)
SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), sys.stdin.read()]))"
RUN = "01kcolonyrun00000000000000"
TARGET = Target("dev", RUN, ["site"], src=Mount("/s", "src"), data=Mount("/d", "data"))

Printed = tuple[list[str], dict[str, str], str]


@given(
    st.builds(
        RunSpec,
        project=st.just("demo"),
        nodes=st.integers(1, 127),
        processes_per_node=st.integers(1, 127),
        cpu_millis=st.integers(0, 10**18),
        memory_bytes=st.integers(0, 10**18),
        walltime_ms=st.integers(0, 10**15),
        gpu=st.builds(Gpu, count=st.integers(0, 8), name=TEXTS),
        image=TEXTS,
        rebuild_image=st.booleans(),
        init_command=WORDS,
        command=WORDS.map(shlex.quote),
        source=TEXTS,
        arguments=st.lists(WORDS),
        environment=VARIABLES.map(
            lambda found: [EnvironmentVariable(name=name, value=found[name]) for name in sorted(found)]
        ),
        executor_names=st.lists(TEXTS),
        location=TEXTS,
        requeue=st.booleans(),
        slurm=st.builds(Slurm, partition=TEXTS, modules=st.lists(TEXTS)),
    ),
    st.booleans(),
)
@settings(deadline=None)
def test_an_executor_of_ours_is_given_the_very_spec(spec: RunSpec, ours: bool) -> None:
    target = Target("dev", RUN, ["site"], ours=True) if ours else TARGET
    carried = json.loads(json.dumps(function_spec(spec, target)))

    assert (spec, RUN) == (wanted(carried, "id").spec, wanted(carried, "id").run_id)


@given(st.lists(WORDS, max_size=4), VARIABLES, st.sampled_from(["", "true", "echo 'a && b' >&2", "cat >&2"]))
@example(TRICKY, {"V_A": "a && b", "V_B": "plain"}, "")
@example(["plain"], {"V_A": "a b"}, "true")
@example(["plain"], {"V_A": "x;y"}, "true; true")
@example(["plain"], {"V_A": "1", "V_B": ""}, "true; true")
@settings(deadline=None, max_examples=40)
def test_words_and_variables_reach_a_program_through_the_scripts_of_public_executors(
    arguments: list[str], variables: dict[str, str], init: str
) -> None:
    # One that needs no quoting: what does is only in what is drawn.
    program = Path(tempfile.gettempdir(), "pollinator-shows.py")
    program.write_text(SHOW)
    spec = RunSpec(
        project="demo",
        nodes=1,
        processes_per_node=1,
        walltime_ms=60_000,
        init_command=init,
        command=f"{sys.executable} -S {program}",
        arguments=arguments,
        environment=[EnvironmentVariable(name=name, value=value) for name, value in variables.items()],
    )
    found = function_spec(spec, TARGET)

    for run in (through_bash, through_sh):
        printed, environment, read = run(found)

        assert arguments == printed
        assert variables == {name: environment[name] for name in variables}
        # Never the script itself.
        assert read in ("", "somebody else's")


@given(st.lists(WORDS, min_size=1, max_size=4), VARIABLES)
@settings(deadline=None)
def test_nothing_that_a_template_would_change_is_in_what_public_executors_read(
    words: list[str], variables: dict[str, str]
) -> None:
    spec = RunSpec(
        project="demo",
        nodes=1,
        processes_per_node=1,
        init_command=words[0],
        command=shlex.quote(words[0] or "x"),
        arguments=words[1:],
        environment=[EnvironmentVariable(name=name, value=value) for name, value in variables.items()],
    )
    found = function_spec(spec, TARGET)
    arguments = found["kwargs"]
    read = [arguments["init-cmd"], arguments["cmd"], *arguments["args"], *found["env"].values()]

    assert [] == [text for text in read if set(text) & set("&<>\"'`$\\+\n#{}~*?!") or not text.isascii()]


@given(st.integers(0, 999_999), st.binary() | TEXTS.map(str.encode))
@example(0, b"plain text\n")
@example(3, b"plain text\n")
@example(0, b"\x023\x03 as if of another rank")
@example(0, "\U0010fe00\U0010feff".encode())
@example(7, b"\xff\xfe\0\xc3")
def test_what_a_rank_prints_comes_back_from_a_log_as_it_was(rank: int, data: bytes) -> None:
    row = row_of(rank, data)

    # JSON and databases keep such text.
    assert "\0" not in row
    assert row == row.encode().decode()
    assert (rank, data) == piece_of(row)


def line_of(found: dict[str, Any]) -> str:
    arguments = found["kwargs"]
    return f"{arguments['init-cmd']};{' '.join([arguments['cmd'], *arguments['args']])}"


def through_bash(found: dict[str, Any]) -> Printed:
    """As the executor for Slurm writes it: escaped for HTML, between double quotes, in a script of bash."""
    exports = [f"export {name}={escaped(value)}" for name, value in found["env"].items()]
    return printed("\n".join([*exports, f'sh -c "{escaped(line_of(found))}"']), {})


def escaped(text: str) -> str:
    """As the templates of Go do it: a plus sign as well."""
    return html.escape(text).replace("+", "&#43;")


def through_sh(found: dict[str, Any]) -> Printed:
    """As the one for Docker does."""
    return printed(shlex.join(["sh", "-c", line_of(found)]), found["env"])


def printed(script: str, environment: dict[str, str]) -> Printed:
    done = subprocess.run(
        ["bash", "-c", script],
        input=b"somebody else's",
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"} | environment,
        check=True,
        timeout=30,
    )
    arguments, variables, read = json.loads(done.stdout)
    return arguments, variables, read
