"""Makes ``.venv`` from the lock file, and does nothing, at once, when nothing changed.

Runs before anything is installed, under any Python from 3.11 to 3.14: standard library only.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

UV = "uv==0.13.9"
LOCK = "requirements-dev.txt"
# What decides whether an installation is still right. This file counts: a new way to install is a new installation.
INPUTS = (LOCK, "pyproject.toml", "include/local_stack/install.py")


_held: list[int] = []
"""The lock's descriptor, while it is held; steps inherit it."""


class InstallFailed(Exception):
    """A step of the installation failed; the text says which and what a person can do."""


def main(project: Path) -> int:
    """Bring ``.venv`` of a project up to date.

    :param project: the project's folder, with the lock file and pyproject.toml.
    :return: exit code: 0 when ``.venv`` is as the lock says, 1 when a step failed or the folder cannot be written
        (reported on standard error).
    """
    venv = project / ".venv"
    if is_current(project, venv):
        return 0
    if Path(sys.prefix) == venv and sys.prefix != sys.base_prefix:
        # An interpreter does not rebuild the environment that it runs from.
        base = getattr(sys, "_base_executable", sys.executable)
        os.execv(base, [base, "-I", __file__, str(project)])  # noqa: S606
    try:
        with only_one_at_a_time(project / ".local" / "install.lock"):
            if not is_current(project, venv):
                install(project, venv)
    except InstallFailed as failure:
        say(str(failure))
        return 1
    except OSError as error:
        say(f"Could not write: {error}. It installs into .venv of this folder: make room, or give the right to write.")
        return 1
    except KeyboardInterrupt:
        say("Interrupted; the next ./run continues from here.")
        return 130
    return 0


def is_current(project: Path, venv: Path) -> bool:
    """Return whether a finished installation is in ``.venv`` and belongs to today's lock, folder and Python."""
    try:
        stamp = (venv / ".installed").read_text()
        version = re.search(r"^version\s*=\s*(\S+)", (venv / "pyvenv.cfg").read_text(), re.M)
    except OSError:
        return False
    usable = os.access(venv / "bin" / "python", os.X_OK) and not (venv / ".unfinished").exists()
    return usable and version is not None and stamp == fingerprint(project, version[1])


def fingerprint(project: Path, python_version: str) -> str:
    """Return the hash of everything that an installation depends on.

    :param project: the project's folder; its place counts too (scripts and the editable install hold the path).
    :param python_version: full version of the environment's Python.
    """
    digest = hashlib.sha256(f"{UV}\n{python_version}\n{project}\n".encode())
    for name in INPUTS:
        digest.update((project / name).read_bytes())
    return digest.hexdigest()


def install(project: Path, venv: Path) -> None:
    """Create or fix ``.venv`` and bring it to the lock, with progress on the terminal.

    :param project: the project's folder.
    :param venv: where the environment goes.
    :raises InstallFailed: when a step fails.
    """
    started = time.monotonic()
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"Installing the locked requirements into .venv (Python {version}); this happens once.")
    python = venv / "bin" / "python"
    if (venv / ".unfinished").exists() or not works(python):
        # A killed installer may have left half a package that seems whole: start over.
        shutil.rmtree(venv, ignore_errors=True)
        venv.mkdir(exist_ok=True)
        (venv / ".unfinished").touch()
        step("make .venv", [sys.executable, "-m", "venv", str(venv)])
    (venv / ".unfinished").touch()
    (venv / ".installed").unlink(missing_ok=True)
    pip = [str(python), "-m", "pip"]
    if not works(venv / "bin" / "uv", "--version"):
        step("get uv", [*pip, "install", "--quiet", "--disable-pip-version-check", UV])
    settings = pip_settings(pip)
    environment = uv_environment(settings, {**os.environ, **cache_of_uv(project, os.environ)})
    uv = [str(venv / "bin" / "uv"), "pip"]
    where = ["--python", str(python), *(["--no-index"] if says_yes(settings.get("no-index")) else [])]
    step("install the lock", [*uv, "sync", *where, "--require-hashes", str(project / LOCK)], environment)
    editable = ["install", *where, "--quiet", "--no-deps", "--no-build-isolation", "-e", str(project)]
    step("install the project", [*uv, *editable], environment)
    installed_version = re.search(r"^version\s*=\s*(\S+)", (venv / "pyvenv.cfg").read_text(), re.M)
    (venv / ".installed").write_text(fingerprint(project, installed_version[1] if installed_version else ""))
    (venv / ".unfinished").unlink()
    say(f"Installed in {time.monotonic() - started:.0f} s.")


