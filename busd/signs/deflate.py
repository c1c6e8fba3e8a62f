"""permessage-deflate (RFC 7692) that costs a connection no memory and a board one compression for all its signs.

websockets negotiates and unpacks. What signs send is packed without context, so that nothing is kept between messages.
What we send is packed here, once for everybody: a board refers back to the board before it, which is the only compressed
message a sign of that stop has got in between and therefore stands at the end of its window. Answers and refreshers go
out uncompressed (RFC 7692 6: every message may); they do not touch the window.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from websockets.extensions.base import Extension, ServerExtensionFactory
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.typing import ExtensionParameter

from busd.signs.render import text_frame

SERVER_BITS = 13
"""8 KiB: room for the last board of a sign with three languages."""
CLIENT_BITS = 12
_TAIL = b"\x00\x00\xff\xff"
_SMALL = {"memLevel": 1}
"""for the encoder that websockets makes and we never use"""


class SharedDeflate(ServerPerMessageDeflateFactory):
    """What we agree to: the sign compresses every message for itself, our window is `SERVER_BITS` or what it asks for."""

    def __init__(self) -> None:
        super().__init__(
            client_no_context_takeover=True,
            server_max_window_bits=SERVER_BITS,
            client_max_window_bits=CLIENT_BITS,
            compress_settings=_SMALL,
        )

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        answer, agreed = super().process_request_params(params, accepted_extensions)
        # Only its decoder is used; the encoder it has made would be 10 kB a connection.
        idle = PerMessageDeflate(True, True, agreed.remote_max_window_bits, agreed.local_max_window_bits)
        idle.local_no_context_takeover = agreed.local_no_context_takeover
        return answer, idle


FACTORIES: Sequence[ServerExtensionFactory] = (SharedDeflate(),)


class Window:
    """What the peer's decompressor knows: its size, and the last compressed message, which it may be referred back to."""

    __slots__ = ("before", "bits", "keeps")

    def __init__(self, extension: PerMessageDeflate) -> None:
        self.bits = extension.local_max_window_bits
        self.keeps = not extension.local_no_context_takeover
        self.before = b""
        """payload of the last compressed message; always empty if the peer forgets"""

    def sent(self, payload: bytes) -> None:
        if self.keeps:
            self.before = payload


def deflated_frame(payload: bytes, bits: int, before: bytes) -> bytes:
    """A compressed text frame; ``before`` is what the peer has at the end of its window of 2**bits bytes."""
    packer = zlib.compressobj(wbits=-bits, zdict=before[-(1 << bits) :]) if before else zlib.compressobj(wbits=-bits)
    data = packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
    return b"\xc1" + text_frame(data.removesuffix(_TAIL))[1:]  # RSV1: compressed
