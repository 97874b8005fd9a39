"""Does a release pass the known distributors' rules? Its files are read, not its records."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator

from airflow_kie.archive.delivery.audio import sound_of
from airflow_kie.archive.delivery.cover_image import picture_of
from airflow_kie.archive.delivery.keys import ReleaseKeys
from airflow_kie.archive.delivery.records import DeliveredFile, Release, ReleaseManifest
from airflow_kie.archive.delivery.rules import refused_pictures, refused_sounds, who_asks_for
from airflow_kie.archive.s3.bucket import Bucket

METADATA = "metadata.json"


def problems(bucket: Bucket, keys: ReleaseKeys) -> Iterator[str]:
    """Return a sentence for each reason why a release is not ready.

    :raises ArchiveUnreadable: when its manifest or metadata is damaged.
    """
    manifest = ReleaseManifest.read(bucket, keys)[0]
    if manifest is None:
        yield f"{bucket.url(keys.folder)} has no manifest: the release was never completed."
        return
    release: Release | None = None
    for file in sorted(manifest.files, key=lambda file: file.name != METADATA):  # it says what was enlarged
        with tempfile.SpooledTemporaryFile(8 * 1024 * 1024) as body:
            facts = bucket.read_facts(keys.file(file.name), body)  # type: ignore[arg-type]
            if facts is None:
                yield f"{file.name} is missing."
                continue
            if facts.sha256 != file.sha256:
                yield f"{file.name} is not the file that was delivered: its SHA-256 differs."
                continue
            body.seek(0)
            if file.name == METADATA:
                release = Release.from_json(json.loads(body.read()), bucket.url(keys.file(file.name)))
            else:
                yield from _refused(file, body, upscaled=bool(release and release.cover_upscaled))
    for name in release.missing if release else ():
        who = who_asks_for(name)
        yield f"metadata.json lacks {name}{f' (required by {who})' if who else ''}."


def _refused(file: DeliveredFile, body: tempfile.SpooledTemporaryFile[bytes], *, upscaled: bool) -> Iterator[str]:
    if file.content_type == "image/jpeg":
        yield from refused_pictures(picture_of(body.read(), upscaled=upscaled))
    elif file.content_type == "audio/wav":
        yield from refused_sounds(sound_of(body), file.name)  # type: ignore[arg-type]
