"""The cover that is delivered: a square RGB JPEG of 3000 pixels a side and at most 5 MB."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from airflow_kie.archive.delivery.rules import MB, Picture

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 3000
MAX_BYTES = 5 * MB
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media that a trained model has made."""
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"><Iptc4xmpExt:DigitalSourceType>'
    f"{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
).encode()


def delivered_cover(source: bytes, *, made_by_ai: bool = True) -> tuple[bytes, Picture]:
    """Return the picture as distributors ask for it, and what it is.

    One with another shape is cut to its middle; what is smaller is enlarged with Lanczos, and recorded as enlarged.

    :param source: a whole image that was checked, PNG, JPEG or WebP.
    :param made_by_ai: mark it with IPTC's ``trainedAlgorithmicMedia``.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(source)) as opened:
        image = _rgb(ImageOps.exif_transpose(opened))
        upscaled = min(image.size) < SIDE
        image = ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.LANCZOS)
    extra = {"xmp": _XMP} if made_by_ai else {}
    body = b""
    for quality in (95, 90, 85, 80, 70, 60, 45):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality, subsampling=0, optimize=True, dpi=(300, 300), **extra)
        body = out.getvalue()
        if len(body) <= MAX_BYTES:
            break
    return body, Picture("image/jpeg", SIDE, SIDE, "RGB", len(body), upscaled)


def picture_of(body: bytes, *, upscaled: bool) -> Picture:
    """Return what a stored cover is, read from its content.

    :param body: the whole file.
    :param upscaled: what its record says.
    """
    from PIL import Image

    with Image.open(io.BytesIO(body)) as image:
        return Picture(str(Image.MIME.get(image.format or "")), *image.size, image.mode, len(body), upscaled)


def _rgb(image: Image) -> Image:
    """Return the picture in RGB; what is transparent lies on white."""
    from PIL import Image as Pillow

    if "A" in image.getbands() or "transparency" in image.info:
        white = Pillow.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("RGB")
