"""Services of AWS beside cachefleet's own: moto's server in a process."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import urllib.request
from typing import Any, Self

import boto3

from tests.support.ports import own_port
from tests.support.waiting import wait_until

STOP_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 20.0


class AwsEndpoint:
    """One moto server on 127.0.0.1; whatever service a client asks it for."""

    def __init__(self) -> None:
        self.port = own_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and return once it answers. It begins with nothing."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MOTO_ACCOUNT_ID": "123456789012"},
        )
        wait_until(self._answers, what="moto answers", passing=(OSError, http.client.HTTPException))

    def kill(self) -> None:
        """End it, and with it all that it kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)

    def client(self, service: str, *, account: str, region: str) -> Any:
        """Return a boto3 client of one of its services."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=account,
            aws_secret_access_key="x",
        )

    def _answers(self) -> bool:
        with urllib.request.urlopen(f"{self.url}/moto-api/", timeout=ANSWER_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
