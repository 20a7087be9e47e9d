"""google.api.HttpBody as bytes, without a message object: one of these is made for every streamed event."""

_CONTENT_TYPE_TAG = b"\x0a"
_DATA_TAG = b"\x12"


def http_body(data: bytes, content_type: bytes = b"") -> bytes:
    """Encode a frame; Envoy takes the content type from the first one of a stream, so later ones do without."""
    if not content_type:
        return _DATA_TAG + _varint(len(data)) + data
    return b"".join(
        (_CONTENT_TYPE_TAG, _varint(len(content_type)), content_type, _DATA_TAG, _varint(len(data)), data)
    )


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _ONE_BYTE[number]
    digits = bytearray()
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


_ONE_BYTE = [bytes((number,)) for number in range(0x80)]
