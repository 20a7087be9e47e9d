"""weft-tiny with its layers many times over: what it says means nothing, at the speed of a usual model."""

import struct
from dataclasses import dataclass, replace
from pathlib import Path

_ALIGNMENT = 32
_UINT32, _STRING, _ARRAY = 4, 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_LAYERS = b"llama.block_count"


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape_and_type: bytes
    place: int


class _Reader:
    """Of a GGUF file; state: the place."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def take(self, count: int) -> bytes:
        found = self._data[self.place : self.place + count]
        self.place += count
        return found

    def number(self, form: str) -> int:
        found: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return found

    def text(self) -> bytes:
        return self.take(self.number("<Q"))

    def value(self, kind: int) -> None:
        """Pass one over."""
        if kind == _STRING:
            self.text()
        elif kind == _ARRAY:
            item, count = self.number("<I"), self.number("<Q")
            for _ in range(count):
                self.value(item)
        else:
            self.take(_SIZES[kind])

    def tensor(self) -> _Tensor:
        name, dimensions = self.text().decode(), self.number("<I")
        shape = struct.pack("<I", dimensions) + self.take(8 * dimensions + 4)
        return _Tensor(name, shape, self.number("<Q"))


def write_taller(source: Path, path: Path, times: int) -> Path:
    """Write a copy of a llama in which all layers follow each other so many times."""
    data = source.read_bytes()
    reader = _Reader(data)
    magic, tensor_count, pair_count = reader.take(8), reader.number("<Q"), reader.number("<Q")
    pairs, layer_count = b"", 0
    for _ in range(pair_count):
        start, key, kind = reader.place, reader.text(), reader.number("<I")
        before = reader.place
        reader.value(kind)
        pair = data[start : reader.place]
        if key == _LAYERS:
            assert kind == _UINT32, kind
            layer_count = struct.unpack("<I", data[before : reader.place])[0]
            pair = data[start:before] + struct.pack("<I", layer_count * times)
        pairs += pair
    tensors = [reader.tensor() for _ in range(tensor_count)]
    begin = _padded(reader.place)
    ends = {tensor.place: end for tensor, end in _with_ends(tensors, len(data) - begin)}
    written = [each for tensor in tensors for each in _copies(tensor, layer_count, times)]
    head, body = b"", b""
    for tensor in written:
        name = tensor.name.encode()
        head += struct.pack("<Q", len(name)) + name + tensor.shape_and_type + struct.pack("<Q", len(body))
        weights = data[begin + tensor.place : begin + ends[tensor.place]]
        body += weights + bytes(_padded(len(weights)) - len(weights))
    head = magic + struct.pack("<QQ", len(written), pair_count) + pairs + head
    path.write_bytes(head + bytes(_padded(len(head)) - len(head)) + body)
    return path


def _with_ends(tensors: list[_Tensor], end: int) -> list[tuple[_Tensor, int]]:
    in_order = sorted(tensors, key=lambda tensor: tensor.place)
    return list(zip(in_order, [*(tensor.place for tensor in in_order[1:]), end], strict=True))


def _copies(tensor: _Tensor, layer_count: int, times: int) -> list[_Tensor]:
    if not tensor.name.startswith("blk."):
        return [tensor]
    _, number, rest = tensor.name.split(".", 2)
    return [replace(tensor, name=f"blk.{int(number) + layer_count * n}.{rest}") for n in range(times)]


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
