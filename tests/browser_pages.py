"""What tests in a browser share: the Airflow that they open, and how they open it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

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


Opened = Callable[..., AbstractContextManager[Page]]
"""Opens a path as a user (``user=``, by default one who may trigger DAGs), with options of a browser's context."""


def photograph(page: Page, name: str, *, whole: bool = False) -> None:
    """Keep a picture of a page for the documentation, where ``KIE_PICTURES`` names a folder for them.

    :param name: of the file, without its ending.
    :param whole: all of the page, not what a window shows of it.
    """
    if folder := os.environ.get("KIE_PICTURES"):
        page.wait_for_load_state("networkidle")
        with Image.open(io.BytesIO(page.screenshot(full_page=whole))) as picture:
            picture.convert("RGB").save(Path(folder) / f"{name}.webp", quality=80, method=6)
