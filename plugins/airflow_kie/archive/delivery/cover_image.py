"""The cover that is delivered: a square RGB JPEG of 3000 pixels a side and at most 5 MB."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_kie.archive.delivery.rules import MB, Picture

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 3000
MAX_BYTES = 5 * MB
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MADE_BY_MODEL = "trainedAlgorithmicMedia"
"""IPTC's term for media that a trained model has made."""
ENHANCED_BY_MODEL = "algorithmicallyEnhanced"
"""IPTC's term for media that an algorithm has corrected or enlarged."""
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"><Iptc4xmpExt:DigitalSourceType>'
    "{}</Iptc4xmpExt:DigitalSourceType></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
)


def delivered_cover(source: bytes, *, source_type: str = MADE_BY_MODEL) -> tuple[bytes, Picture]:
    """Return the picture as distributors ask for it, and what it is.

    One with another shape is cut to its middle; what is smaller is enlarged with Lanczos, and recorded as enlarged.

    :param source: a whole image that was checked, PNG, JPEG or WebP.
    :param source_type: IPTC's term for how it was made, which it is marked with; empty: not known. The mark of a
        picture that says itself that a model has made it is kept.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(source)) as opened:
        term = MADE_BY_MODEL if says_model(opened.info) else source_type
        image = _rgb(ImageOps.exif_transpose(opened))
        upscaled = min(image.size) < SIDE
        image = ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.LANCZOS)
    extra = {"xmp": _XMP.format(SOURCE_TYPES + term).encode()} if term else {}
    body = b""
    for quality in (95, 90, 85, 80, 70, 60, 45):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality, subsampling=0, optimize=True, dpi=(300, 300), **extra)
        body = out.getvalue()
        if len(body) <= MAX_BYTES:
            break
    return body, Picture("image/jpeg", SIDE, SIDE, "RGB", len(body), upscaled)


def says_model(info: Mapping[Any, Any]) -> bool:
    """Return whether a picture says of itself, in its XMP, that a model has made it.

    :param info: what Pillow has read beside the pixels.
    """
    texts = (info.get(name, b"") for name in ("xmp", "XML:com.adobe.xmp"))
    return any(MADE_BY_MODEL.encode() in (text.encode() if isinstance(text, str) else bytes(text)) for text in texts)


def longest_side(body: BinaryIO) -> int:
    """Return the longest side of a picture, in pixels.

    :param body: seekable file, at its beginning.
    """
    from PIL import Image

    with Image.open(body) as image:
        return max(image.size)


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
