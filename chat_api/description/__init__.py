"""The API's description, made from the route tables and the models: OpenAPI, and AsyncAPI for the WebSocket.

Routes declare beside their handlers what these don't say (`declare`); the rest of this package is loaded when
somebody asks for a description.
"""
