#!/usr/bin/env python3
"""Makes the vectors of this folder with Google's Tink, or opens a sealed stream with it.

    pip install tink
    generate.py                                      writes one folder per case
    generate.py open KEY_HEX AAD_HEX < sealed > plain  what docs/SEALING.md shows

Each case has sealed.bin, as Tink wrote it, and vector.txt: the key (32 bytes), the associated data, the plain length and
the SHA-256 of the sealed bytes. Plain byte i is (31 * i + (i >> 8)) mod 256.
"""

import hashlib
import io
import os
import pathlib
import sys

import tink
from tink import proto_keyset_format, secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

SIZES = [0, 1, 65480, 65481, 131001]
SIZES_BY_HASH = [1048577]
AAD = b"twokey-seal-v1" + b"".join(
    len(part).to_bytes(4, "big") + part
    for part in (b"gatekeeper-1", b"customer-data", "reports/Übersicht 2026.pdf".encode(), bytes(range(16)))
)


def keyset(key: bytes) -> tink.KeysetHandle:
    streaming = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, key_value=key)
    streaming.params.ciphertext_segment_size = 65536
    streaming.params.derived_key_size = 32
    streaming.params.hkdf_hash_type = common_pb2.SHA256
    entry = tink_pb2.Keyset.Key(
        key_data=tink_pb2.KeyData(
            type_url="type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
            value=streaming.SerializeToString(),
            key_material_type=tink_pb2.KeyData.SYMMETRIC,
        ),
        status=tink_pb2.ENABLED,
        key_id=1,
        output_prefix_type=tink_pb2.RAW,
    )
    serialized = tink_pb2.Keyset(primary_key_id=1, key=[entry]).SerializeToString()
    return proto_keyset_format.parse(serialized, secret_key_access.TOKEN)


def primitive(key: bytes) -> streaming_aead.StreamingAead:
    streaming_aead.register()
    return keyset(key).primitive(streaming_aead.StreamingAead)


def plain(size: int) -> bytes:
    return bytes((31 * i + (i >> 8)) & 0xFF for i in range(size))


class Sink(io.BytesIO):
    """Keeps its bytes when Tink closes it."""

    def close(self) -> None:
        self.kept = self.getvalue()
        super().close()


def seal(key: bytes, size: int) -> bytes:
    sink = Sink()
    with primitive(key).new_encrypting_stream(sink, AAD) as stream:
        stream.write(plain(size))
    return sink.kept


def write_case(folder: pathlib.Path, size: int, whole: bool) -> None:
    key = os.urandom(32)
    sealed = seal(key, size)
    folder.mkdir(exist_ok=True)
    (folder / "sealed.bin").write_bytes(sealed if whole else sealed[:40])
    lines = [key.hex(), AAD.hex(), str(size), hashlib.sha256(sealed).hexdigest()]
    (folder / "vector.txt").write_text("\n".join(lines) + "\n")


def main() -> None:
    if sys.argv[1:2] == ["open"]:
        key, aad = (bytes.fromhex(text) for text in sys.argv[2:4])
        with primitive(key).new_decrypting_stream(sys.stdin.buffer, aad) as stream:
            sys.stdout.buffer.write(stream.read())
        return
    here = pathlib.Path(__file__).parent
    for size in SIZES:
        write_case(here / f"tink-{size}", size, whole=True)
    for size in SIZES_BY_HASH:  # only the 40 bytes of the stream header are kept
        write_case(here / f"tink-{size}", size, whole=False)


if __name__ == "__main__":
    main()
