"""What the wire promises, whoever serves it: one suite, run against every executor and against the daemon."""

from __future__ import annotations

from pathlib import Path

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from pollinator.executors.conformance.asking import make_spec, new_id
from pollinator.v1.executor_pb2 import ExplainRequest, PreflightRequest
from pollinator.v1.run_pb2 import (
    CancelRunRequest,
    ForgetRunRequest,
    GetRunRequest,
    ListRunsRequest,
    StartRunRequest,
    WatchRunRequest,
)
from pollinator.v1.spec_pb2 import RunSpec
from support.executing import CALL_S
from support.serving import Refusal, Server, refused, server

__all__ = ["server"]


# Health, reflection


async def test_every_service_is_served_and_healthy(server: Server) -> None:
    for name in ["", *server.services]:
        answer = await server.health(HealthCheckRequest(service=name), timeout=CALL_S)

        assert HealthCheckResponse.SERVING == answer.status, name


async def test_the_health_of_what_is_not_served_is_not_found(server: Server) -> None:
    refusal = await refused(server.health(HealthCheckRequest(service="pollinator.v1.No"), timeout=CALL_S))

    assert grpc.StatusCode.NOT_FOUND == refusal.code


async def reflected(server: Server, request: ServerReflectionRequest) -> ServerReflectionResponse:
    call = server.reflection(timeout=CALL_S)
    await call.write(request)
    await call.done_writing()
    answer = await call.read()
    assert isinstance(answer, ServerReflectionResponse)
    assert grpc.aio.EOF == await call.read()
    return answer


async def test_reflection_lists_exactly_the_services(server: Server) -> None:
    answer = await reflected(server, ServerReflectionRequest(list_services=""))
    found = [each.name for each in answer.list_services_response.service]
    extra = ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]

    assert sorted([*server.services, *extra]) == sorted(found)


async def test_reflection_describes_every_service(server: Server) -> None:
    for name in server.services:
        answer = await reflected(server, ServerReflectionRequest(file_containing_symbol=name))
        files = [
            FileDescriptorProto.FromString(each)
            for each in answer.file_descriptor_response.file_descriptor_proto
        ]

        assert name in [f"{file.package}.{service.name}" for file in files for service in file.service]


async def test_a_method_that_is_not_there_is_unimplemented(server: Server) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
    call = server.channel.unary_unary("/pollinator.v1.RunService/NoSuchMethod")

    assert grpc.StatusCode.UNIMPLEMENTED == (await refused(call(b"", timeout=CALL_S))).code


# Runs and specs


async def test_a_run_that_is_not_known_is_not_found(server: Server) -> None:
    expected = Refusal(grpc.StatusCode.NOT_FOUND, "run_missing", "pollinator.dev")
    for name in (new_id(), "", "latest"):
        watch = WatchRunRequest(run_id=name, follow=True)

        assert expected == await refused(server.runs.GetRun(GetRunRequest(run_id=name), timeout=CALL_S))
        assert expected == await refused(server.runs.CancelRun(CancelRunRequest(run_id=name), timeout=CALL_S))
        assert expected == await refused(server.runs.ForgetRun(ForgetRunRequest(run_id=name), timeout=CALL_S))
        assert expected == await refused(server.runs.WatchRun(watch, timeout=CALL_S))
        assert expected == await refused(server.about.Explain(ExplainRequest(run_id=name), timeout=CALL_S))


async def test_a_request_without_an_id_is_refused(server: Server) -> None:
    refusal = await refused(server.runs.StartRun(StartRunRequest(), timeout=CALL_S))

    assert (grpc.StatusCode.INVALID_ARGUMENT, "request_id_missing") == (refusal.code, refusal.reason)
    assert ("request_id",) == refusal.fields


async def test_a_request_for_nothing_is_refused(server: Server) -> None:
    refusal = await refused(server.runs.StartRun(StartRunRequest(request_id=new_id()), timeout=CALL_S))

    assert grpc.StatusCode.INVALID_ARGUMENT == refusal.code
    assert refusal.reason
    assert refusal.fields


async def test_a_spec_that_can_never_run_is_refused_and_all_that_is_wrong_is_named(server: Server) -> None:
    spec = make_spec(nodes=0, processes_per_node=0, command="", memory_bytes=1 << 60)
    refusal = await refused(server.about.Preflight(PreflightRequest(spec=spec), timeout=CALL_S))
    wrong = {"conditions.nodes", "conditions.processesPerNode", "environment.cmd"}

    assert grpc.StatusCode.INVALID_ARGUMENT == refusal.code
    assert refusal.reason
    assert wrong <= set(refusal.fields)


async def test_a_spec_without_anything_is_refused(server: Server) -> None:
    refusal = await refused(server.about.Preflight(PreflightRequest(spec=RunSpec()), timeout=CALL_S))

    assert grpc.StatusCode.INVALID_ARGUMENT == refusal.code


async def test_a_peer_that_is_gone_is_unavailable_and_worth_another_try(tmp_path: Path) -> None:
    nobody = Server(f"unix:{tmp_path}/nobody.sock", ())
    refusal = await refused(nobody.runs.ListRuns(ListRunsRequest(), timeout=CALL_S))
    await nobody.channel.close()

    assert grpc.StatusCode.UNAVAILABLE == refusal.code
