"""The sandboxes as processes: they say where they listen, and they end when told."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

import httpx2
import pytest


@pytest.mark.parametrize("module", ["hubspot", "aws", "mail"])
def test_ctrl_c_ends_a_sandbox_cleanly_even_with_a_client_connected(module: str) -> None:
    """That SIGTERM does is asserted by every test here, at its sandbox's end."""
    command = [sys.executable, "-m", f"awssome_sandbox.{module}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = json.loads(process.stdout.readline())["url"]
        with httpx2.Client() as client:
            assert client.get(url).status_code < 500
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (0, "", "")


@pytest.mark.parametrize("module", ["hubspot", "aws", "mail"])
def test_a_port_in_use_is_told(module: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", f"awssome_sandbox.{module}", "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"Cannot listen on 127.0.0.1:{port}: Address already in use.\n"
