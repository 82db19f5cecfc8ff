"""A thread for each attempt of a handler that is a plain function. Imports nothing of ours.

Python cannot end a thread. An attempt that is taken back raises in its thread at the next step of Python code; one that
is deep in C code goes on until that returns, but holds neither a slot nor another handler: threads are not shared.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

log = logging.getLogger("pipeflow.engine")


class AttemptOver(BaseException):
    """Raised inside a handler's thread once its attempt is over."""


async def in_thread(call: Callable[[], Any], name: str) -> Any:
    """Call a function in a thread of its own and give its result; taking the attempt back raises in that thread."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()
    mine = os.getpid()
    context = contextvars.copy_context()

    def work() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = context.run(call)
        except AttemptOver:
            return
        except BaseException as raised:  # noqa: BLE001 - whatever it is belongs to the attempt
            error = raised
            if isinstance(raised, StopIteration | GeneratorExit):  # awaiting cannot raise these as they are
                error = RuntimeError(f"it raised {type(raised).__name__}")
        leave_if_forked(mine)
        try:
            loop.call_soon_threadsafe(_settle, ended, result, error)
        except RuntimeError:  # the loop was closed: nobody is left to be told
            return

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        return await ended
    except asyncio.CancelledError:
        if thread.is_alive() and thread.ident is not None:
            log.warning("The time of %s is up: its thread is told to end, and may still act until it does.", name)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(AttemptOver))
        raise


def leave_if_forked(mine: int) -> None:
    """End this process where it is the child of a handler that forked: it shares our sockets, and must not work on."""
    if os.getpid() != mine:
        os._exit(0)


def _settle(ended: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if ended.done():
        return
    if error is None:
        ended.set_result(result)
    else:
        ended.set_exception(error)