def works(program: Path, argument: str = "-c0") -> bool:
    """Tell whether a program of the environment starts at all and, for Python, is one that fits."""
    if argument == "-c0":
        argument = "-cimport sys, pip; raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 14))"
    try:
        run = subprocess.run([str(program), argument], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:
        return False
    return run.returncode == 0


def step(name: str, command: list[str], environment: Mapping[str, str] | None = None) -> None:
    """Run one step of the installation with its own output.

    :raises InstallFailed: with the step's name, when it ends with an error.
    """
    try:
        # The lock stays held while the step runs, even if this process is killed.
        run = subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, check=False, pass_fds=_held)
        reason = f"exit code {run.returncode}" if run.returncode else ""
    except OSError as error:
        reason = str(error)
    if reason:
        raise InstallFailed(
            f"Could not {name} ({reason}). More may be above. "
            "Nothing else was changed. When it is fixed, run the same command again: it repeats this step."
        )


def pip_settings(pip: list[str]) -> dict[str, str]:
    """Return what pip's files and PIP_* variables say, by option name; the more specific source wins."""
    listed = subprocess.run([*pip, "config", "list"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return parse_pip_settings(listed.stdout) if listed.returncode == 0 else {}


def parse_pip_settings(listing: str) -> dict[str, str]:
    """Read the lines of ``pip config list``.

    :param listing: lines such as ``global.index-url='https://…'`` or ``:env:.find-links='…'``.
    :return: values by option name. ``install`` outranks ``global``; the environment outranks both, as in pip.
    """
    settings: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for line in listing.splitlines():
            name, separator, value = line.partition("=")
            if separator and name.startswith(f"{section}."):
                with contextlib.suppress(ValueError, SyntaxError):
                    settings[name.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return settings


def uv_environment(pip: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Translate pip's settings for uv, which reads neither pip.conf nor PIP_*.

    :param pip: option values by name, as :func:`parse_pip_settings` gives them.
    :param environment: the variables that are set already; a UV_* among them is the person's own word and stays.
    :return: the environment for uv.
    """
    certificates = pip.get("cert", "")
    wanted = {
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": " ".join(pip.get("extra-index-url", "").split()),
        # pip takes the best file of all indexes; the hashes make that safe here.
        "UV_INDEX_STRATEGY": "unsafe-best-match" if "extra-index-url" in pip else "",
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
        "UV_HTTP_TIMEOUT": pip.get("timeout", pip.get("default-timeout", "")),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_SYSTEM_CERTS": "1",
        "SSL_CERT_FILE": certificates if Path(certificates or "/").is_file() else "",
        "SSL_CLIENT_CERT": pip.get("client-cert", ""),
        "ALL_PROXY": pip.get("proxy", ""),
    }
    return {name: value for name, value in wanted.items() if value} | dict(environment)


def cache_of_uv(project: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return where uv keeps what it downloads if it cannot in the person's home: it would install nothing then.

    :param project: the project's folder.
    :param environment: the person's.
    """
    if environment.get("UV_CACHE_DIR"):
        return {}
    try:
        folder = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return {}
    except (OSError, RuntimeError):  # read-only, or nobody knows the home of this user
        pass
    return {"UV_CACHE_DIR": str(project / ".local" / "cache" / "uv")}


def says_yes(value: str | None) -> bool:
    """Tell whether a switch in pip's settings is on."""
    return (value or "").lower() in {"1", "true", "yes", "on"}


@contextlib.contextmanager
def only_one_at_a_time(lock: Path) -> Iterator[None]:
    """Hold a lock while installing; the kernel gives it back whatever becomes of this process."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("Another ./run is installing; waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        _held.append(handle.fileno())
        try:
            yield
        finally:
            _held.clear()


def say(text: str) -> None:
    """Tell the person, on standard error: standard output belongs to the command that follows."""
    print(f"run: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
