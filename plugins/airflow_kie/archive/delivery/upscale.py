"""Enlarging a cover with a model of KIE's market: what is requested, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_kie.client.catalogue.models import models
from airflow_kie.client.operations.market import JOBS
from airflow_kie.lifecycle.identity import request_digest

if TYPE_CHECKING:
    from airflow_kie.archive.manifest import FileRecord

MODEL = "topaz/image-upscale"
RESULT = "result"
"""Role under which such a task's picture is archived."""
_FACTORS = (4, 2)
_LONGEST = {"2K": 2048, "4K": 4096}
"""A price of KIE's list → the longest side, in pixels, of what it is for. There is none for larger pictures."""


@dataclass(frozen=True)
class Upscaling:
    """One cover that KIE enlarges.

    :param factor: how much longer its sides become.
    :param credits: what it costs.
    :param key: its idempotency key: the same cover is paid for once, whichever release it is in.
    """

    factor: int
    credits: float
    key: str

    @classmethod
    def of(cls, cover: FileRecord, longest: int, wanted: int) -> Upscaling | None:
        """Return how a cover is enlarged; None where it is large enough, or would become larger than there is a price.

        :param cover: as its song's manifest has it.
        :param longest: its longest side, in pixels.
        :param wanted: the side that is delivered, in pixels.
        """
        if longest >= wanted:
            return None
        for factor in _FACTORS:
            for tier, most in _LONGEST.items():
                if longest * factor <= most:
                    return cls(factor, _price(tier), f"{MODEL}/{factor}/{cover.sha256}")
        return None

    @property
    def digest(self) -> str:
        """Return the digest by which the ledger knows the request."""
        return request_digest(JOBS, {}, {}, idempotency_key=self.key)

    def request(self, address: str) -> dict[str, Any]:
        """Return the fields of the create as KIE names them.

        :param address: where KIE reads the cover, or the reference of an upload.
        """
        return {"model": MODEL, "input": {"image_url": address, "upscale_factor": str(self.factor)}}


def most_credits() -> float:
    """Return what enlarging a cover costs at most."""
    return max(map(_price, _LONGEST))


def _price(name: str) -> float:
    listed = models()[MODEL].price
    return next(tier.credits for tier in (listed.tiers if listed else ()) if tier.name == name)
