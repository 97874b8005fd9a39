"""What tests in a browser share: the Airflow that they open, and how they open it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Page

from s3_servers import S3Server

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
WIDE = {"width": 2560, "height": 1440}


@dataclass(frozen=True)
class Airflow:
    """An Airflow with the pages.

    :param url: of Airflow itself.
    :param tokens: a login for each user.
    """

    url: str
    tokens: dict[str, str]
    s3: S3Server

    @property
    def kie(self) -> str:
        """Return where the pages are."""
        return f"{self.url}/kie"

    def read(self, path: str) -> Any:
        """Return what Airflow's API answers an admin."""
        headers = {"Authorization": f"Bearer {self.tokens['admin']}"}
        return httpx.get(f"{self.url}/api/v2/{path}", headers=headers, trust_env=False, timeout=200).json()


Opened = Callable[..., AbstractContextManager[Page]]
"""Opens a path below ``/kie``, or an address of Airflow's own, as a user (``user=``, by default one who may trigger
DAGs), with options of a browser's context."""
PATIENT = """
if (location.pathname.startsWith("/kie/")) {
  const soon = window.setTimeout.bind(window);
  const held = [];
  window.setTimeout = (todo, wait, ...rest) => {
    if (wait === 2500) return held.push(todo);
    return soon(todo, wait === 6000 ? 600000 : wait, ...rest);
  };
  window.goOn = () => held.splice(0).forEach((todo) => soon(todo, 100));
}
"""
"""For every page before its own scripts: a question stands until it is answered, not for 6 s, and a page that loads
itself again 2.5 s after it has said something does so in :func:`go_on`. A busy machine needs longer to see either."""


def go_on(page: Page) -> None:
    """Let a page load itself again; what it has said has been seen."""
    page.evaluate("goOn()")


def photograph(page: Page, name: str, *, whole: bool = False) -> None:
    """Keep a picture of a page for the documentation, where ``KIE_PICTURES`` names a folder for them.

    :param name: of the file, without its ending.
    :param whole: all of the page, not what a window shows of it.
    """
    if folder := os.environ.get("KIE_PICTURES"):
        page.wait_for_load_state("networkidle")
        with Image.open(io.BytesIO(page.screenshot(full_page=whole))) as picture:
            picture.convert("RGB").save(Path(folder) / f"{name}.webp", quality=80, method=6)
