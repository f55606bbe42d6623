"""What tests may have go wrong at the double, and what they see of it. Not of a real server."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import pytest

from support.colonies.asking import Line, envelope
from support.colonies.double import Double
from support.colonies.playing import CANCELLED, FAILED, RUNNING, WAITING, Play
from support.colonies.sites import Site
from support.s3_servers import Certificate
from support.sandbox import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.double_only("has faults")]

CUT = (ConnectionError, http.client.HTTPException)


@pytest.fixture
def play(colony: Site) -> Play:
    return Play(colony)


@pytest.fixture
def double(colony: Site) -> Iterator[Double]:
    colony.double.mark()
    yield colony.double
    colony.double.clear_faults()


def stored_by(play: Play, double: Double) -> int:
    """How many processes are there of its user."""
    stored = double.processes(play.site.name)
    return sum(each["initiatorid"] == play.user.identity for each in stored)


def test_a_line_is_cut_before_a_message_has_its_effect(play: Play, double: Double) -> None:
    double.fault("cut", "submitfuncspecmsg")
    with pytest.raises(CUT):
        play.submit()

    assert [1] == double.hits()
    assert 0 == stored_by(play, double)
    play.submit()


def test_an_answer_is_lost_after_the_effect(play: Play, double: Double) -> None:
    double.fault("drop", "submitfuncspecmsg")
    with pytest.raises(CUT):
        play.submit()

    assert 1 == stored_by(play, double)


def test_a_fault_hits_the_messages_that_it_counts(play: Play, double: Double) -> None:
    double.fault("refuse", "getprocessmsg", first=2, count=2, status=503, text="busy")
    process_id = play.submit()
    said = [play.site.line.ask(play.user, "getprocessmsg", processid=process_id) for _ in range(4)]

    assert [200, 503, 503, 200] == [each.status for each in said]
    assert (503, "busy") == said[1].refusal
    assert [2] == double.hits()


def test_a_fault_may_be_for_one_member_only(play: Play, double: Double) -> None:
    other = play.site.user()
    double.fault("refuse", "getcolonymsg", count=100, caller=other.identity)
    said = [
        play.site.line.ask(each, "getcolonymsg", colonyname=play.site.name) for each in (play.user, other)
    ]

    assert [200, 500] == [each.status for each in said]


@pytest.mark.parametrize("how", ["delay", "late"])
def test_an_answer_comes_late(play: Play, double: Double, how: str) -> None:
    process_id = play.submit()
    double.fault(how, "cancelprocessmsg", seconds=0.5)
    with ThreadPoolExecutor(1) as pool:
        cancelling = pool.submit(play.cancel, process_id)
        wait_until(lambda: len(double.asked("cancelprocessmsg")) > 0, "it is asked")
        meanwhile = play.get(process_id)["state"] == WAITING
        cancelling.result(30)

    assert (how == "delay") == meanwhile


def test_what_was_asked_is_done_for_those_as_well_who_do_not_wait(play: Play, double: Double) -> None:
    process_id = play.submit()
    double.fault("delay", "cancelprocessmsg", seconds=0.3)
    body = envelope(play.user, "cancelprocessmsg", {"processid": process_id})
    send_and_leave(play, body, lambda: len(double.asked("cancelprocessmsg")) > 0)

    play.wait_for(process_id, CANCELLED)


def send_and_leave(play: Play, body: str, until: Callable[[], bool]) -> None:
    """Ask for something, and hang up once something is so."""
    with socket.create_connection((play.site.line.host, play.site.line.port)) as line:
        head = f"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        line.sendall(head.encode() + body.encode())
        wait_until(until, "it may hang up")


def test_a_server_that_rests_is_not_there_and_forgets_nothing(play: Play, double: Double) -> None:
    process_id = play.run()
    double.stop()
    with pytest.raises(ConnectionRefusedError):
        play.get(process_id)
    double.start()

    assert RUNNING == play.get(process_id)["state"]
    assert {} == play.log(process_id, "still here").granted


def test_who_waits_is_cut_off_when_the_server_rests(play: Play, double: Double) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(play.assign, timeout=60)
        wait_until(lambda: len(double.asked("assignprocessmsg")) > 0, "it is asked")
        double.stop()
        with pytest.raises(CUT):
            waiting.result(30)
    double.start()

    process_id = play.submit()
    assert process_id == play.assign().granted["processid"]


def test_who_goes_away_while_waiting_is_given_nothing(play: Play, double: Double) -> None:
    body = envelope(play.executor, "assignprocessmsg", {"colonyname": play.site.name, "timeout": 60})
    send_and_leave(play, body, lambda: len(double.asked("assignprocessmsg")) > 0)
    # It has noticed before it answers: both are events of one loop, in this order.
    play.site.look("getcolonymsg")
    process_id = play.submit()

    assert WAITING == play.get(process_id)["state"]
    assert process_id == play.assign().granted["processid"]


def test_time_goes_on_while_the_server_rests(play: Play, double: Double) -> None:
    process_id = play.run(maxexectime=1)
    double.stop()
    end = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > end, "time goes by")
    double.start()

    play.wait_for(process_id, WAITING)


def test_tests_see_who_was_given_a_process_and_what_was_asked(play: Play, double: Double) -> None:
    process_id = play.run()
    play.log(process_id, "a line")
    kinds = [each.kind for each in double.asked() if each.caller == play.executor.identity]

    assert ["assignprocessmsg", "addlogmsg"] == kinds
    assert [play.executor.name] == [each.executor for each in double.assignments(process_id)]
    assert ["a line"] == double.logs(process_id)
    executors = [each["executorname"] for each in double.executors(play.site.name)]
    assert play.executor.name in executors


def test_tests_see_the_files_that_are_stored(play: Play, double: Double) -> None:
    file = {"colonyname": play.site.name, "label": "/seen", "name": "a", "checksum": "c", "size": 1}
    play.site.line.ask(play.user, "addfilemsg", file=file)
    play.site.line.ask(
        play.user, "createsnapshotmsg", colonyname=play.site.name, label="/seen", name=play.site.fresh("s")
    )

    assert ["/seen/a"] == [f"{each['label']}/{each['name']}" for each in double.files(play.site.name)]
    assert ["/seen"] == [each["label"] for each in double.snapshots(play.site.name)]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_times_are_of_the_zone_of_the_server(play: Play, double: Double, zone: str) -> None:
    with double.settings(zone=zone):
        said = play.get(play.submit())

    expected = {"UTC": "0001-01-01T00:00:00Z", "America/New_York": "0000-12-31T19:03:58-04:56"}
    assert expected[zone] == said["starttime"]
    assert "0001-01-01T01:12:12+01:12" == play.get(said["processid"])["starttime"]


def test_a_subscription_is_lost_or_its_line_is_cut(play: Play, double: Double) -> None:
    process_id = play.submit()
    double.fault("drop", "subscribeprocessmsg")
    double.fault("cut", "subscribeprocessmsg")
    asked = {"processid": process_id, "state": WAITING, "timeout": 1}
    body = envelope(play.user, "subscribeprocessmsg", asked)

    assert [aiohttp.WSMsgType.CLOSED] == asyncio.run(heard(play.site.line, [body, body]))
    assert [1, 1] == double.hits()


async def heard(line: Line, messages: list[str]) -> list[aiohttp.WSMsgType]:
    """What comes over a websocket after these messages, until it ends."""
    where = f"http://{line.host}:{line.port}/pubsub"
    found: list[aiohttp.WSMsgType] = []
    async with aiohttp.ClientSession() as session, session.ws_connect(where) as socket:
        for each in messages:
            await socket.send_str(each)
        while not found or found[-1] is aiohttp.WSMsgType.TEXT:
            found.append((await socket.receive(timeout=20.0)).type)
    return found


def test_a_double_behind_tls_shows_its_certificate(certificate: Certificate) -> None:
    files = {"certificate": str(certificate.certificate), "key": str(certificate.key)}
    with Double(**files) as double:
        context = ssl.create_default_context(cafile=str(certificate.certificate))
        line = http.client.HTTPSConnection("127.0.0.1", double.port, context=context, timeout=20.0)
        line.request("GET", "/health")

        assert 200 == line.getresponse().status
        line.close()


def test_a_process_has_failed_before_it_is_known_why(play: Play, double: Double) -> None:
    """A real server writes the two one after the other as well, with less time between."""
    process_id = play.run()
    with double.settings(late_s=0.5), ThreadPoolExecutor(1) as pool:
        failing = pool.submit(play.fail, process_id, "why")
        play.wait_for(process_id, FAILED)
        early = play.get(process_id)["errors"]
        failing.result(30)

    assert ([], ["why"]) == (early, play.get(process_id)["errors"])


def test_a_process_may_be_given_away_before_its_environment_is_there(play: Play, double: Double) -> None:
    """Also of a real server, where the two are written one after the other."""
    with double.settings(late_s=0.5), ThreadPoolExecutor(1) as pool:
        submitting = pool.submit(play.submit, env={"A": "1"})
        wait_until(lambda: stored_by(play, double) == 1, "it is stored")
        given = play.assign().granted
        process_id = submitting.result(30)

    assert (process_id, {}) == (given["processid"], given["spec"]["env"])
    assert {"A": "1"} == play.get(process_id)["spec"]["env"]


def test_rows_of_one_moment_come_in_their_order(play: Play, double: Double) -> None:
    process_id = play.run()
    now = time.time_ns()
    with double.settings(log_time_ns=now):
        play.log(process_id, "one")
        play.log(process_id, "two")
    with double.settings(log_time_ns=now - 1):
        play.log(process_id, "before")

    assert ["before", "one", "two"] == play.site.printed(process_id)
    assert play.logs(process_id, since=now).granted is None
    assert 3 == len(play.logs(process_id, since=now - 2).granted)


def test_a_fault_that_is_not_known_is_the_tests_own(double: Double) -> None:
    with pytest.raises(RuntimeError, match="no fault"):
        double.fault("explode")
