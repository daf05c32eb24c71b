"""What a photo is, by its bytes, and how it is kept: decoded once, under limits, named by its hash.

What belongs here: everything about a photo that needs no network. What does not: where it comes
from (`photos`). The bytes are a stranger's: their beginning decides the type, their header is read
before a pixel is, and what is wrong with them is an answer, never a crash.
"""

import hashlib
import os
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 50_000_000
FEWEST_PIXELS_A_SIDE = 32
THUMBNAIL_PIXELS = 256
JPEG_QUALITY = 85
SAID_SHOWN = 200
# Of a body so much is enough to tell its type.
TELLING_BYTES = 512
# A file that is still being written after this long was left by a killed run.
ABANDONED_SECONDS = 3_600.0

OK = "ok"
HTML_BEGINNINGS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<title", b"<!--")
HTML_TYPES = ("text/html", "application/xhtml+xml")
# Everything Pillow's readers raise of bytes that are not what they promise.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    LookupError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
)
# One at a time: 50 megapixels are 150 MB, and the filter of warnings is the process's.
_DECODING = Lock()


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of image that is kept; `reader` is Pillow's name of it."""

    mime: str
    extension: str
    reader: str


JPEG = Kind("image/jpeg", "jpg", "JPEG")
PNG = Kind("image/png", "png", "PNG")
WEBP = Kind("image/webp", "webp", "WEBP")
GIF = Kind("image/gif", "gif", "GIF")


@dataclass(frozen=True, slots=True)
class Picture:
    """A photo that was decoded; width and height are those of the upright photo."""

    kind: Kind
    width: int
    height: int
    phash: str
    thumbnail: bytes


