"""Cover pictures drawn from a seed: a palette, one of several scenes, grain and the song's title in type."""

from __future__ import annotations

import io
import math
import random
import unicodedata
from collections.abc import Callable

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

SIZE = 1024
# Scenes are drawn larger and shrunk: Pillow's own shapes have no smooth edges.
_BIG = SIZE * 2

Color = tuple[int, int, int]
# From the sky's top to the darkest foreground, then an accent.
_PALETTES = (
    ("#0f1c3f", "#3b3a7a", "#c65b7c", "#f7b267", "#fff1d0"),
    ("#06262b", "#0f5257", "#3f9c94", "#e9c46a", "#fdf6e3"),
    ("#1d1135", "#4c1d6b", "#b5307c", "#ff7e5f", "#ffd9a0"),
    ("#12263a", "#29576f", "#8fb9aa", "#f2d096", "#ed8975"),
    ("#20150f", "#6b2d1f", "#c8553d", "#f28f3b", "#ffe8c2"),
    ("#0b132b", "#1c3f60", "#5bc0be", "#b8e0d2", "#f4f1de"),
    ("#231942", "#5e548e", "#9f86c0", "#e0b1cb", "#fff0f3"),
    ("#10241b", "#2d5a3d", "#84a98c", "#d8c99b", "#f7f4ea"),
)


def _color(name: str) -> Color:
    return int(name[1:3], 16), int(name[3:5], 16), int(name[5:7], 16)


