"""Background work that one worker does for all of them."""
