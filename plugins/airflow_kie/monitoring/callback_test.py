"""A signed test callback, as KIE would send it: does it arrive, and is it accepted?"""

from __future__ import annotations

import time

from airflow_kie.client.account import NO_CALLBACK_URL, KieAccount
from airflow_kie.client.callbacks.signature import SIGNATURE_HEADER, TEST_TASK_ID, TIMESTAMP_HEADER, sign
from airflow_kie.client.errors import KieError
from airflow_kie.client.http.transport import post_anywhere

_BODY = {"code": 200, "msg": "test", "data": {"task_id": TEST_TASK_ID, "callbackType": "text"}}
"""A stage on the way: no task wakes and no song is recorded."""


def can_be_tested(account: KieAccount) -> bool:
    """Return whether a test can be signed: the account has a callback URL, and a webhook secret."""
    return account.callback_url != NO_CALLBACK_URL and bool(account.webhook_secret)


def send_test(account: KieAccount) -> tuple[bool, str]:
    """Send one, and return whether it was accepted, and what a person reads.

    :param account: one that can be tested.
    """
    now = str(int(time.time()))
    signed = {TIMESTAMP_HEADER: now, SIGNATURE_HEADER: sign(account.webhook_secret or "", TEST_TASK_ID, now)}
    try:
        answer = post_anywhere(account.callback_url, _BODY, headers=signed)
    except KieError as error:
        return False, f"The test callback got no answer: {error.facts.message}."
    if answer.status == 200:
        return True, "The test callback arrived: the receiver accepted its signature and answered 200."
    return (
        False,
        f"The test callback got HTTP {answer.status}. See the receiver's line under Checks.",
    )
