# What is used of the client: its own types leave most parameters open.

import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp

class Configuration:
    host: str
    cert_file: str | None
    key_file: str | None
    proxy: str | None
    tls_server_name: str | None
    disable_strict_ssl_verification: bool
    def __init__(
        self,
        *,
        host: str,
        ca_cert_data: str | None,
        verify_ssl: bool,
        tls_server_name: str | None,
        proxy: str | None,
    ) -> None: ...

class RESTClientObject:
    ssl_context: ssl.SSLContext

class RESTResponse:
    response: aiohttp.ClientResponse

class ApiClient:
    configuration: Configuration
    rest_client: RESTClientObject
    def __init__(self, configuration: Configuration) -> None: ...
    async def call_api(
        self,
        method: str,
        url: str,
        header_params: Mapping[str, str],
        body: Any,
        *,
        _request_timeout: aiohttp.ClientTimeout,
    ) -> RESTResponse: ...
    async def close(self) -> None: ...
