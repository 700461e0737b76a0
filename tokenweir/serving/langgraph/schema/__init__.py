"""What LangGraph's API takes and gives, as ``langgraph_sdk.schema`` has it.

Requests are decoded into these types, answers are made of them, and the description is generated
from them. A field that a request may leave out may also be null. Fields that are not here are
ignored, as LangGraph's own server does.
"""
