"""What tests in a browser share: the Airflow that they open, and how they open it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from playwright.sync_api import Page

from s3_servers import S3Server

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


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
