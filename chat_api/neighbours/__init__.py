"""What the auth service and the model server have in common: answers that must be bounded."""
