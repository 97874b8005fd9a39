"""moto's S3 with its IAM checks on: every request is held against the policies of the user whose key signed it.

What moto does not check is no proof: conditions of ListBucket, the source of a copy, tags, KMS, and the 403 in place
of a 404 that AWS gives without s3:ListBucket.

>>> with iam_server() as aws:
...     writer = aws.user({"Version": "2012-10-17", "Statement": [...]})
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from s3_servers import S3Server, moto_s3

BUCKET = "my-covers"
_EVERYTHING = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}


@dataclass(frozen=True)
class IamServer:
    """An S3 server and its users.

    :param admin: the server with the key of a user who may do everything.
    """

    admin: S3Server
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def user(self, policy: Mapping[str, Any]) -> S3Server:
        """Return the server with the key of a new user who may do what a policy says, and nothing else."""
        return _user(self.admin, f"user-{next(self._numbers)}", policy)


@contextmanager
def iam_server() -> Iterator[IamServer]:
    """Serve S3 with the bucket ``my-covers``; the checks are on for the whole process until the end."""
    from moto.backends import get_backend
    from moto.core.authorization import enable_iam_authentication
    from moto.s3.responses import ACTION_MAP

    heads = {"DEFAULT": "ListBucket"}  # as AWS; moto asks for s3:HeadBucket, which AWS does not have
    with moto_s3() as server, mock.patch.dict(ACTION_MAP["BUCKET"], {"HEAD": heads}):
        for account in get_backend("iam").values():
            for backend in account.values():
                backend.reset()
        server.client().create_bucket(Bucket=BUCKET)
        admin = _user(server, "admin", _EVERYTHING)
        with enable_iam_authentication():
            yield IamServer(admin)


def _user(server: S3Server, name: str, policy: Mapping[str, Any]) -> S3Server:
    import boto3

    iam = boto3.client(
        "iam",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
    )
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="its-policy", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return replace(server, access_key=key["AccessKeyId"], secret_key=key["SecretAccessKey"])
