"""A minimal Xet store: what the native client `hf_xet` uploads to and downloads from.

Real: the binary forms of xorbs (files of chunks) and shards (which chunks make which file), deduplication of whole
xorbs, the file rebuilt from its chunks and checked against its sha256, reconstruction with ranges. Not real: hashes of
chunks and xorbs are believed, chunks must come uncompressed (`hub.env` sees to it), there is no deduplication across
repositories, and files that came by git-LFS are not offered by Xet.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .endpoints import REPO, Answer, Call, opening, ranged, reply, route, writing
from .store import Blobs, Refusal

if TYPE_CHECKING:
    from .server import Hub


@dataclass(frozen=True)
class Segment:
    """A run of a xorb's chunks, with its length in a file."""

    xorb: str
    length: int
    start: int
    end: int


def name(hash: bytes) -> str:
    """Xet writes a hash as four little-endian numbers in hexadecimal."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", hash))


class ChunkStore:
    """Xorbs and files by their hashes; `hashes` are those of files by sha256."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self.hashes: dict[str, str] = {}
        self.files: dict[str, list[Segment]] = {}
        self.xorbs: dict[str, bytes] = {}
        self.chunks: dict[str, list[int]] = {}  # where a xorb's chunks begin, and where the last ends

    def add_xorb(self, hash: str, content: bytes) -> bool:
        """Keep a xorb; False where it is known. A chunk is 8 bytes of header, of which 3 its length, and the data."""
        known = hash in self.xorbs
        places = [0]
        while places[-1] < len(content) and content[places[-1] : places[-1] + 7] != b"XETBLOB":
            version, *length, compressed = content[places[-1] : places[-1] + 5]
            if version or compressed:
                raise Refusal(400, "the test Hub reads only chunks that are not compressed")
            places.append(places[-1] + 8 + int.from_bytes(length, "little"))
        self.xorbs[hash], self.chunks[hash] = content, places
        return not known

    def unpack(self, segment: Segment) -> bytes:
        places, content = self.chunks[segment.xorb][segment.start : segment.end + 1], self.xorbs[segment.xorb]
        return b"".join(content[begin + 8 : end] for begin, end in pairwise(places))

    def add_shard(self, content: bytes) -> None:
        """Learn files from a shard: records of 48 bytes, up to one whose hash is all ones."""
        records = [content[at : at + 48] for at in range(48, len(content) - 47, 48)]
        while (head := records.pop(0))[:32] != b"\xff" * 32:
            flags, count = struct.unpack("<2I", head[32:40])
            segments = []
            for _ in range(count):
                record = records.pop(0)
                _, length, start, end = struct.unpack("<4I", record[32:48])
                segments.append(Segment(name(record[:32]), length, start, end))
            if flags & 0x80000000:  # a hash to verify each segment follows
                del records[:count]
            whole = b"".join(map(self.unpack, segments))
            sha256 = hashlib.sha256(whole).hexdigest()
            if flags & 0x40000000 and name(records.pop(0)[:32]) != sha256:
                raise Refusal(400, "the chunks do not make a file of the announced sha256")
            self.files[name(head[:32])] = segments
            self.hashes[self.blobs.add(whole)] = name(head[:32])


@route("GET", REPO + "/xet-{access}-token/{revision}")
def token(hub: Hub, call: Call, kind: str, id: str, access: str, revision: str) -> Answer:
    if access == "write":
        writing(hub, call, kind, id, proposing=call.wants("create_pr"))
    else:
        opening(hub, call, kind, id)
    address, token, until = f"{hub.outside}/cas", "xet-of-a-moment", 4_000_000_000
    said = {"X-Xet-Cas-Url": address, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(until)}
    return reply({"casUrl": address, "accessToken": token, "exp": until}, **said)


@route("POST", "/cas/v1/xorbs/default/{hash}")
def upload_xorb(hub: Hub, call: Call, hash: str) -> Answer:
    return reply({"was_inserted": hub.xet.add_xorb(hash, call.body)})


@route("POST", "/cas/v1/shards")
def upload_shard(hub: Hub, call: Call) -> Answer:
    hub.xet.add_shard(call.body)
    return reply({"result": 1})


@route("GET", "/cdn/xorbs/{hash}")
def download_xorb(hub: Hub, call: Call, hash: str) -> Answer:
    return ranged(call, hub.xet.xorbs[hash])


@route("GET", "/cas/v1/reconstructions/{hash}")
def reconstruct(hub: Hub, call: Call, hash: str) -> Answer:
    """Which chunks make the bytes asked for, and where those are; of whole segments the client drops the rest."""
    if hash not in hub.xet.files:
        raise Refusal(404, "no such file")
    asked = call.headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")
    first, last = int(asked[0]), int(asked[1] or 2**62)
    terms: list[dict[str, Any]] = []
    places: dict[str, list[dict[str, Any]]] = {}
    start = skip = 0
    for segment in hub.xet.files[hash]:
        if start <= last and start + segment.length > first:
            skip = skip or max(0, first - start)
            chunks = {"start": segment.start, "end": segment.end}
            begin, end = (hub.xet.chunks[segment.xorb][chunk] for chunk in (segment.start, segment.end))
            terms.append({"hash": segment.xorb, "unpacked_length": segment.length, "range": chunks})
            address = f"{hub.outside}/cdn/xorbs/{segment.xorb}"
            place = {"range": chunks, "url": address, "url_range": {"start": begin, "end": end - 1}}
            places.setdefault(segment.xorb, []).append(place)
        start += segment.length
    if not terms:
        raise Refusal(416, "beyond the end of the file")
    return reply({"offset_into_first_range": skip, "terms": terms, "fetch_info": places})