def _mixed(one: Color, other: Color, share: float) -> Color:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _gradient(colors: list[Color], angle: float = 0.0, size: int = _BIG) -> Image.Image:
    """Return a smooth run through colors, top to bottom, turned by an angle in degrees; ``size`` in pixels."""
    strip = Image.new("RGB", (1, len(colors)))
    strip.putdata(colors)
    tall = strip.resize((SIZE // 4, SIZE // 2), Image.Resampling.BICUBIC)
    turned = tall.resize((SIZE // 2, SIZE // 2)).rotate(angle, Image.Resampling.BICUBIC)
    edge = SIZE // 10
    return turned.crop((edge, edge, SIZE // 2 - edge, SIZE // 2 - edge)).resize((size, size), Image.Resampling.BICUBIC)


def _glow(image: Image.Image, center: tuple[float, float], radius: float, color: Color, strength: float) -> Image.Image:
    """Return a picture with a soft light in it; center and radius are shares of its size."""
    small = 256
    mask = Image.new("L", (small, small))
    x, y, r = center[0] * small, center[1] * small, radius * small
    ImageDraw.Draw(mask).ellipse((x - r, y - r, x + r, y + r), fill=round(255 * strength))
    mask = mask.filter(ImageFilter.GaussianBlur(r / 2)).resize(image.size, Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", image.size, color), image, mask)


def _ridge(rng: random.Random, base: float, height: float) -> list[tuple[float, float]]:
    waves = [(rng.uniform(0.6, 1.6) * 2**n, rng.uniform(0, math.tau), height / 2.1**n) for n in range(5)]
    points = []
    for step in range(129):
        share = step / 128
        y = base + sum(level * math.sin(share * math.tau * pace / 1.7 + phase) for pace, phase, level in waves)
        points.append((share * _BIG, y * _BIG))
    return [*points, (_BIG, _BIG), (0.0, _BIG)]


def _hills(rng: random.Random, palette: list[Color]) -> Image.Image:
    dark, deep, middle, warm, light = palette
    image = _gradient([dark, deep, middle, warm, light, light])
    x, y, r = rng.uniform(0.25, 0.75), rng.uniform(0.3, 0.45), rng.uniform(0.09, 0.15)
    image = _glow(image, (x, y), r * 2.4, light, 0.55)
    draw = ImageDraw.Draw(image)
    draw.ellipse([(x - r) * _BIG, (y - r) * _BIG, (x + r) * _BIG, (y + r) * _BIG], fill=_mixed(light, warm, 0.15))
    layers = 6
    for n in range(layers):
        share = n / (layers - 1)
        shade = _mixed(_mixed(middle, warm, 0.35), dark, share**0.8)
        draw.polygon(_ridge(rng, 0.52 + 0.34 * share, 0.055 - 0.02 * share), fill=shade)
    return image


def _rings(rng: random.Random, palette: list[Color]) -> Image.Image:
    dark, deep, middle, warm, light = palette
    image = _gradient([dark, dark, deep], rng.uniform(-25, 25))
    x, y = rng.uniform(0.3, 0.7), rng.uniform(0.32, 0.48)
    image = _glow(image, (x, y), 0.42, middle, 0.5)
    draw = ImageDraw.Draw(image)
    count = rng.randint(11, 17)
    for n in range(count, 0, -1):
        r = 0.46 * n / count * _BIG
        shade = _mixed(warm, deep, n / count) if n % 2 else _mixed(light, middle, n / count)
        start, extent = rng.uniform(0, 360), rng.uniform(120, 330)
        box = (x * _BIG - r, y * _BIG - r, x * _BIG + r, y * _BIG + r)
        draw.arc(box, start, start + extent, fill=shade, width=round(0.46 / count * _BIG * rng.uniform(0.3, 0.75)))
    r = 0.035 * _BIG
    draw.ellipse((x * _BIG - r, y * _BIG - r, x * _BIG + r, y * _BIG + r), fill=light)
    return image


def _ribbons(rng: random.Random, palette: list[Color]) -> Image.Image:
    dark, deep, middle, warm, light = palette
    image = _gradient([deep, dark, dark], rng.uniform(-30, 30))
    image = _glow(image, (rng.uniform(0.2, 0.8), 0.3), 0.35, middle, 0.6)
    phase, pace, lean = rng.uniform(0, math.tau), rng.uniform(0.5, 0.95), rng.uniform(-0.22, 0.22)
    draw = ImageDraw.Draw(image)
    count = 26
    for n in range(count):
        share = n / (count - 1)
        swell = 0.13 * math.sin(share * math.pi) + 0.04
        shade = _mixed(_mixed(middle, warm, min(1, share * 1.6)), light, max(0.0, share * 1.7 - 0.8))
        points = []
        for step in range(97):
            along = step / 96
            wave = math.sin(along * math.tau * pace + phase + share * 2.2) * swell
            points.append((along * _BIG, (0.16 + 0.6 * share + wave + lean * (along - 0.5)) * _BIG))
        draw.line(points, fill=_mixed(shade, dark, 0.45 - 0.45 * share), width=round(_BIG * (0.004 + 0.006 * share)))
    return image


def _discs(rng: random.Random, palette: list[Color]) -> Image.Image:
    dark, _, middle, warm, light = palette
    image = _gradient([_mixed(light, warm, 0.15), light], rng.uniform(-40, 40), SIZE)
    for n in range(rng.randint(6, 9)):
        x, y, r = rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.72), rng.uniform(0.09, 0.27)
        mask = Image.new("L", (_BIG, _BIG))
        box = ((x - r) * _BIG, (y - r) * _BIG, (x + r) * _BIG, (y + r) * _BIG)
        ImageDraw.Draw(mask).ellipse(box, fill=235)
        mask = mask.reduce(2)
        shade = (warm, middle, dark, middle, warm)[n % 5]
        # Multiplied like printed inks: where two discs meet, both show.
        inked = ImageChops.multiply(image, Image.new("RGB", image.size, _mixed(shade, light, 0.18)))
        image = Image.composite(inked, image, mask)
    return image


_SCENES: tuple[Callable[[random.Random, list[Color]], Image.Image], ...] = (_hills, _rings, _ribbons, _discs)


def _shaded(image: Image.Image, dark: Color) -> Image.Image:
    """Return a picture that darkens towards its foot, where the title is."""
    ramp = Image.new("L", (1, 8))
    ramp.putdata([0, 0, 0, 0, 10, 70, 165, 215])
    mask = ramp.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", image.size, _mixed(dark, (0, 0, 0), 0.35)), image, mask)


def _grained(image: Image.Image, rng: random.Random) -> Image.Image:
    side = SIZE // 2
    noise = Image.frombytes("L", (side, side), rng.randbytes(side * side)).resize(image.size, Image.Resampling.BILINEAR)
    soft = noise.point([118 + value * 20 // 255 for value in range(256)])
    return ImageChops.overlay(image, Image.merge("RGB", (soft, soft, soft)))


def _lines(title: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    lines: list[str] = []
    for word in title.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _printable(title: str) -> str:
    """Return a title without what Pillow's built-in typeface has no letters for: accents are taken off."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return " ".join(plain.split())


def _titled(image: Image.Image, title: str, light: Color, warm: Color) -> Image.Image:
    """Return a picture with a title at its foot, in the largest type that fits two lines."""
    margin = 72
    title = _printable(title)
    if not title:
        return image
    width = SIZE - 2 * margin
    for size in (104, 92, 80, 68, 56, 46, 38):
        font = ImageFont.load_default(size)
        lines = _lines(title, font, width)
        if len(lines) <= 2 and all(font.getlength(line) <= width for line in lines):
            break
    draw = ImageDraw.Draw(image)
    top = SIZE - margin - len(lines) * size * 1.12
    draw.rectangle((margin, top - 30, margin + 84, top - 24), fill=warm)
    for n, line in enumerate(lines):
        draw.text((margin - size * 0.05, top + n * size * 1.12), line, font=font, fill=light)
    return image


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=3)
    return out.getvalue()


def render_cover(seed: str, title: str) -> bytes:
    """Return a 1024 x 1024 PNG that the seed and the title decide.

    :param seed: equal seeds give equal pictures.
    :param title: set in type on the picture.
    """
    rng = random.Random(seed)  # noqa: S311 - draws pictures, protects nothing
    palette = [_color(name) for name in rng.choice(_PALETTES)]
    scene = rng.choice(_SCENES)
    image = scene(rng, palette).resize((SIZE, SIZE), Image.Resampling.BOX)
    image = _grained(_shaded(image, palette[0]), rng)
    return _png(_titled(image, title, palette[4], palette[3]))


def render_plain(seed: str, title: str) -> bytes:
    """Return a small 1024 x 1024 PNG of one color and a title: for tests of very many songs."""
    rng = random.Random(seed)  # noqa: S311 - draws pictures, protects nothing
    image = Image.new("RGB", (SIZE, SIZE), _color(rng.choice(_PALETTES)[1]))
    return _png(_titled(image, title, (255, 255, 255), (rng.randrange(256), rng.randrange(256), rng.randrange(256))))


def enlarge(picture: bytes, factor: int) -> bytes:
    """Return a picture whose sides are so much longer, as a JPEG.

    :param picture: the one that was sent; what is no picture becomes a plain one.
    """
    try:
        image = Image.open(io.BytesIO(picture)).convert("RGB")
    except OSError:
        image = Image.new("RGB", (SIZE, SIZE), "grey")
    out = io.BytesIO()
    image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()
