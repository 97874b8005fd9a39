"""A picture that somebody uploads as one more cover of a song: it lies in the song's folder and can be chosen."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response

from airflow_kie._airflow_private.api_server import trigger_access
from airflow_kie.archive.content.images import check_image
from airflow_kie.archive.extras.storing import position_of_more
from airflow_kie.archive.file_transfer import MAX_IMAGE_BYTES
from airflow_kie.archive.index.entry import entry_of
from airflow_kie.archive.manifest import FileKind, FileRecord, Manifest
from airflow_kie.client.errors import FileDamaged
from airflow_kie.links.kie import SONG_PAGES_DAG_ID
from airflow_kie.web.library.catalogues import catalogue_of
from airflow_kie.web.own_threads import PageRouter
from airflow_kie.web.pages.changes import (
    ChangeRefused,
    audit,
    from_our_page,
    keep_content,
    message_answer,
    remember_user,
    user_name,
)
from airflow_kie.web.pages.queries import Place
from airflow_kie.web.pages.responses import NothingToShow
from airflow_kie.web.pages.routes import place_of

MOST = 50
"""Covers of a song that KIE has not made with it."""
MOST_BYTES = min(20 * 1024 * 1024, MAX_IMAGE_BYTES)


async def read_picture(request: Request) -> None:
    """Keep a request's picture with it."""
    try:
        await keep_content(request, MOST_BYTES)
    except ChangeRefused as error:
        raise ChangeRefused(f"A picture has at most {MOST_BYTES // 1024**2} MiB.") from error


def add_uploading(app: FastAPI) -> None:
    """Add the route to the app that is mounted in the api-server."""
    steps = (trigger_access(SONG_PAGES_DAG_ID), remember_user(), from_our_page, read_picture)
    router = PageRouter(dependencies=[Depends(step) for step in steps])
    router.add_api_route("/songs/{music_task_id}/cover", upload, methods=["POST"])
    app.include_router(router, include_in_schema=False)


def upload(request: Request, music_task_id: str, place: Annotated[Place, Depends(place_of)]) -> Response:
    """Store the picture that is the request's body: PNG, JPEG or WebP of at most 20 MiB."""
    keys, content = place.keys(music_task_id), request.state.kie_content
    bucket = place.open()
    song = Manifest.read(bucket, keys)[0]
    if song is None:
        raise NothingToShow("This song is not archived", "It has no folder for a picture yet.")
    try:
        facts = check_image(io.BytesIO(content))
    except FileDamaged as error:
        why = f"This is not a PNG, JPEG or WebP that can be stored: {error.facts.message}."
        raise ChangeRefused(why) from error
    if sum(file.origin is not None for file in song.files) >= MOST:
        raise ChangeRefused(f"The song already has {MOST} added covers.")
    digest = hashlib.sha256(content).hexdigest()
    position = position_of_more(song, FileKind.COVER, digest)
    key = keys.file(FileKind.COVER, position, facts.extension)
    audit(request, "kie_upload", song=music_task_id, key=key, sha256=digest)
    by, now = user_name(request), datetime.now(UTC)
    bucket.put_file(io.BytesIO(content), key, size=len(content), content_type=facts.content_type, sha256=digest)
    file = FileRecord(
        key=key,
        kind=FileKind.COVER,
        position=position,
        size=len(content),
        sha256=digest,
        content_type=facts.content_type,
        width=facts.width,
        height=facts.height,
        origin="upload",
        by=by,
        archived_at=now,
    )
    news = Manifest(music_task_id=song.music_task_id, files=(file,), created_at=song.created_at, updated_at=now)
    manifest = Manifest.update(bucket, keys, lambda stored: (stored or song).merged_with(news))
    catalogue_of(place).add(entry_of(manifest))
    return message_answer("The picture is in the song's folder and can be chosen.")
