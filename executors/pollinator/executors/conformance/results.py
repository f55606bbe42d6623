"""What runs leave behind at every executor: results in the store, and nothing else."""

from __future__ import annotations

import pytest

from pollinator.executors.conformance.client import ExecutorUnderTest
from pollinator.v1.run_pb2 import RunState

WRITES = "open('result/text', 'w').write('written')\n"


async def test_a_run_that_leaves_nothing_has_an_empty_result(executor: ExecutorUnderTest) -> None:
    ended = await executor.run("print('hello')")

    assert ended.run.HasField("result")
    assert {} == await executor.results(ended.run)


async def test_results_come_back_as_they_were_left(executor: ExecutorUnderTest) -> None:
    program = (
        "import os\n"
        "os.makedirs(b'result/a/b/\\xff')\n"
        "open('result/a/run', 'w').write('#!')\n"
        "os.chmod('result/a/run', 0o755)\n"
        "open(b'result/a/b/new\\nline', 'wb').write(bytes(range(256)) * 8)\n"
        "open('result/large', 'wb').write(b'0123456789' * 500_000)\n"
        "open('result/empty', 'w')\n"
        "os.symlink('a/run', 'result/link')\n"
        "os.symlink('nowhere', 'result/dangling')\n"
        "os.mkdir('result/private', 0o700)\n"
    )
    found = await executor.results((await executor.run(program)).run)

    assert {
        b"a": ("folder", 0o755, b""),
        b"a/b": ("folder", 0o755, b""),
        b"a/b/\xff": ("folder", 0o755, b""),
        b"a/run": ("file", 0o755, b"#!"),
        b"a/b/new\nline": ("file", 0o644, bytes(range(256)) * 8),
        b"large": ("file", 0o644, b"0123456789" * 500_000),
        b"empty": ("file", 0o644, b""),
        b"link": ("link", 0o777, b"a/run"),
        b"dangling": ("link", 0o777, b"nowhere"),
        b"private": ("folder", 0o700, b""),
    } == found


async def test_five_thousand_results_come_back(executor: ExecutorUnderTest) -> None:
    program = (
        "import os\n"
        "for at in range(5000):\n"
        "    os.makedirs(f'result/{at % 3}', exist_ok=True)\n"
        "    open(f'result/{at % 3}/{at}', 'w').write(str(at) * 50)\n"
    )
    found = await executor.results((await executor.run(program)).run)

    assert 5003 == len(found)
    assert {b"%d/%d" % (at % 3, at): b"%d" % at * 50 for at in range(5000)} == {
        path: content for path, (kind, _, content) in found.items() if kind == "file"
    }


@pytest.mark.parametrize("code", [1, 137])
async def test_results_of_a_run_that_failed_come_back(executor: ExecutorUnderTest, code: int) -> None:
    ended = await executor.run(WRITES + f"import os; os._exit({code})")

    assert RunState.RUN_STATE_FAILED == ended.run.state
    assert {b"text": ("file", 0o644, b"written")} == await executor.results(ended.run)


async def test_what_cannot_be_collected_is_named_and_the_rest_comes_back(executor: ExecutorUnderTest) -> None:
    ended = await executor.run(WRITES + "import os; os.mkfifo('result/pipe')")

    assert {b"text": ("file", 0o644, b"written")} == await executor.results(ended.run)
    assert ["not_collected"] == [notice.code for notice in ended.run.notices]
    assert "result/pipe" in ended.run.notices[0].text


async def test_a_run_that_removes_its_result_folder_says_so(executor: ExecutorUnderTest) -> None:
    ended = await executor.run("import os; os.rmdir('result'); open('result', 'w').write('x')")

    assert RunState.RUN_STATE_SUCCEEDED == ended.run.state
    assert not ended.run.HasField("result")
    assert ["not_collected"] == [notice.code for notice in ended.run.notices]
