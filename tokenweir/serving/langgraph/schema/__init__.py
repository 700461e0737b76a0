"""Requests and responses of LangGraph's API, as in ``langgraph_sdk.schema``.

Requests are decoded into these types, responses are made of them, and the API description is
generated from them. A field that a request may omit may also be null. Unknown fields are ignored,
as in LangGraph's own server.
"""
