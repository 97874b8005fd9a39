"""The files that the simulator serves: whole, different, guarded and gone when KIE's would be."""

from __future__ import annotations

import io

import httpx
import pytest
from PIL import Image
from tinytag import TinyTag

from kie_simulator.server import SimulatorServer
from kie_simulator_client import Kie

DAY = 86400


SIMULATOR = {"cover_seconds": 0.0}


def images(simulator: SimulatorServer, kie: Kie, title: str = "Velvet Harbour") -> list[str]:
    song = simulator.control.make_music(title)[0].task_id
    urls: list[str] = kie.cover(kie.create_cover(song)["data"]["taskId"])["response"]["images"]
    return urls


def audio(simulator: SimulatorServer, kie: Kie) -> list[str]:
    tracks = kie.music(simulator.control.make_music("Velvet Harbour")[0].task_id)["response"]["sunoData"]
    return [track["audioUrl"] for track in tracks]


def test_covers_are_pngs_of_1024_pixels_that_differ_by_image_and_song(simulator: SimulatorServer, kie: Kie) -> None:
    answers = [kie.download(url) for title in ("One", "Two") for url in images(simulator, kie, title)]
    for answer in answers:
        assert answer.headers["content-type"] == "image/png"
        assert int(answer.headers["content-length"]) == len(answer.content)
        with Image.open(io.BytesIO(answer.content)) as picture:
            picture.load()
            assert (picture.format, picture.size) == ("PNG", (1024, 1024))
    assert len({answer.content for answer in answers}) == 4


def test_plain_images_are_small_pngs_of_the_same_size(simulator: SimulatorServer, kie: Kie) -> None:
    simulator.control.set(plain_images=True)
    content = kie.download(images(simulator, kie)[0]).content
    assert len(content) < 50_000
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (1024, 1024)


def test_tracks_are_playable_mp3s_that_differ(simulator: SimulatorServer, kie: Kie) -> None:
    answers = [kie.download(url) for url in audio(simulator, kie)]
    for answer in answers:
        tag = TinyTag.get(filename="track.mp3", file_obj=io.BytesIO(answer.content))
        assert answer.headers["content-type"] == "audio/mpeg"
        assert tag.duration is not None
        assert 3 < tag.duration < 6
    assert answers[0].content != answers[1].content


def test_a_file_has_the_same_bytes_each_time(simulator: SimulatorServer, kie: Kie) -> None:
    url = images(simulator, kie)[0]
    assert kie.download(url).content == kie.download(url).content


def test_a_range_of_a_file_can_be_had(simulator: SimulatorServer, kie: Kie) -> None:
    url = audio(simulator, kie)[0]
    whole = kie.download(url).content
    part = kie.download(url, Range="bytes=10-19")
    rest = kie.download(url, Range="bytes=100-")
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert rest.content == whole[100:]


@pytest.mark.parametrize("agent", ["", "Python-urllib/3.11", "python-httpx/0.28.1", "Python/3.11 aiohttp/3.9"])
def test_a_python_clients_default_user_agent_is_refused(simulator: SimulatorServer, kie: Kie, agent: str) -> None:
    answer = httpx.get(images(simulator, kie)[0], headers={"User-Agent": agent}, trust_env=False, timeout=200)
    assert answer.status_code == 403


def test_a_key_that_is_sent_along_is_refused_and_recorded(simulator: SimulatorServer, kie: Kie) -> None:
    url = images(simulator, kie)[0]
    answer = kie.download(url, Authorization=f"Bearer {simulator.api_key}")
    assert answer.status_code == 400
    assert simulator.control.state()["authorization_leaks"] == [httpx.URL(url).path]


def test_files_are_gone_after_fourteen_days(simulator: SimulatorServer, kie: Kie) -> None:
    url = images(simulator, kie)[0]
    simulator.control.advance(13.9 * DAY)
    assert kie.download(url).status_code == 200
    simulator.control.advance(0.2 * DAY)
    assert kie.download(url).status_code == 404


def test_a_song_made_fifteen_days_ago_has_no_files(simulator: SimulatorServer, kie: Kie) -> None:
    song = simulator.control.make_music(age_days=15)[0]
    (url, _) = [track["audioUrl"] for track in kie.music(song.task_id)["response"]["sunoData"]]
    assert kie.download(url).status_code == 404


