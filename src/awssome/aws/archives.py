"""Archives in a bucket of S3."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from awssome.domain.errors import Code, Refused

IN_MEMORY = 8 << 20
"""Bytes of an archive that are held in memory while it is carried; a larger one lies in an unnamed file."""

_NOT_THERE = ("404", "NoSuchKey")


@dataclass(frozen=True)
class Bucket:
    """Objects below a prefix, encrypted by S3 (SSE-S3; a bucket's own default may name a key of KMS).

    The bucket is the operator's: it blocks public access, and only the platform's principal may read it.
    """

    bucket: str
    prefix: str = ""

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Written here, then put: an object appears whole or not at all (S3 User Guide, "Data consistency")."""
        with _told(), tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            yield file
            file.seek(0)
            self._client.upload_fileobj(
                file, self.bucket, self._key(name), ExtraArgs={"ServerSideEncryption": "AES256"}
            )

    @contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """Fetched first, so that it can be sought in."""
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            with _told():
                self._client.download_fileobj(self.bucket, self._key(name), file)
            file.seek(0)
            yield file

    def delete(self, name: str) -> None:
        """S3 answers as well when there is none."""
        with _told():
            self._client.delete_object(Bucket=self.bucket, Key=self._key(name))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    @cached_property
    def _client(self) -> Any:
        config = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 3})
        return boto3.client("s3", config=config)


@contextmanager
def _told() -> Iterator[None]:
    """:raises Refused: GONE for an object that is not there; UNAVAILABLE for what AWS or the network say otherwise, and
    when there is no room here."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _NOT_THERE:
            raise Refused(Code.GONE, "The archive's file is not there any more.", "Use another archive.") from None
        raise Refused(
            Code.UNAVAILABLE, f"S3 did not do what archives need ({code[:60]}).", "Check bucket and rights."
        ) from None
    except BotoCoreError as error:
        raise Refused(Code.UNAVAILABLE, f"S3 cannot be reached ({type(error).__name__}).", "Try again.") from None
    except OSError as error:
        raise Refused(
            Code.UNAVAILABLE,
            f"The directory of temporary files, {tempfile.gettempdir()}, cannot be used. {error.strerror}.",
            "See that there is room for the largest archive.",
        ) from None
