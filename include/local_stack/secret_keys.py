"""The secrets of one stack: made once, kept in its folder, readable only by its owner."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class StackSecrets:
    """Secrets that must stay the same from one start of a stack to the next.

    :param fernet_key: Airflow's key for stored connections and trigger arguments.
    :param jwt_secret: signs Airflow's tokens; 64 bytes and more keep PyJWT from warning about HS512.
    :param session_key: signs the UI's sessions.
    :param s3_access_key: user of the local S3.
    :param s3_secret_key: password of the local S3.
    :param database_password: of the stack's PostgreSQL.
    :param webhook_secret: signs the simulator's callbacks.
    """

    fernet_key: str
    jwt_secret: str
    session_key: str
    s3_access_key: str
    s3_secret_key: str
    database_password: str
    webhook_secret: str


def keep_secrets(home: Path) -> StackSecrets:
    """Return the stack's secrets, made at its first start.

    :param home: folder of the stack.
    """
    path = home / "secrets.json"
    if not path.exists():
        made = StackSecrets(
            fernet_key=base64.urlsafe_b64encode(os.urandom(32)).decode(),
            jwt_secret=secrets.token_urlsafe(72),
            session_key=secrets.token_urlsafe(32),
            s3_access_key=f"local{secrets.token_hex(6)}",
            s3_secret_key=secrets.token_urlsafe(32),
            database_password=secrets.token_urlsafe(32),
            webhook_secret=secrets.token_urlsafe(32),
        )
        home.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(made), file)
        draft.replace(path)  # in one step: a process that is killed before leaves none, and the next start makes them
    kept = json.loads(path.read_text())
    if set(kept) != {field.name for field in fields(StackSecrets)}:  # made by an older version
        path.unlink(missing_ok=True)
        return keep_secrets(home)
    return StackSecrets(**kept)