class NoPhotoError(Exception):
    """There is no photo: the status that says so, what was found, and its size if that is known."""

    def __init__(
        self,
        status: str,
        said: str | None = None,
        mime: str | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(f"{status}: {said}" if said else status)
        self.status, self.said, self.mime = status, said and said[:SAID_SHOWN], mime
        self.width, self.height = size or (None, None)


def kind_of(body: bytes) -> Kind | None:
    """Return the type that the first bytes show; None if it is none of ours."""
    if body.startswith(b"\xff\xd8\xff"):
        return JPEG
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if body.startswith((b"GIF87a", b"GIF89a")):
        return GIF
    return WEBP if body[:4] == b"RIFF" and body[8:12] == b"WEBP" else None


def recognized(body: bytes, content_type: str = "") -> Kind:
    """Return the type of a body, of which the beginning is enough.

    The header is heard only of what is no image: it tells a page from anything else.

    Raises
    ------
    NoPhotoError
        `html_page` or `not_an_image`.
    """
    if kind := kind_of(body):
        return kind
    told = content_type.split(";", maxsplit=1)[0].strip().lower()
    text = body[:TELLING_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(HTML_BEGINNINGS) or told in HTML_TYPES:
        raise NoPhotoError("html_page", f"a page, content type {told or 'none'}")
    if not body:
        raise NoPhotoError("not_an_image", "nothing")
    if body[4:8] == b"ftyp":
        brand = body[8:12].decode("ascii", "replace").strip()
        raise NoPhotoError(
            "not_an_image", f"a file of brand {brand}, content type {told or 'none'}"
        )
    raise NoPhotoError("not_an_image", f"content type {told or 'none'}")


def examined(body: bytes) -> Picture:
    """Decode a photo: its size, its perceptual hash and its thumbnail.

    Raises
    ------
    NoPhotoError
        `html_page`, `not_an_image`, `too_large`, `too_small` or `undecodable`.
    """
    import imagehash  # noqa: PLC0415 - only where photos are decoded: it brings scipy

    kind = recognized(body)
    with _decoded(body, kind) as image:
        return Picture(
            kind,
            image.width,
            image.height,
            str(imagehash.phash(image)),
            _jpeg(image, THUMBNAIL_PIXELS),
        )


def upright(path: Path, longest: int) -> bytes:
    """Return a stored photo as a model is shown it: a JPEG, upright, without metadata.

    It is no longer than `longest` pixels on a side, and never enlarged.

    Raises
    ------
    NoPhotoError
        The file is no photo: somebody else changed it.
    """
    body = path.read_bytes()
    with _decoded(body, recognized(body)) as image:
        return _jpeg(image, longest)


@contextmanager
def _decoded(body: bytes, kind: Kind) -> Iterator["Image"]:
    """Decode the first frame: upright, in RGB on white, with nothing attached to it."""
    from PIL import Image  # noqa: PLC0415 - only where photos are decoded

    with _DECODING, warnings.catch_warnings():
        # Metadata that cannot be read is no news.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(BytesIO(body), formats=[kind.reader]) as image:
                _refuse_by_size(image.size, kind)
                image.load()
                plain = _plain(_upright(image))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise NoPhotoError("too_large", str(error), kind.mime) from error
        except UNREADABLE as error:
            raise NoPhotoError(
                "undecodable", f"{type(error).__name__}: {error}", kind.mime
            ) from error
        yield plain


def _refuse_by_size(size: tuple[int, int], kind: Kind) -> None:
    """Raise if the header promises more pixels than are decoded, or too few to show anything."""
    width, height = size
    if width * height > MOST_PIXELS:
        raise NoPhotoError("too_large", f"{width} by {height} pixels", kind.mime, size)
    if min(size) < FEWEST_PIXELS_A_SIDE:
        raise NoPhotoError("too_small", f"{width} by {height} pixels", kind.mime, size)


def _upright(image: "Image") -> "Image":
    """Turn a photo the way the camera was held, unless what says so cannot be read."""
    from PIL import ImageOps  # noqa: PLC0415 - only where photos are decoded

    try:
        return ImageOps.exif_transpose(image)
    except UNREADABLE:
        return image


def _plain(image: "Image") -> "Image":
    """Paint a photo on a new white ground: no transparency, no palette, no metadata."""
    from PIL import Image  # noqa: PLC0415 - only where photos are decoded

    ground = Image.new("RGB", image.size, "white")
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        ground.paste(layers, mask=layers.getchannel("A"))
    else:
        ground.paste(image.convert("RGB"))
    return ground


def _jpeg(image: "Image", longest: int) -> bytes:
    """Write a photo as a JPEG, no longer than `longest` pixels on a side."""
    from PIL import Image  # noqa: PLC0415 - only where photos are decoded

    shrunk = min(1.0, longest / max(image.size))
    size = max(1, round(image.width * shrunk)), max(1, round(image.height * shrunk))
    smaller = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    written = BytesIO()
    smaller.save(written, "JPEG", quality=JPEG_QUALITY)
    return written.getvalue()


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a photo is: its id, and its files below the folder."""

    photo_id: str
    path: str
    thumbnail_path: str


def stored(folder: Path, body: bytes, picture: Picture) -> Stored:
    """Keep a photo and its thumbnail; what is there already is not written again."""
    photo_id = hashlib.sha256(body).hexdigest()
    place = f"{photo_id[:2]}/{photo_id}"
    found = Stored(photo_id, f"{place}.{picture.kind.extension}", f"{place}.thumb.jpg")
    _write(folder / found.thumbnail_path, picture.thumbnail)
    _write(folder / found.path, body)
    return found


def _write(path: Path, body: bytes) -> None:
    """Write a file that is there whole, or not at all."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def swept(folder: Path, older_than_seconds: float = ABANDONED_SECONDS) -> int:
    """Remove what killed runs left half written; return how many files that were."""
    before = time.time() - older_than_seconds
    removed = 0
    for part in folder.glob("*/*.part"):
        # Another run may finish it, or sweep it, meanwhile.
        with suppress(FileNotFoundError):
            if part.stat().st_mtime < before:
                part.unlink()
                removed += 1
    return removed
