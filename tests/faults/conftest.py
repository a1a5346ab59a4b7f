"""Workers that find out about dead ones within a second."""

import pytest

from chat_api.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Short leases; answers that end when the worker does."""
    return settings.model_copy(
        update={"worker_lease": 1.0, "drain_seconds": 0.1, "database_timeout": 3.0, "log_level": "INFO"}
    )
