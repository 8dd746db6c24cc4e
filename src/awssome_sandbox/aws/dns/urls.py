"""moto looks for this module beside the backend's: which addresses are whose."""

from __future__ import annotations

from moto.route53 import urls

from awssome_sandbox.aws.dns.answers import Answers

url_bases = urls.url_bases
url_paths = dict.fromkeys(urls.url_paths, Answers.dispatch)
