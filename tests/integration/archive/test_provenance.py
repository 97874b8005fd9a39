"""What KIE writes into its files about where they come from (C2PA, XMP, ID3) arrives in S3 byte for byte."""

from __future__ import annotations

import functools
import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime

import jsonschema
import pytest

from airflow_kie import __version__
from airflow_kie.archive.archiver import Source, archive_song
from airflow_kie.archive.layout import SongKeys
from airflow_kie.archive.manifest import FileKind, GeneratorRecord, Manifest, SongRecord
from airflow_kie.archive.s3.bucket import Bucket
from airflow_kie.archive.song_folder import SongArchive
from airflow_kie.client.http.download import DownloadSettings, download
from archived_song import content_of
from media_server import body, media_server, mp3, picture
from s3_servers import moto_s3

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType='
    b'"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/></rdf:RDF></x:xmpmeta>'
)
JUMBF = struct.pack(">I4s", 40_008, b"jumb") + hashlib.shake_256(b"a C2PA manifest store").digest(40_000)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG with further chunks after its header."""
    plain = picture(1)
    extra = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return plain[:33] + extra + plain[33:]


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    """Return a JPEG with further APPn segments at its beginning."""
    plain = picture(2, "JPEG")
    extra = b"".join(struct.pack(">BBH", 0xFF, 0xE0 + n, len(data) + 2) + data for n, data in segments)
    return plain[:2] + extra + plain[2:]


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a WebP in the extended format, with further chunks at its end."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(picture(3))).save(out, "WEBP", xmp=XMP)
    extra = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    content = out.getvalue()[8:] + extra
    return b"RIFF" + struct.pack("<I", len(content)) + content


def id3(frame: bytes, data: bytes) -> bytes:
    """Return an MP3 that begins with an ID3v2.3 tag of one frame."""
    content = frame + struct.pack(">IH", len(data), 0) + data
    size = bytes((len(content) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + size + content + mp3()


JUMBF_SEGMENT = b"JP\x00\x01\x00\x00\x00\x01" + JUMBF
COVERS = {
    "PNG, C2PA in caBX": png((b"caBX", JUMBF)),
    "PNG, XMP in iTXt": png((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "PNG, packed XMP of 3 MB": png((b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP + b" " * 3_000_000))),
    "JPEG, C2PA in APP11": jpeg((11, JUMBF_SEGMENT)),
    "JPEG, XMP in APP1": jpeg((1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)),
    "WebP, XMP and C2PA": webp((b"C2PA", JUMBF)),
}
TRACKS = {"MP3, C2PA in ID3": id3(b"GEOB", b"\0application/x-c2pa-manifest-store\0\0c2pa\0" + JUMBF)}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with moto_s3() as s3:
        made = Bucket(s3.client(), "provenance")
        made.create_on_loopback()
        yield made


def archived(bucket: Bucket, name: str, content: bytes, kind: FileKind) -> tuple[bytes, dict[str, object]]:
    """Archive one file and return what stands in S3: the file and the manifest."""
    music_task_id = hashlib.sha256(name.encode()).hexdigest()[:32]
    keys, now = SongKeys("songs", music_task_id), datetime.now(UTC)
    with media_server({"/file": body(content, "application/octet-stream")}) as media:
        result = archive_song(
            SongArchive(bucket, keys),
            Manifest(
                music_task_id=music_task_id,
                song=SongRecord(model="V5", completed_at=now),
                generator=GeneratorRecord(model="V5"),
                created_at=now,
                updated_at=now,
            ),
            [Source(kind, 1, url=media.url("/file"), task_id="task")],
            old=None,
            download=functools.partial(download, settings=DownloadSettings(private_hosts=frozenset({"127.0.0.1"}))),
        )
    stored = content_of(bucket, result.manifest.files[0].key)
    assert stored is not None
    return stored, bucket.get_json(keys.manifest)


@pytest.mark.parametrize("name", [*COVERS, *TRACKS])
def test_a_file_arrives_with_the_provenance_that_it_carries(bucket: Bucket, name: str) -> None:
    content = (COVERS | TRACKS)[name]
    stored, _ = archived(bucket, name, content, FileKind.COVER if name in COVERS else FileKind.TRACK)
    assert stored == content


def test_the_manifest_says_that_the_media_are_generated_by_what_and_archived_by_what(bucket: Bucket) -> None:
    _, manifest = archived(bucket, "manifest", COVERS["PNG, C2PA in caBX"], FileKind.COVER)
    jsonschema.validate(manifest, Manifest.published_schema())
    assert manifest["digital_source_type"] == "trainedAlgorithmicMedia"
    assert manifest["generator"] == {
        "service": "kie.ai",
        "model": "V5",
        "archived_by": "airflow-provider-kie-ai",
        "archived_by_version": __version__,
    }
