"""The relay: what the model says, in order, for every reader. It knows no HTTP, no SQL, no model server."""

from chat_api.relay.follower import Follower
from chat_api.relay.hints import Hints
from chat_api.relay.hub import Hub
from chat_api.relay.journal import Journal
from chat_api.relay.log import EVENTS_A_WRITE, Encode, Encoding, Log, Reader
from chat_api.relay.watch import Watch

__all__ = [
    "EVENTS_A_WRITE",
    "Encode",
    "Encoding",
    "Follower",
    "Hints",
    "Hub",
    "Journal",
    "Log",
    "Reader",
    "Watch",
]
