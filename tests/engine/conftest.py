"""What tests of the engine share: each database they are for."""

from __future__ import annotations

from tests.engine.databases import each_database

__all__ = ["each_database"]
