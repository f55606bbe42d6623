"""DaemonService: handshake, shutdown, settings, checks."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.settings import Settings
from pollinator.v1 import daemon_pb2_grpc
from pollinator.v1.daemon_pb2 import (
    Check,
    DiagnoseRequest,
    DiagnoseResponse,
    GetInfoRequest,
    GetInfoResponse,
    GetSettingsRequest,
    GetSettingsResponse,
    ShutdownRequest,
    ShutdownResponse,
)
from pollinator.wire.errors import WrongState

API_VERSION = 1
"""Raised with every change that an older client or daemon cannot live with."""


class DaemonServicer(daemon_pb2_grpc.DaemonServiceServicer):
    """The daemon about itself."""

    def __init__(
        self,
        *,
        settings: Settings,
        log: RunLog,
        diagnose: Callable[[str], Awaitable[Sequence[Check]]],
        log_path: Path,
        active_calls: Callable[[], int],
        stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._runs = log
        self._diagnose = diagnose
        self._log_path = log_path
        self._active_calls = active_calls
        self._stop = stop
        # Read now: an upgrade of the installation would make this process claim to be what it is not.
        self._version = importlib.metadata.version("pollinatord")
        self._started = Timestamp()
        self._started.GetCurrentTime()

    async def GetInfo(  # noqa: N802 - the protocol's name
        self, request: GetInfoRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> GetInfoResponse:
        """The version handshake."""
        return GetInfoResponse(
            version=self._version,
            api_version=API_VERSION,
            pid=os.getpid(),
            start_time=self._started,
            active_runs=len(self._runs.active()),
            log_path=str(self._log_path),
            active_calls=self._active_calls() - 1,
        )

    async def Shutdown(  # noqa: N802
        self, request: ShutdownRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ShutdownResponse:
        """End the daemon; runs go on at their executors."""
        others = self._active_calls() - 1
        if request.only_if_idle and others:
            raise WrongState(
                f"{others} calls of other clients are under way",
                reason="busy",
                hint="end them, or stop the daemon: pollinator daemon stop",
            )
        self._stop.set()
        return ShutdownResponse()

    async def GetSettings(  # noqa: N802
        self, request: GetSettingsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> GetSettingsResponse:
        """Every setting in force and where it came from."""
        values = self._settings.values
        return GetSettingsResponse(settings=[values[name] for name in sorted(values)])

    async def Diagnose(  # noqa: N802
        self, request: DiagnoseRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> DiagnoseResponse:
        """Check what can be checked from here."""
        return DiagnoseResponse(checks=await self._diagnose(request.root))
