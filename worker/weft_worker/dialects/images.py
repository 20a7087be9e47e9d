"""Pictures in requests, before anything decodes them: which kinds are taken, and how large they may be."""

import binascii
import struct
from collections.abc import Iterable

from weft_worker.engines.base import Image

MAX_IMAGE_COUNT = 64
MAX_IMAGE_BYTES = 20 << 20
MAX_PIXELS = 1 << 25
# Of a request: the library decodes all of them before it works, 3 to 5 bytes a pixel, and cannot be stopped meanwhile.
MAX_TOTAL_PIXELS = 1 << 26
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# Where a frame begins; among these numbers, of tables.
_FRAMES, _TABLES = range(0xC0, 0xD0), (0xC4, 0xC8, 0xCC)
_STANDALONE = range(0xD0, 0xDA)


class UnusableImage(ValueError):
    """A picture that is not taken; the message says why."""


def image_of(data: bytes) -> Image:
    """Look at a picture's head; raises UnusableImage.

    A few bytes of a file can claim billions of pixels, and whoever decodes it takes the memory for them.
    """
    media_type, _ = _looked_at(data)
    return Image(data, media_type)


def image_of_base64(text: str) -> Image:
    """The same of a picture that JSON carries; line breaks are left out, as MIME has them; raises UnusableImage."""
    if len(text) > MAX_IMAGE_BYTES * 3 // 2:
        raise _too_large()
    try:
        data = binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except ValueError as error:
        raise UnusableImage("Should be base64") from error
    return image_of(data)


def are_too_many_pixels(images: Iterable[bytes]) -> bool:
    """Whether pictures that are each small enough are too large together; those that are unusable count nothing."""
    return sum(map(_pixel_count, images)) > MAX_TOTAL_PIXELS


def _pixel_count(data: bytes) -> int:
    try:
        return _looked_at(data)[1]
    except UnusableImage:
        return 0


def _looked_at(data: bytes) -> tuple[str, int]:
    """Its media type, and how many pixels it says to have."""
    if len(data) > MAX_IMAGE_BYTES:
        raise _too_large()
    if data.startswith(_PNG):
        media_type, size = "image/png", _png_size(data)
    elif data.startswith(_JPEG):
        media_type, size = "image/jpeg", _jpeg_size(data)
    else:
        raise UnusableImage("Should be a PNG or JPEG file")
    if size is None or not all(size):
        raise UnusableImage("Is a broken file")
    if size[0] * size[1] > MAX_PIXELS:
        raise UnusableImage(f"Has {size[0]} x {size[1]} pixels: more than {MAX_PIXELS:,}")
    return media_type, size[0] * size[1]


def _too_large() -> UnusableImage:
    return UnusableImage(f"Should be {MAX_IMAGE_BYTES >> 20} MiB at most")


def _png_size(data: bytes) -> tuple[int, int] | None:
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker in _FRAMES and marker not in _TABLES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        if marker == 0xFF or marker in _STANDALONE:  # a byte of padding, or a marker without a body
            place += 1 if marker == 0xFF else 2
        else:
            place += 2 + max(2, struct.unpack_from(">H", data, place + 2)[0])
    return None
