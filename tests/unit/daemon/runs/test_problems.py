"""Places in sources that programs name when they fail, language by language."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pollinator.daemon.runs.problems import LINE_CHARACTERS, Place, Weight, find_places

CRASH, ERROR, CALLER, WARNING = Weight


def places(text: str, ours: str = "main") -> list[Place]:
    """What is found in an output where every file with ``ours`` in its name is one of the sources."""
    return find_places(textwrap.dedent(text), lambda path: path if ours in path else None)


def told(text: str) -> list[tuple[str, int, int, Weight, str, str]]:
    return [
        (each.path, each.line, each.column, each.weight, each.code, each.message) for each in places(text)
    ]


def run_python(folder: Path, program: str) -> str:
    (folder / "main.py").write_text(textwrap.dedent(program))
    done = subprocess.run(
        [sys.executable, "main.py"], cwd=folder, capture_output=True, text=True, timeout=20, check=False
    )

    assert done.returncode
    return done.stderr


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            """\
            def f():
                raise ValueError("no: not this")

            f()
            """,
            [
                (2, CRASH, "ValueError", "ValueError: no: not this"),
                (4, CALLER, "ValueError", "led to ValueError: no: not this"),
            ],
        ),
        ("x = 1\nassert not x\n", [(2, CRASH, "AssertionError", "AssertionError")]),
        ("x = (\n", [(1, CRASH, "SyntaxError", "SyntaxError: '(' was never closed")]),
        ("import json\njson.loads('{')\n", [(2, CRASH, "JSONDecodeError", "json.decoder.JSONDecodeError: ")]),
        (
            """\
            try:
                1 / 0
            except ZeroDivisionError:
                {}["gone"]
            """,
            [
                (4, CRASH, "KeyError", "KeyError: 'gone'"),
                (2, CRASH, "ZeroDivisionError", "ZeroDivisionError: division by zero"),
            ],
        ),
        (
            "raise ExceptionGroup('two', [ValueError('a')])\n",
            [(1, CRASH, "ExceptionGroup", "ExceptionGroup: two (1 sub-exception)")],
        ),
        (
            "import faulthandler, os\nfaulthandler.enable()\nos.abort()\n",
            [(3, CRASH, "fatal_error", "Fatal Python error: Aborted")],
        ),
    ],
)
def test_what_python_says(tmp_path: Path, program: str, expected: list[tuple[int, Weight, str, str]]) -> None:
    found = places(run_python(tmp_path, program))

    assert [each[:3] for each in expected] == [(each.line, each.weight, each.code) for each in found]
    for (*_, message), each in zip(expected, found, strict=True):
        assert each.message.startswith(message)


def test_what_python_says_of_a_module_that_another_calls(tmp_path: Path) -> None:
    (tmp_path / "main_parts.py").write_text("def f():\n    return undefined\n")

    found = places(run_python(tmp_path, "import main_parts\n\nmain_parts.f()\n"))

    assert [("main_parts.py", 2), ("main.py", 3)] == [(Path(each.path).name, each.line) for each in found]


TEXTS = {
    "gcc": (
        """\
        main.c: In function 'main':
        main.c:4:5: error: 'x' undeclared (first use in this function)
            4 |     x = 1;
              |     ^
        main.c:4:5: note: each undeclared identifier is reported only once
        main.c:9:7: warning: unused variable 'y' [-Wunused-variable]
        """,
        [
            ("main.c", 4, 5, ERROR, "error", "'x' undeclared (first use in this function)"),
            ("main.c", 9, 7, WARNING, "-Wunused-variable", "unused variable 'y' [-Wunused-variable]"),
        ],
    ),
    "a missing header": (
        "src/main.cpp:1:10: fatal error: none.h: No such file or directory\n",
        [("src/main.cpp", 1, 10, ERROR, "error", "none.h: No such file or directory")],
    ),
    "the linker": (
        "/usr/bin/ld: main.c:7: undefined reference to `f'\n",
        [("main.c", 7, 0, ERROR, "link", "undefined reference to `f'")],
    ),
    "assert of C": (
        "prog: main.c:5: main: Assertion `a == b' failed.\n",
        [("main.c", 5, 0, CRASH, "assert", "main: Assertion `a == b' failed.")],
    ),
    "a sanitizer": (
        """\
        =================================================================
        ==12==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x602 at pc 0x55
        READ of size 4 at 0x602 thread T0
            #0 0x55f in f(int*) /w/work/src/main.cc:3:12
            #1 0x55e in main /w/work/src/main.cc:8
            #2 0x7f2 in __libc_start_main ../csu/libc-start.c:392

        SUMMARY: AddressSanitizer
        """,
        [
            (
                "/w/work/src/main.cc",
                3,
                12,
                CRASH,
                "sanitizer",
                "AddressSanitizer: heap-buffer-overflow",
            ),
            (
                "/w/work/src/main.cc",
                8,
                0,
                CALLER,
                "sanitizer",
                "led to AddressSanitizer: heap-buffer-overflow",
            ),
        ],
    ),
    "a race": (
        """\
        WARNING: ThreadSanitizer: data race (pid=19219)
          Write of size 4 at 0x7fcf by thread T1:
            #0 f(void*) src/main.cc:4:10 (main+0xa360)

        """,
        [("src/main.cc", 4, 10, CRASH, "sanitizer", "ThreadSanitizer: data race")],
    ),
    "undefined behaviour": (
        "main.c:6:14: runtime error: signed integer overflow: 2147483647 + 1\n",
        [("main.c", 6, 14, CRASH, "runtime_error", "runtime error: signed integer overflow: 2147483647 + 1")],
    ),
    "CUDA": (
        'main.cu(12): error: identifier "x" is undefined\n',
        [("main.cu", 12, 0, ERROR, "error", 'identifier "x" is undefined')],
    ),
    "Fortran": (
        """\
        main.f90:3:5:

            3 |     x = 1
              |     1
        Error: Symbol 'x' at (1) has no IMPLICIT type
        """,
        [("main.f90", 3, 5, ERROR, "error", "Symbol 'x' at (1) has no IMPLICIT type")],
    ),
    "the Rust compiler": (
        """\
        \x1b[0m\x1b[1m\x1b[33mwarning\x1b[0m\x1b[1m: unused variable: `y`\x1b[0m
         \x1b[34m--> \x1b[0msrc/main.rs:1:9
        error[E0308]: mismatched types
         --> src/main.rs:2:18
          |
        2 |     let x: i32 = "a";
        error: could not compile `main` (bin "main") due to 1 previous error
        """,
        [
            ("src/main.rs", 2, 18, ERROR, "E0308", "mismatched types"),
            ("src/main.rs", 1, 9, WARNING, "warning", "unused variable: `y`"),
        ],
    ),
    "a panic in Rust": (
        """\
        thread 'main' panicked at src/main.rs:4:5:
        index out of bounds: the len is 3 but the index is 9
        note: run with `RUST_BACKTRACE=1`
        """,
        [
            (
                "src/main.rs",
                4,
                5,
                CRASH,
                "panic",
                "panicked: index out of bounds: the len is 3 but the index is 9",
            )
        ],
    ),
    "a panic in older Rust": (
        "thread 'main' panicked at 'no luck', src/main.rs:4:5\n",
        [("src/main.rs", 4, 5, CRASH, "panic", "panicked: no luck")],
    ),
    "a panic in Rust that is cut off": (
        "thread 'main' (812) panicked at src/main.rs:4:5:",
        [("src/main.rs", 4, 5, CRASH, "panic", "panicked")],
    ),
    "the Go compiler": (
        "# example\n./main.go:5:2: undefined: x\nvet: ./main.go:6:2: y declared and not used\n",
        [
            ("./main.go", 5, 2, ERROR, "error", "undefined: x"),
            ("./main.go", 6, 2, ERROR, "error", "y declared and not used"),
        ],
    ),
    "a test in Go": (
        "--- FAIL: TestF (0.00s)\n    main_test.go:7: got 1, want 2\n",
        [("main_test.go", 7, 0, ERROR, "test", "got 1, want 2")],
    ),
    "a panic in Go": (
        """\
        panic: runtime error: index out of range [5] with length 3

        goroutine 1 [running]:
        main.f(...)
        \t/w/work/src/main.go:8
        main.main()
        \t/w/work/src/main.go:12 +0x1d
        exit status 2
        """,
        [
            (
                "/w/work/src/main.go",
                8,
                0,
                CRASH,
                "panic",
                "panic: runtime error: index out of range [5] with length 3",
            ),
            (
                "/w/work/src/main.go",
                12,
                0,
                CALLER,
                "panic",
                "led to panic: runtime error: index out of range [5] with length 3",
            ),
        ],
    ),
    "a warning of Python": (
        "/w/src/main.py:3: DeprecationWarning: old\n  f()\n",
        [("/w/src/main.py", 3, 0, WARNING, "DeprecationWarning", "DeprecationWarning: old")],
    ),
    "pytest": (
        "main_test.py:9: AssertionError\n",
        [("main_test.py", 9, 0, ERROR, "AssertionError", "AssertionError")],
    ),
    "a rank that says who it is": (
        """\
        [rank0]: Traceback (most recent call last):
        [rank0]:   File "/w/main.py", line 3, in <module>
        [rank0]:     f()
        [rank0]: torch.cuda.OutOfMemoryError: CUDA out of memory.
        """,
        [
            (
                "/w/main.py",
                3,
                0,
                CRASH,
                "OutOfMemoryError",
                "torch.cuda.OutOfMemoryError: CUDA out of memory.",
            )
        ],
    ),
    "a bar drawn over": (
        "10%\r20%\rmain.c:1:2: error: x\r\n",
        [("main.c", 1, 2, ERROR, "error", "x")],
    ),
}


@pytest.mark.parametrize("what", TEXTS)
def test_what_others_say(what: str) -> None:
    text, expected = TEXTS[what]

    assert expected == told(text)


def test_where_a_program_ended_comes_before_what_a_compiler_said_and_the_last_end_first() -> None:
    text = "".join(
        f'Traceback (most recent call last):\n  File "main.py", line {line}, in f\n    f()\nError: {line}\n'
        for line in (1, 2)
    )
    found = places("main.c:8:1: error: a\nmain.c:9:1: error: b\nmain.c:7:1: warning: c\n" + text)

    assert [2, 1, 8, 9, 7] == [each.line for each in found]


@pytest.mark.parametrize(
    "line",
    [
        "main.py:30: epoch 3 of 10",
        "12:30:01 main.py:30: ERROR: nothing",
        "see main.c:4:5 for more",
        'File "main.py", line 3',
        "main.c:4:5: note: declared here",
        "\t/w/work/src/main.go:8 +0x1d",
        "error: main is broken",
        "Error: main",
    ],
)
def test_a_line_that_only_looks_like_one_says_nothing(line: str) -> None:
    assert [] == told(line + "\n")


def test_a_file_that_is_none_of_the_sources_is_left_out(tmp_path: Path) -> None:
    found = places(run_python(tmp_path, "import json\njson.loads('{')\n"), ours="decoder")

    assert {"decoder.py"} == {Path(each.path).name for each in found}
    assert CRASH == found[0].weight
    assert [] == places("other.c:1:2: error: x\n")


@pytest.mark.parametrize(
    "line",
    [
        "x" * 1_000_000,
        "thread '" * 100_000,
        "    #0 0x1 in " + "a.b:1" * 100_000,
        "a.c:1:" * 100_000,
        "\x1b[" * 300_000,
        '  File "' * 100_000,
    ],
)
def test_lines_without_end_take_no_time(line: str) -> None:
    began = time.process_time()
    places(line + "\nmain.c:1:2: error: x\n" + "y" * LINE_CHARACTERS)

    assert time.process_time() - began < 2


def test_what_would_do_something_to_a_terminal_is_left_out() -> None:
    ((*_, message),) = told("main.c:1:2: error: \x1b]0;title\x07a\x1b[31m\x08\x9b b\tc\n")

    assert "a b\tc" == message


def test_a_mebibyte_without_words_takes_little_time() -> None:
    began = time.process_time()
    places("\n" * 1_000_000)

    assert time.process_time() - began < 2


def test_a_mebibyte_of_lines_takes_little_time() -> None:
    text = '  File "main.py", line 3, in f\nmain.c:1:2: note: x\n[rank0]: | --> a.rs:1:2\n' * 14_000
    began = time.process_time()
    places(text)

    assert time.process_time() - began < 10
