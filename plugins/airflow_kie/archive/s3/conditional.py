"""Conditional requests to S3: write or delete only what has not changed since it was read.

AWS S3 knows ``If-None-Match: *`` and ``If-Match`` for PutObject, and ``If-Match`` for DeleteObject (its user guide,
"conditional requests"). Of the other services some ignore the condition and some refuse it with 501: there the request
is made without it, and callers read back what must not get lost.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

# 404: deleted meanwhile; 409: another conditional write is under way; 412: changed meanwhile.
_CHANGED = {404: "NoSuchKey", 409: "ConditionalRequestConflict", 412: "PreconditionFailed"}
_NOT_KNOWN = {400: "InvalidArgument", 501: "NotImplemented"}
CONFLICTS = 5
"""How often an object is created again while another client is creating it, which may fail: S3 asks for that."""
PAUSE = 0.2
"""Seconds between two of them, at most."""


def if_unchanged(
    request: Callable[..., Any],
    arguments: Mapping[str, Any],
    etag: str | None,
    *,
    match: str = "IfMatch",
    only_then: bool = False,
    conflicts: int = CONFLICTS,
) -> bool:
    """Make a request that has an effect only if the object is still the one that was read.

    :param request: a boto3 client's ``put_object``, ``delete_object`` or ``copy_object``.
    :param arguments: its arguments.
    :param etag: of the object as it was read; None: it did not exist then.
    :param match: the argument that names the version; of a copy it is ``CopySourceIfMatch``.
    :param only_then: do not make it without the condition where the service refuses conditions, and return False only
        where an object is there, not while another client is writing one.
    :param conflicts: how often it is made again in that case.
    :return: False if it has changed.
    :raises botocore.exceptions.ClientError: for every other refusal.
    """
    from botocore.exceptions import ClientError

    condition = {match: etag} if etag else {"IfNoneMatch": "*"}
    try:
        request(**arguments, **condition)
    except ClientError as e:
        status, code = e.response.get("ResponseMetadata", {}).get("HTTPStatusCode"), e.response["Error"].get("Code")
        if only_then and status == 409 and conflicts:
            time.sleep(random.uniform(0, PAUSE))  # noqa: S311 - no secret
            return if_unchanged(request, arguments, etag, match=match, only_then=True, conflicts=conflicts - 1)
        if status in _CHANGED and code in {*_CHANGED.values(), str(status)} and not (only_then and status == 409):
            return False
        if only_then or status not in _NOT_KNOWN or code not in _NOT_KNOWN.values():
            raise
        request(**arguments)
    return True
