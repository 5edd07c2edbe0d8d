"""A chain whose contracts do not say what their storage says: for what readers do with what they cannot reproduce."""

from collections.abc import Sequence

import pytest

from defi_leverage.chain import Call, Chain


def bend(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Every call of exactly this data answers one more in its first word."""
    call = Chain.call

    async def bent(self: Chain, calls: Sequence[Call]) -> list[bytes | None]:
        answers = await call(self, calls)
        return [
            (int.from_bytes(answer[:32], "big") + 1).to_bytes(32, "big") + answer[32:]
            if sent == data and answer
            else answer
            for (_, sent), answer in zip(calls, answers, strict=True)
        ]

    monkeypatch.setattr(Chain, "call", bent)


def mute(monkeypatch: pytest.MonkeyPatch, *selectors: bytes) -> None:
    """Every call of these functions fails."""
    call = Chain.call

    async def muted(self: Chain, calls: Sequence[Call]) -> list[bytes | None]:
        answers = await call(self, calls)
        return [None if sent[:4] in selectors else answer for (_, sent), answer in zip(calls, answers, strict=True)]

    monkeypatch.setattr(Chain, "call", muted)
