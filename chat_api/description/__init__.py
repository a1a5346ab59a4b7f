"""The API's description, made from the route tables and the models: OpenAPI, and AsyncAPI for the WebSocket.

Routes declare the rest beside their handlers (`declare`). The other modules are loaded when a description is
first requested.
"""
