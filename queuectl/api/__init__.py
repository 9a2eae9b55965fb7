"""The HTTP door: a live page, a REST API with its OpenAPI document, a stream of events, metrics.

A door like the command line: it asks `Queue` and never touches a spool itself. What it needs beyond queuectl's own
dependencies is the extra `dashboard`, and is imported only when the door is opened.
"""
