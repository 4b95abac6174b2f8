"""Asks other cachefleets. Each question has a deadline and is asked once; who asks decides what a
silence means.

Three things can go wrong, and are three exceptions: nobody answered, somebody did who is no
cachefleet with our secret, and the cachefleet said no.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.peering.seal import SEALED_BYTES_MAX, NotSealed, Seal
from cachefleet.provisioner.state.ids import new_uid

if TYPE_CHECKING:
    import urllib3

PATH = "/v1/peers"
CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 5.0
# What is handled there may ask others in turn, and a client waits for it as for any request.
ANSWER_TIMEOUTS_S = MappingProxyType({"join": 15.0, "call": 30.0})
AT_ONCE_MAX = 8
ID, KIND, BODY, ANSWER, FAULT = "id", "kind", "body", "answer", "fault"


class PeerAway(Exception):
    """Nobody answered in time; what was asked for may have been done all the same."""


class PeerStrange(Exception):
    """Somebody answered who is no cachefleet, or has another secret."""


class PeerRefused(Exception):
    """The cachefleet refused: ``name`` is the fault's, the text its message."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Peers:
    """The other cachefleets, by the regions that are theirs; none where nothing is configured."""

    def __init__(
        self,
        regions: Mapping[str, str] = MappingProxyType({}),
        *,
        secret: bytes | None = None,
        clock: Clock | None = None,
    ) -> None:
        assert not regions or secret is not None, "peers are spoken to under a secret"
        self.regions = MappingProxyType(dict(regions))
        self.seal: Seal | None = None
        if secret is not None and clock is not None:
            self.seal = Seal(secret, now_s=lambda: clock.now().timestamp())
        self.news = asyncio.Event()  # set by whoever was told that there is something to hear
        self._pool: urllib3.PoolManager | None = None
        self._threads: ThreadPoolExecutor | None = None

    async def ask(
        self, region: str, kind: str, body: Mapping[str, Any], *, timeout_s: float | None = None
    ) -> Any:
        """Return what the cachefleet of *region* answers, in the time that such questions take.

        Raises:
            PeerAway, PeerStrange, PeerRefused: see there; a region without a peer is strange.
        """
        endpoint = self.regions.get(region)
        if endpoint is None or self.seal is None:
            raise PeerStrange(f"no cachefleet is known to have the region {region}")
        request_id = new_uid()
        sealed = self.seal.close({ID: request_id, KIND: kind, BODY: body})
        limit_s = timeout_s or ANSWER_TIMEOUTS_S.get(kind, ANSWER_TIMEOUT_S)
        question = json.dumps({"sealed": sealed}).encode()
        status, text = await self.send(endpoint, question, timeout_s=limit_s)
        if status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE):
            raise PeerAway(f"the cachefleet of {region} at {endpoint} does not answer ({status})")
        try:
            told = self.seal.open(json.loads(text)["sealed"])
        except (NotSealed, ValueError, KeyError, TypeError):
            raise PeerStrange(
                f"what answers at {endpoint} for {region} is no cachefleet with the same peer "
                f"secret (HTTP {status})"
            ) from None
        if told.get(ID) != request_id:
            raise PeerStrange(f"the answer of {endpoint} is to another question")
        if FAULT in told:
            raise PeerRefused(str(told[FAULT]["name"]), str(told[FAULT]["message"]))
        return told[ANSWER]

    async def poke(self, region: str) -> None:
        """Tell a cachefleet that there is something to hear. One that misses it asks by itself."""
        with contextlib.suppress(PeerAway, PeerStrange, PeerRefused):
            await self.ask(region, "poke", {})

    def close(self) -> None:
        """Let connections go."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._pool is not None:
            self._pool.clear()

    async def send(self, endpoint: str, body: bytes, *, timeout_s: float) -> tuple[int, bytes]:
        """Return the HTTP status and the body that *endpoint* answers *body* with.

        Raises:
            PeerAway: it does not, in time.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._executor(), self._post, endpoint, body, timeout_s
        )

    def _executor(self) -> ThreadPoolExecutor:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(AT_ONCE_MAX, thread_name_prefix="peers")
        return self._threads

    def _post(self, endpoint: str, body: bytes, timeout_s: float) -> tuple[int, bytes]:
        import urllib3

        if self._pool is None:
            self._pool = urllib3.PoolManager(maxsize=AT_ONCE_MAX, retries=False)
        try:
            response = self._pool.request(
                "POST",
                endpoint + PATH,
                body=body,
                headers={"content-type": "application/json"},
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=timeout_s),
                redirect=False,
                preload_content=False,
            )
            try:
                text = response.read(SEALED_BYTES_MAX + 1)
            finally:
                response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise PeerAway(f"{endpoint} does not answer: {type(error).__name__}") from None
        return response.status, text
