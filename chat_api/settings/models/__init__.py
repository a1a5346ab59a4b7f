"""The model servers, and the models that they serve: from MODELS_FILE, or else from the environment."""

from chat_api.settings.models.definition import DEFAULT, Catalogue, Chosen, Model, Price, Server, Thinking
from chat_api.settings.models.file import load_catalogue

__all__ = ["DEFAULT", "Catalogue", "Chosen", "Model", "Price", "Server", "Thinking", "load_catalogue"]
