"""A profiles request's dictionary, which stands beside its groups."""

from typing import Any

from google.protobuf.message import DecodeError as ProtobufDecodeError
from opentelemetry.proto.profiles.v1development.profiles_pb2 import ProfilesDictionary

from rxotlp.errors import DecodeError

__all__ = ["read_dictionary"]


def read_dictionary(request: Any) -> Any:
    """The dictionary of any request node of `wire.shapes`; it may be there twice, or not.

    Raises:
        DecodeError: it cannot be read.
    """
    try:
        return ProfilesDictionary.FromString(b"".join(request.dictionary))
    except ProtobufDecodeError as error:
        raise DecodeError(f"profiles: dictionary: {error}", path="dictionary") from None
