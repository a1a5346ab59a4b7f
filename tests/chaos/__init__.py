"""Everything dies, nothing is lost: `make chaos`."""
