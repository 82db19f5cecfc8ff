"""Whoever holds the event loop is named."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from pipeflow.engine.watchdog import watching
from pipeflow.registry import Registry
from tests.engine.echo_world import handler


def hold_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the loop from going round, as a computation does, until that was noticed."""
    end = time.monotonic() + 10
    while not caplog.records and time.monotonic() < end:
        time.sleep(0.01)


async def test_recipe_that_holds_the_loop_is_named_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry()
    registry.add(replace(handler("a.holds"), file=__file__))
    with watching(registry, patience=0.05):
        hold_the_loop(caplog)
    assert "test_watchdog.py:" in caplog.text
    assert "(hold_the_loop) has held the event loop for " in caplog.text


async def test_whatever_else_holds_the_loop_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    with watching(Registry(), patience=0.05):
        hold_the_loop(caplog)
    assert "Something has held the event loop" in caplog.text


async def test_loop_that_goes_round_is_left_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    with watching(Registry(), patience=5.0):
        for _ in range(10):
            await asyncio.sleep(0)
    assert not caplog.records
