"""The time at which the local stack's S3 says that an object was written, which no request of S3 can set."""

from __future__ import annotations

import json
from datetime import datetime

import grpc

from local_stack.bucket import BucketPath
from local_stack.settings import StackSettings


def set_modified_at(settings: StackSettings, path: BucketPath, then: datetime) -> None:
    """Let an object have been written at another time.

    SeaweedFS's filer takes its entry as a protobuf message. A field that is given twice counts the second time, so the
    time is put behind what stands there; nothing else of the message need be understood.

    :param settings: the stack.
    :param path: the object.
    :param then: to the second.
    """
    port = json.loads((settings.s3_dir / "ports.json").read_text())[-2]  # the last one is that of the metrics
    folder = f"/buckets/{path.bucket}/{path.parent.key}"
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = channel.unary_unary("/filer_pb.SeaweedFiler/LookupDirectoryEntry")(
            _field(1, folder.encode()) + _field(2, path.name.encode())
        )
        entry = _content(answer)
        attributes = bytes([2 << 3]) + _varint(int(then.timestamp()))
        changed = entry + _field(4, attributes)
        channel.unary_unary("/filer_pb.SeaweedFiler/UpdateEntry")(_field(1, folder.encode()) + _field(2, changed))
    assert path.modified_at() == then


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _content(message: bytes) -> bytes:
    """Return the content of a message's only field."""
    position, size, shift = 1, 0, 0
    while True:
        byte = message[position]
        position, size, shift = position + 1, size | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return message[position : position + size]
