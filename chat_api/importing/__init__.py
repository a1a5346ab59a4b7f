"""Files of other products, and exports of this service, become conversations, a piece of a file at a time."""
