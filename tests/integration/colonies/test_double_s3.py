"""The bucket beside a colony. That of the tests, or of a real server if there is one."""

from __future__ import annotations

import pytest

from support.colonies.sites import GivenS3
from support.s3_servers import S3Server

pytestmark = pytest.mark.integration


def test_the_bucket_of_a_colony_takes_objects(colony_s3: S3Server) -> None:
    colony_s3.put("double-s3-test", b"abc")

    assert 3 == colony_s3.objects("double-s3-test")["double-s3-test"]
    assert colony_s3.bucket == colony_s3.settings().s3.bucket


def test_without_a_name_there_is_no_bucket() -> None:
    with pytest.raises(pytest.fail.Exception, match="no bucket"):
        GivenS3({})


def test_the_bucket_that_is_named_is_used() -> None:
    names = {"ENDPOINT": "h:1", "BUCKET": "b", "ACCESSKEY": "k", "SECRETKEY": "s", "TLS": "false"}
    given = GivenS3({f"AWS_S3_{name}": value for name, value in names.items()})

    assert ("http://h:1", "b", "k", "s") == (given.endpoint, given.bucket, given.access_key, given.secret_key)
    with pytest.raises(pytest.skip.Exception):
        given.stop()