def test_a_download_link_is_valid_for_twenty_minutes(simulator: SimulatorServer, kie: Kie) -> None:
    url = images(simulator, kie)[0]
    link = kie.post("/common/download-url", url=url)["data"]
    assert link != url
    assert kie.download(link).content == kie.download(url).content
    simulator.control.advance(21 * 60)
    assert kie.download(link).status_code == 404
    assert kie.download(url).status_code == 200


def test_a_download_link_with_a_changed_signature_is_refused(simulator: SimulatorServer, kie: Kie) -> None:
    link = kie.post("/common/download-url", url=images(simulator, kie)[0])["data"]
    assert kie.download(link[:-1] + ("0" if link[-1] != "0" else "1")).status_code == 404


@pytest.mark.parametrize("url", ["https://cdn.kie.ai/files/x.mp4", "", "https://evil.invalid/files/s/x.png"])
def test_a_download_link_for_a_foreign_url_is_refused(kie: Kie, url: str) -> None:
    assert kie.post("/common/download-url", url=url) == {"code": 422, "msg": "url is wrong", "data": None}


def test_an_uploaded_file_can_be_downloaded_for_three_days(simulator: SimulatorServer, kie: Kie) -> None:
    body = {"base64Data": "data:text/plain;base64,SGVsbG8=", "uploadPath": "texts", "fileName": "hello.txt"}
    answer = kie.http.post(f"{simulator.url}/api/file-base64-upload", json=body).json()
    url = answer["data"]["downloadUrl"]
    assert kie.download(url).content == b"Hello"
    simulator.control.advance(3.1 * DAY)
    assert kie.download(url).status_code == 404


def test_one_of_its_own_files_can_be_uploaded_by_url(simulator: SimulatorServer, kie: Kie) -> None:
    url = audio(simulator, kie)[0]
    body = {"fileUrl": url, "uploadPath": "songs", "fileName": "song.mp3"}
    answer = kie.http.post(f"{simulator.url}/api/file-url-upload", json=body).json()
    assert kie.download(answer["data"]["downloadUrl"]).content == kie.download(url).content


@pytest.mark.parametrize("body", [{}, {"base64Data": "%%%", "uploadPath": "x"}])
def test_a_bad_upload_is_refused(simulator: SimulatorServer, kie: Kie, body: dict[str, str]) -> None:
    answer = kie.http.post(f"{simulator.url}/api/file-base64-upload", json=body).json()
    assert (answer["success"], answer["code"]) == (False, 400)


def test_a_truncated_file_promises_more_than_it_sends(simulator: SimulatorServer, kie: Kie) -> None:
    url = audio(simulator, kie)[0]
    simulator.control.add_fault("file", "truncated", role="audio")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        kie.download(url)


@pytest.mark.parametrize(
    ("action", "status", "content_type"),
    [
        ("zero_bytes", 200, "image/png"),
        ("html", 200, "text/html; charset=utf-8"),
        ("forbidden", 403, "text/html; charset=utf-8"),
        ("not_found", 404, "text/html; charset=utf-8"),
        ("expired", 404, "text/html; charset=utf-8"),
        ("content_type", 200, "application/octet-stream"),
        ("http", 503, "text/html; charset=utf-8"),
    ],
)
def test_a_file_can_go_wrong_in_many_ways_and_is_well_again_afterwards(
    simulator: SimulatorServer, kie: Kie, action: str, status: int, content_type: str
) -> None:
    url = images(simulator, kie)[0]
    well = kie.download(url).content
    simulator.control.add_fault("file", action, title="Velvet Harbour", code=503)
    answer = kie.download(url)
    assert (answer.status_code, answer.headers["content-type"]) == (status, content_type)
    assert (answer.content == b"") == (action == "zero_bytes")
    assert kie.download(url).content == well


def test_a_file_can_redirect_elsewhere(simulator: SimulatorServer, kie: Kie) -> None:
    url = images(simulator, kie)[0]
    simulator.control.add_fault("file", "redirect", url="http://169.254.169.254/latest/")
    answer = kie.download(url)
    assert (answer.status_code, answer.headers["location"]) == (302, "http://169.254.169.254/latest/")
