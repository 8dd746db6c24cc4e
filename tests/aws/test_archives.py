"""Archives in a bucket: whole or not at all, encrypted, and told when AWS does not do it. The sandbox keeps them."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest

from awssome.aws.archives import IN_MEMORY, Bucket
from awssome.domain.errors import Code, Refused
from tests.sandbox.conftest import point_aws_at, running

NAME = "0194e0a0-0000-7000-8000-000000000000/0194e0a0-0000-7000-8000-000000000001.zip"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running("aws") as announced:
        yield announced["url"]


@pytest.fixture
def s3(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """S3 as the SDK finds it by its own settings, with a bucket."""
    point_aws_at(url, monkeypatch)
    client = boto3.client("s3")
    client.create_bucket(Bucket="northwind-archives")
    return client


def test_what_is_written_comes_back_encrypted_at_rest_below_the_prefix(s3: Any) -> None:
    bucket = Bucket("northwind-archives", "tenants/exports")
    content = bytes(range(256)) * (IN_MEMORY // 256 + 1)  # more than is held in memory
    with bucket.writing(NAME) as file:
        file.write(content)
    head = s3.head_object(Bucket="northwind-archives", Key=f"tenants/exports/{NAME}")
    assert (head["ServerSideEncryption"], head["ContentLength"]) == ("AES256", len(content))
    with bucket.reading(NAME) as file:
        assert file.read() == content
        file.seek(256)
        assert file.read(3) == b"\x00\x01\x02"
    bucket.delete(NAME)
    bucket.delete(NAME)  # again: nothing to do
    with pytest.raises(Refused) as refused, bucket.reading(NAME):
        pass
    assert refused.value.code is Code.GONE


def test_what_breaks_off_is_not_there(s3: Any) -> None:
    bucket = Bucket("northwind-archives")
    with pytest.raises(KeyError), bucket.writing(NAME) as file:
        file.write(b"half of it")
        raise KeyError("the export broke off")
    with pytest.raises(Refused) as refused, bucket.reading(NAME):
        pass
    assert refused.value.code is Code.GONE


def test_a_temporary_directory_without_room_is_told_and_tried_again(s3: Any) -> None:
    """What a worker counts as passing is not given up for good."""
    bucket, block = Bucket("northwind-archives"), bytes(1 << 20)
    with bucket.writing(NAME) as file:
        file.writelines([block] * 9)
    with _files_of_at_most(IN_MEMORY // 2):
        with pytest.raises(Refused) as refused, bucket.writing(NAME) as file:
            file.writelines([block] * 9)
        assert (refused.value.code, "cannot be used" in refused.value.message) == (Code.UNAVAILABLE, True)
        with pytest.raises(Refused) as refused, bucket.reading(NAME):
            pass
        assert refused.value.code is Code.UNAVAILABLE
    bucket.delete(NAME)


def test_a_bucket_that_is_not_there_is_told_without_a_secret(s3: Any) -> None:
    with pytest.raises(Refused) as refused, Bucket("nobodys-bucket").writing(NAME) as file:
        file.write(b"x")
    assert refused.value.code is Code.UNAVAILABLE
    assert "NoSuchBucket" in refused.value.message


def test_s3_that_does_not_answer_is_told(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Refused) as refused, Bucket("northwind-archives").reading(NAME):
        pass
    assert refused.value.code is Code.UNAVAILABLE


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    """As if the disk were full: no file of this process grows further."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
