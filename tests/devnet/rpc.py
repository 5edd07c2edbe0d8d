"""A JSON-RPC session over one kept-alive HTTP connection."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BATCH_SIZE = 2_000
TIMEOUT_SECONDS = 300
_CLOSED_BY_SERVER = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


class RpcError(RuntimeError):
    """The node answered with an error."""

    def __init__(self, method: str, error: dict[str, Any]) -> None:
        super().__init__(f"{method}: {error.get('message', error)}")
        self.code: int | None = error.get("code")
        self.data: Any = error.get("data")


class RpcSession:
    """Calls and batches of calls to one node."""

    def __init__(self, host: str, port: int) -> None:
        self.url = f"http://{host}:{port}"
        self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a later call opens it anew."""
        self._connection.close()

    def call(self, method: str, *params: Any) -> Any:
        """Result of one call."""
        return self._result(self._post(_request(0, method, params)), method)

    def batch(self, requests: Iterable[tuple[str, Sequence[Any]]], size: int = BATCH_SIZE) -> list[Any]:
        """Results of many calls, in their order; ``size`` of them travel in one request."""
        pending = list(requests)
        results: list[Any] = []
        for start in range(0, len(pending), size):
            part = pending[start : start + size]
            replies = self._post([_request(i, method, params) for i, (method, params) in enumerate(part)])
            if isinstance(replies, dict):
                raise RpcError("batch", replies.get("error", replies))
            by_id = {reply["id"]: reply for reply in replies}
            results += [self._result(by_id[i], method) for i, (method, _) in enumerate(part)]
        return results

    def _post(self, payload: object) -> Any:
        body = json.dumps(payload, separators=(",", ":"))
        try:
            return self._exchange(body)
        except _CLOSED_BY_SERVER:  # an idle connection; the request was not read
            self._connection.close()
            return self._exchange(body)

    def _exchange(self, body: str) -> Any:
        self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
        return json.loads(self._connection.getresponse().read())

    @staticmethod
    def _result(reply: dict[str, Any], method: str) -> Any:
        if "error" in reply:
            raise RpcError(method, reply["error"])
        return reply["result"]


def _request(request_id: int, method: str, params: Sequence[Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(params)}
