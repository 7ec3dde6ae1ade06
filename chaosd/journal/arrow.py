"""Fixed-width rows ⇄ Arrow IPC stream messages, by nanoarrow.

Format facts (Arrow columnar format, "Encapsulated message format"): a message is the marker FFFFFFFF, the metadata
length as little-endian int32 (padding included), the metadata (a flatbuffer `Message`), then a body whose length is
field 3 of that table. A stream is a schema message and record batches; there is no footer, so that a stream that was
cut is whole up to its last whole message.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import nanoarrow
import numpy as np
from nanoarrow.ipc import StreamWriter

_TYPES = {
    "u1": nanoarrow.uint8,
    "u2": nanoarrow.uint16,
    "u4": nanoarrow.uint32,
    "u8": nanoarrow.uint64,
    "i1": nanoarrow.int8,
    "i2": nanoarrow.int16,
    "i4": nanoarrow.int32,
    "i8": nanoarrow.int64,
}
_CONTINUATION = b"\xff\xff\xff\xff"
_BODY_LENGTH_FIELD = 3


class Encoder:
    """Turns row arrays of one dtype into the bytes of one stream, batch by batch."""

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self._names = dtype.names or ()
        types = {name: _TYPES[dtype[name].str[1:]]() for name in self._names}
        self._schema = nanoarrow.c_schema(nanoarrow.struct(types))
        self._columns = [nanoarrow.c_schema(types[name]) for name in self._names]
        self._out = io.BytesIO()
        self._writer = StreamWriter.from_writable(self._out)

    def encode(self, rows: np.ndarray) -> bytes:
        """The bytes of one record batch; the first call puts the schema before it."""
        children = [
            nanoarrow.c_array_from_buffers(column, len(rows), [None, np.ascontiguousarray(rows[name])], null_count=0)
            for name, column in zip(self._names, self._columns, strict=True)
        ]
        self._writer.write_stream(
            nanoarrow.c_array_from_buffers(self._schema, len(rows), [None], null_count=0, children=children)
        )
        data = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return data


def messages(data: memoryview) -> Iterator[int]:
    """The end position of each whole message of a stream, in order; stops before the first that is not whole."""
    position = 0
    while data[position : position + 4] == _CONTINUATION and position + 8 <= len(data):
        (metadata,) = struct.unpack_from("<i", data, position + 4)
        body = position + 8 + metadata
        if metadata <= 0 or body > len(data):
            return
        length = _body_length(data[position + 8 : body])
        if length is None or body + length > len(data):
            return
        position = body + length
        yield position


def _body_length(table: memoryview) -> int | None:
    """Field `bodyLength` of a flatbuffer `Message`; None when these bytes are not one."""
    try:
        (root,) = struct.unpack_from("<I", table, 0)
        (back,) = struct.unpack_from("<i", table, root)
        vtable = root - back
        (size,) = struct.unpack_from("<H", table, vtable)
        slot = 4 + 2 * _BODY_LENGTH_FIELD
        if slot >= size:
            return 0
        (offset,) = struct.unpack_from("<H", table, vtable + slot)
        length = struct.unpack_from("<q", table, root + offset)[0] if offset else 0
    except struct.error:
        return None
    return length if length >= 0 else None


def decode(data: memoryview, dtype: np.dtype[np.void]) -> np.ndarray:
    """All rows of a stream of whole messages. A column the stream does not have is 0, one unknown here is left out.

    Raises ValueError when the bytes are not such a stream.
    """
    batches = []
    try:
        with nanoarrow.c_array_stream(nanoarrow.ArrayStream.from_readable(data)) as stream:
            for batch in stream:
                view = batch.view()
                found = {batch.schema.child(i).name: i for i in range(batch.schema.n_children)}
                rows = np.zeros(batch.length, dtype)
                for name in dtype.names or ():
                    if name in found:
                        rows[name] = np.asarray(view.child(found[name]).buffer(1))[: batch.length]
                batches.append(rows)
    except RuntimeError as error:  # NanoarrowException is one
        raise ValueError(str(error)) from error
    return np.concatenate(batches) if batches else np.zeros(0, dtype)
