"""The installation behind ./run: when it is due, and how uv is called."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from local_stack import install

LISTING = """:env:.default-timeout='180'
:env:.find-links='/opt/wheels /more wheels'
global.cert='/no/such/file.pem'
global.extra-index-url='https://a.example/simple https://b.example/simple'
global.index-url='https://user:secret@mirror.example/simple'
install.index-url='https://install.example/simple'
install.trusted-host='mirror.example'
garbage
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose environment is installed."""
    for name in install.INPUTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"the text of {name}")
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.12.1\n")
    (venv / ".installed").write_text(install.fingerprint(tmp_path, "3.12.1"))
    return tmp_path


def test_a_finished_installation_is_current(project: Path) -> None:
    assert install.is_current(project, project / ".venv")
    assert install.main(project) == 0


@pytest.mark.parametrize("name", install.INPUTS)
def test_a_changed_lock_or_project_file_is_installed_again(project: Path, name: str) -> None:
    (project / name).write_text("changed")
    assert not install.is_current(project, project / ".venv")


def test_a_moved_project_is_installed_again(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    moved = project.rename(tmp_path_factory.mktemp("elsewhere") / "moved")
    assert not install.is_current(moved, moved / ".venv")


def test_another_python_in_the_environment_is_installed_again(project: Path) -> None:
    (project / ".venv" / "pyvenv.cfg").write_text("version = 3.13.0\n")
    assert not install.is_current(project, project / ".venv")


def test_an_installation_that_was_killed_half_way_is_not_current(project: Path) -> None:
    (project / ".venv" / ".unfinished").touch()
    assert not install.is_current(project, project / ".venv")


def test_an_environment_whose_python_is_gone_is_not_current(project: Path) -> None:
    (project / ".venv" / "bin" / "python").unlink()
    assert not install.is_current(project, project / ".venv")


def test_a_folder_without_an_environment_is_not_current(tmp_path: Path) -> None:
    assert not install.is_current(tmp_path, tmp_path / ".venv")


def test_pips_more_specific_setting_wins() -> None:
    settings = install.parse_pip_settings(LISTING)
    assert settings["index-url"] == "https://install.example/simple"
    assert settings["default-timeout"] == "180"


def test_pips_settings_reach_uv_under_uvs_names() -> None:
    environment = install.uv_environment(install.parse_pip_settings(LISTING), {"PATH": "/bin"})
    assert environment["UV_DEFAULT_INDEX"] == "https://install.example/simple"
    assert environment["UV_INDEX"] == "https://a.example/simple https://b.example/simple"
    assert environment["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert environment["UV_FIND_LINKS"] == "/opt/wheels,/more,wheels"
    assert environment["UV_INSECURE_HOST"] == "mirror.example"
    assert environment["UV_HTTP_TIMEOUT"] == "180"
    assert environment["PATH"] == "/bin"


def test_a_certificate_file_that_is_not_there_is_not_handed_on() -> None:
    assert "SSL_CERT_FILE" not in install.uv_environment(install.parse_pip_settings(LISTING), {})


def test_pips_certificates_are_used_by_uv(tmp_path: Path) -> None:
    certificates = tmp_path / "company.pem"
    certificates.touch()
    environment = install.uv_environment({"cert": str(certificates)}, {})
    assert environment["SSL_CERT_FILE"] == str(certificates)
    assert environment["UV_SYSTEM_CERTS"] == "1"


def test_what_a_person_sets_for_uv_stays() -> None:
    environment = install.uv_environment({"index-url": "https://pip.example"}, {"UV_DEFAULT_INDEX": "https://mine"})
    assert environment["UV_DEFAULT_INDEX"] == "https://mine"


def test_a_home_that_cannot_be_written_keeps_uv_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("no folder")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    own = {"UV_CACHE_DIR": str(tmp_path / ".local" / "cache" / "uv")}
    assert install.cache_of_uv(tmp_path, {}) == own
    assert install.cache_of_uv(tmp_path, {"XDG_CACHE_HOME": str(tmp_path / "cache")}) == {}
    assert install.cache_of_uv(tmp_path, {"UV_CACHE_DIR": "/theirs"}) == {}


def test_a_step_that_fails_says_which_and_that_it_can_be_repeated() -> None:
    with pytest.raises(install.InstallFailed, match=r"Could not get uv \(exit code 3\).*run the same command again"):
        install.step("get uv", [sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.parametrize("place", [".venv", ".local"])
def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (tmp_path / place).write_text("no folder")
    assert install.main(tmp_path) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("run: Could not write: ")


def test_two_installations_at_once_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "locks" / "install.lock"
    order: list[str] = []
    waits = threading.Event()
    monkeypatch.setattr(install, "say", lambda _text: waits.set())

    def second() -> None:
        with install.only_one_at_a_time(lock):
            order.append("second")

    with install.only_one_at_a_time(lock):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(120)
        thread.join(0.3)  # one that does not wait has all the time to go on
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_it_runs_before_anything_is_installed() -> None:
    program = (
        "import sys; sys.modules.update(psutil=None, httpx=None, rich=None); import runpy; runpy.run_path(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-I", "-S", "-c", program, str(Path(install.__file__))], check=True)
