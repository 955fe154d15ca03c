"""The admin's page: what is read for it, and how it is written. Served by `bridge.server.page`."""

from __future__ import annotations

from bridge import store

SQL = store.queries("web")
MANY = 10_001
"""Where counts stop: one more than is shown as a number, which has a plus then."""
