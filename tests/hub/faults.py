"""What can go wrong between a client and the Hub, armed by a test."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass
class Fault:
    """A fault of the requests that match, beginning with match number `after`, `times` times.

    Args:
        method: Of the request, such as POST.
        path_regex: Searched in the path as it was sent: quoted (`refs%2Fpr%2F1`), without the query.
        times: How many requests it meets.
        after: How many matching requests pass before.
        status: Answer this instead of doing the work.
        headers: Of that answer, such as Retry-After.
        body: Of that answer.
        lose_answer: Do the work, then close the connection without an answer.
        cut: Close the connection after so many bytes of the body: of the answer to a GET, of other requests.
        flip: Flip the lowest bit of the byte at this place of the body that is sent.
        delay: Seconds to wait before the work.
        before: Called before the work, in the server's thread, so that something can come between.
    """

    method: str
    path_regex: str
    times: int = 1
    after: int = 0
    status: int | None = None
    headers: Mapping[str, str] | None = None
    body: bytes | None = None
    lose_answer: bool = False
    cut: int | None = None
    flip: int | None = None
    delay: float = 0.0
    before: Callable[[], object] | None = None
    met: int = 0
    """How many requests it has met."""

    def meets(self, method: str, path: str) -> bool:
        """Whether this request is one of them; counts it."""
        if method != self.method or self.met >= self.times or not re.search(self.path_regex, path):
            return False
        if self.after:
            self.after -= 1
            return False
        self.met += 1
        return True

    def damage(self, body: bytes) -> bytes:
        """The body with its flipped bit."""
        if self.flip is None or not body:
            return body
        damaged = bytearray(body)
        damaged[self.flip % len(body)] ^= 1
        return bytes(damaged)
