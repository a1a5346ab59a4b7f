"""The relay: what the model says, in order, for every reader. It knows no HTTP, SQL or model server."""

from chat_api.relay.log import EVENTS_A_WRITE, Encode, Encoding, Log, Reader
from chat_api.relay.relay import Owner, Relay

__all__ = ["EVENTS_A_WRITE", "Encode", "Encoding", "Log", "Owner", "Reader", "Relay"]
