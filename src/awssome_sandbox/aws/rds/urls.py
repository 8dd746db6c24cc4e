"""moto looks for this module beside the backend's: which addresses are whose."""

from __future__ import annotations

from moto.rds.urls import url_bases

from awssome_sandbox.aws.rds.answers import Answers

__all__ = ["url_bases", "url_paths"]

url_paths = {"{0}/$": Answers.dispatch}
