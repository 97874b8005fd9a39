"""Why a song that is in work does not move: the outage of its account, or of its bucket, in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_kie import settings
from airflow_kie._airflow_private import metadata
from airflow_kie.client.errors import error_class
from airflow_kie.durable.outages import account_place, bucket_place
from airflow_kie.hooks.kie import KieHook
from airflow_kie.monitoring.incidents import moment

if TYPE_CHECKING:
    from airflow_kie.archive.pending import Pending


def held_up(pending: Pending, bucket: str) -> list[str]:
    """Return a sentence for each outage that holds a song up, as the Variables note them; no request is made.

    :param pending: the song's pending record.
    :param bucket: name of the archive's bucket.
    """
    places = (
        account_place(KieHook(pending.kie_conn_id or KieHook.default_conn_name)),
        bucket_place(settings.text("aws_conn_id", "aws_default"), bucket, ""),
    )
    with metadata.metadata_session() as session:
        notes = [place.note.outage_in(metadata.variable(session, place.note.key)) for place in places]
    sentences = []
    for outage in filter(None, notes):
        known = error_class(outage.reason)
        what, todo = (known.what, f" {known.todo}") if known else (outage.message, "")
        sentences.append(f"Held up since {moment(outage.since)}: {what}. It goes on by itself when that ends.{todo}")
    return sentences
