"""Only whole files of the right medium get past the checks, decided by content."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_kie.archive.content import audio
from airflow_kie.archive.content.audio import check_audio
from airflow_kie.archive.content.checks import ContentFacts, text_file
from airflow_kie.archive.content.images import IMAGES, check_image
from airflow_kie.archive.content.media import check
from airflow_kie.archive.content.mp4 import MAX_BOXES
from airflow_kie.client.errors import FileDamaged, FileEmpty, FileTruncated, FileWrongType, KieError
from airflow_kie.client.operations.operation import Medium
from media_server import mp3, mp3_with_header, picture, wav

FORMS = ("PNG", "JPEG", "WEBP")


@pytest.mark.parametrize(
    ("form", "content_type", "extension"),
    [("PNG", "image/png", "png"), ("JPEG", "image/jpeg", "jpg"), ("WEBP", "image/webp", "webp")],
)
def test_an_image_is_named_by_its_content(form: str, content_type: str, extension: str) -> None:
    facts = check_image(io.BytesIO(picture(form=form)))
    assert (facts.content_type, facts.extension, facts.width, facts.height) == (content_type, extension, 64, 48)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("missing", [1, 2, 3, 11, 40, 200])
def test_an_image_that_lacks_its_last_bytes_is_refused(form: str, missing: int) -> None:
    whole = picture(form=form, size=(300, 200))
    with pytest.raises(FileDamaged):
        check_image(io.BytesIO(whole[:-missing]))


@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_image_says_truncated(form: str) -> None:
    with pytest.raises(FileTruncated):
        check_image(io.BytesIO(picture(form=form, size=(300, 200))[:-1]))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>", "a web page"),
        (b"\n\n  <html>", "a web page"),
        (b'{"code":404,"msg":"not found","data":null}', "JSON"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "an SVG"),
        (b'<?xml version="1.0"?><!-- x --><svg></svg>', "an SVG"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
        (b"GIF89a\x01\x00\x01\x00", "a GIF"),
        (b"%PDF-1.7", "a PDF"),
        (b"PK\x03\x04zip", "a ZIP"),
        (b"hello", "something unknown"),
    ],
)
def test_anything_else_is_refused_by_its_name(body: bytes, named: str) -> None:
    with pytest.raises(FileWrongType, match=named):
        check_image(io.BytesIO(body))
    with pytest.raises(FileWrongType, match=named):
        check_audio(io.BytesIO(body))


def test_audio_is_no_cover_and_an_image_is_no_track() -> None:
    with pytest.raises(FileWrongType, match="audio came"):
        check_image(io.BytesIO(wav()))
    with pytest.raises(FileWrongType, match="an image came"):
        check_audio(io.BytesIO(picture()))


def test_zero_bytes_are_refused_as_such() -> None:
    for check_one in (check_image, check_audio):
        with pytest.raises(FileEmpty):
            check_one(io.BytesIO(b""))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("side", [8_000, 12_000, 50_000])
def test_an_image_of_too_many_pixels_is_not_decoded(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")
    with pytest.raises(FileWrongType, match="pixels"):
        check_image(io.BytesIO(bomb))


def test_a_damaged_checksum_inside_a_png_is_found_although_its_pixels_decode() -> None:
    whole = picture(size=(300, 200))
    text = _chunk(b"tEXt", b"Title\x00cover")
    end = len(whole) - 12  # before IEND
    check_image(io.BytesIO(whole[:end] + text + whole[end:]))
    with pytest.raises(FileDamaged):
        check_image(io.BytesIO(whole[:end] + text[:-1] + b"?" + whole[end:]))


def test_an_image_whose_pixels_cannot_be_decoded_is_refused_although_its_checksums_are_right() -> None:
    header = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\x00" + b"x" * 64) * 64)
    for data, refused in ((pixels, False), (b"\x00" + pixels[1:], True)):
        parts = _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
        with pytest.raises(FileDamaged) if refused else contextlib.nullcontext():
            check_image(io.BytesIO(b"\x89PNG\r\n\x1a\n" + parts))


def test_a_webp_that_lacks_the_end_of_its_metadata_is_refused_although_its_pixels_decode() -> None:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (32, 32)).save(out, "WEBP", xmp=b"<x:xmpmeta>" + b" " * 500 + b"</x:xmpmeta>")
    check_image(io.BytesIO(out.getvalue()))
    with pytest.raises(FileDamaged):
        check_image(io.BytesIO(out.getvalue()[:-100]))


def test_a_wav_and_an_mp3_are_named_with_their_length() -> None:
    sound = check_audio(io.BytesIO(wav(seconds=0.5)))
    assert (sound.content_type, sound.extension, sound.duration_seconds) == ("audio/wav", "wav", 0.5)
    stream = check_audio(io.BytesIO(mp3(seconds=2)))
    assert (stream.content_type, stream.extension) == ("audio/mpeg", "mp3")
    assert stream.duration_seconds == pytest.approx(2, abs=0.2)


def test_a_truncated_wav_is_refused() -> None:
    with pytest.raises(FileTruncated):
        check_audio(io.BytesIO(wav()[:-1]))


def test_a_track_that_is_shorter_than_kie_says_is_named_so() -> None:
    whole = mp3(seconds=4)
    assert check_audio(io.BytesIO(whole), expected_seconds=4.2).shortfall is None
    cut = check_audio(io.BytesIO(whole[: len(whole) // 2]), expected_seconds=4.2)
    assert cut.shortfall == "the track plays 2 s of the 4 s that KIE names"


@pytest.mark.parametrize("mark", [b"Xing", b"Info"])
def test_a_track_that_is_shorter_than_its_own_header_says_is_named_so(mark: bytes) -> None:
    whole = mp3_with_header(mp3(seconds=4), mark)
    sound = check_audio(io.BytesIO(whole))
    assert (sound.shortfall, sound.duration_seconds) == (None, pytest.approx(4, abs=0.1))
    cut = check_audio(io.BytesIO(whole[: len(whole) // 5]))
    assert cut.duration_seconds == pytest.approx(0.8, abs=0.1)
    assert cut.shortfall == "the track plays 1 s of the 4 s that its own header names"


def test_a_tag_before_and_rubbish_behind_an_mp3_are_no_sound() -> None:
    whole = mp3(seconds=2)
    tag = b"ID3\x04\x00\x00" + bytes((0, 0, 8, 0)) + b"\xff\xfb\x90\x44" * 256
    sound = check_audio(io.BytesIO(tag + whole + b"TAG" + b"x" * 125))
    assert sound.duration_seconds == pytest.approx(2, abs=0.1)


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data


@pytest.mark.parametrize(
    ("file", "error"),
    [
        (_box(b"ftyp", b"M4A ") + _box(b"moov", b"hdlr....vide"), FileWrongType),
        (_box(b"ftyp", b"M4A ") + _box(b"mdat", b"x" * 50), FileTruncated),
        ((_box(b"ftyp", b"M4A ") + _box(b"moov", b"x" * 50))[:-1], FileTruncated),
        (_box(b"ftyp", b"M4A ") + _box(b"moov", b""), FileDamaged),
    ],
)
def test_an_m4a_must_be_whole_and_hold_no_video(file: bytes, error: type[KieError]) -> None:
    with pytest.raises(error):
        check_audio(io.BytesIO(file))


def test_an_mp3_head_with_nothing_behind_it_holds_no_sound() -> None:
    with pytest.raises(FileDamaged, match="no audio"):
        check_audio(io.BytesIO(b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"x" * 500))


def test_a_file_that_is_read_byte_by_byte_in_search_of_a_frame_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MAX_READS", 10_000)
    with pytest.raises(FileDamaged, match="10,000 reads"):
        check_audio(io.BytesIO(b"ID3\x04" + bytes(6) + b"\xff" * 20_000))


STARTS = st.sampled_from(
    [picture(form=form) for form in FORMS]
    + [
        wav(0.01),
        mp3(0.1),
        b"fLaC",
        b"OggS",
        b"\x00\x00\x00\x18ftypM4A ",
        b"ID3\x04",
        b"RIFF\xff\xff\xff\xffWEBPVP8L",
        b"",
    ]
)


@settings(max_examples=300)
@given(start=STARTS, cut=st.integers(0, 4000), noise=st.binary(max_size=200), at=st.integers(0, 4000))
def test_no_input_makes_a_check_fail_in_an_untyped_way(start: bytes, cut: int, noise: bytes, at: int) -> None:
    body = bytearray(start[:cut] if cut < len(start) else start)
    body[at : at + len(noise)] = noise
    for check_one in (check_image, check_audio):
        with contextlib.suppress(KieError):
            check_one(io.BytesIO(bytes(body)))


def test_lyrics_are_stored_as_utf8_with_one_line_end() -> None:
    assert text_file("Été\r\nla la\n\n").getvalue() == "Été\nla la\n".encode()


def test_empty_lyrics_are_refused() -> None:
    with pytest.raises(FileEmpty):
        text_file(" \n ")


def test_a_check_does_not_change_the_file() -> None:
    body = picture()
    file = io.BytesIO(body)
    check_image(file)
    assert file.getvalue() == body


def test_every_image_form_that_is_let_in_is_one_that_browsers_show_without_scripts() -> None:
    assert {row[0] for row in IMAGES.values()} == {"image/png", "image/jpeg", "image/webp"}


# --- videos, documents, anything ---

FTYP = _box(b"ftyp", b"isom\x00\x00\x02\x00")
MOOV = _box(b"moov", _box(b"mvhd", bytes(12) + (600).to_bytes(4, "big") + (4800).to_bytes(4, "big")) + b"hdlr....vide")
MDAT = _box(b"mdat", b"x" * 500)


def checked(medium: Medium, content: bytes, url: str = "https://a/b", **known: Any) -> ContentFacts:
    return check(medium, io.BytesIO(content), url=url, **known)


@pytest.mark.parametrize("content", [FTYP + MDAT + MOOV, FTYP + MOOV + MDAT])
def test_a_whole_video_is_known_with_its_length(content: bytes) -> None:
    assert checked(Medium.VIDEO, content) == ContentFacts("video/mp4", "mp4", duration_seconds=8.0)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", FileEmpty),
        ((FTYP + MOOV + MDAT)[:-1], FileTruncated),
        (FTYP + MDAT, FileTruncated),
        (FTYP + MOOV, FileTruncated),
        (FTYP + MOOV.replace(b"vide", b"soun") + MDAT, FileWrongType),
        (b"<!doctype html><p>busy", FileWrongType),
        (FTYP + MOOV + _box(b"free", b"") * (MAX_BOXES + 1) + MDAT, FileWrongType),
    ],
)
def test_what_is_no_whole_video_is_refused(content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        checked(Medium.VIDEO, content)


@pytest.mark.parametrize("medium", [Medium.VIDEO, Medium.ANY])
@pytest.mark.parametrize(
    ("asked", "shortfall"),
    [(None, None), (8, None), (10, None), (5, None), (11, "the video plays 8 s of the 11 s that were requested")],
)
def test_a_video_that_is_shorter_than_was_asked_for_is_known(
    medium: Medium, asked: float | None, shortfall: str | None
) -> None:
    assert checked(medium, FTYP + MOOV + MDAT, asked_seconds=asked).shortfall == shortfall


def test_a_video_of_any_model_has_to_be_whole_and_a_picture_with_its_first_bytes_is_a_picture() -> None:
    assert checked(Medium.ANY, FTYP + MOOV + MDAT).duration_seconds == 8.0
    for part in ((FTYP + MOOV + MDAT)[:-1], FTYP + MDAT, FTYP):
        with pytest.raises(FileTruncated):
            checked(Medium.ANY, part)
    sound = FTYP + MOOV.replace(b"vide", b"soun") + MDAT
    assert checked(Medium.ANY, sound) == ContentFacts("video/mp4", "mp4")
    assert checked(Medium.ANY, _box(b"ftyp", b"avif")).extension == "avif"


def test_documents_are_checked_by_what_they_should_be() -> None:
    assert checked(Medium.JSON, b'{"a": 1}').extension == "json"
    assert checked(Medium.TEXT, "Été".encode()).content_type.startswith("text/plain")
    for medium, content in (
        (Medium.JSON, b'{"a":'),
        (Medium.JSON, b"[" * 100_000),
        (Medium.TEXT, b"\xff\xfe"),
        (Medium.TEXT, b"<html>busy"),
    ):
        with pytest.raises(FileWrongType):
            checked(medium, content)
    with pytest.raises(FileEmpty):
        checked(Medium.JSON, b"")


@pytest.mark.parametrize(
    ("content", "url", "known"),
    [
        (b"\x89PNG\r\n\x1a\n broken", "https://a/b.mp4", ("image/png", "png")),
        (b"ID3 broken", "https://a/b", ("audio/mpeg", "mp3")),
        (_box(b"ftyp", b"M4A "), "https://a/b", ("audio/mp4", "m4a")),
        (b"<svg onload=x>", "https://a/b.SVG?c=.exe", ("application/octet-stream", "svg")),
        (b"x", "https://a/b.tooLong", ("application/octet-stream", "bin")),
        (b"x", "https://a/b.x/c", ("application/octet-stream", "bin")),
    ],
)
def test_a_file_of_any_medium_is_named_and_not_looked_into(content: bytes, url: str, known: tuple[str, str]) -> None:
    facts = checked(Medium.ANY, content, url)
    assert (facts.content_type, facts.extension) == known


@pytest.mark.parametrize(
    ("content", "url"),
    [
        (b"<!doctype html><p>busy", "https://a/b.png"),
        (b"\xef\xbb\xbf <HTML>busy", "https://a/b"),
        (b'{"code": 404}', "https://a/b.mp4"),
        (b"<?xml version='1.0'?><Error/>", "https://a/b.JPEG?c=1"),
    ],
)
def test_what_a_gateway_answers_in_place_of_a_file_of_any_medium_is_refused(content: bytes, url: str) -> None:
    with pytest.raises(FileWrongType, match=r"a file was expected, but (a web page|JSON|XML) came"):
        checked(Medium.ANY, content, url)


@pytest.mark.parametrize(
    ("content", "url"),
    [
        (b"<html>a game", "https://a/b.html"),
        (b'{"a": 1}', "https://a/b.json"),
        (b"[1]", "https://a/b"),
        (b"<a/>", "https://a/b.xml"),
    ],
)
def test_a_text_under_an_address_that_may_be_a_texts_is_a_file_of_any_medium(content: bytes, url: str) -> None:
    assert checked(Medium.ANY, content, url).content_type == "application/octet-stream"
