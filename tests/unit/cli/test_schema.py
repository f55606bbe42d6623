"""The schema in the package is the model's."""

from __future__ import annotations

import json

from pollinator.cli.schema_file import schema_text
from pollinator.model.schema import json_schema


def test_the_packaged_schema_is_that_of_the_model() -> None:
    assert json.loads(schema_text()) == json_schema()
