# What is used of it: it has no types of its own.

from collections.abc import Mapping
from typing import Any

class ValidationError(Exception):
    message: str

def validate(data: Mapping[str, Any], desired_version: str, strict: bool = False) -> str: ...
