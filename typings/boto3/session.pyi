# What is used of boto3: it has no types of its own, and others' want one more package for each service.

from typing import Any

import botocore.session
from botocore.config import Config

class Session:
    def __init__(
        self,
        *,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        aws_session_token: str | None = None,
        region_name: str | None = None,
        profile_name: str | None = None,
        botocore_session: botocore.session.Session | None = None,
    ) -> None: ...
    def client(
        self, service_name: str, *, endpoint_url: str | None, verify: bool | str | None, config: Config
    ) -> Any: ...
