"""A fake Pipedrive for tests and trials: sample data, both API generations, OAuth, webhooks, faults on demand.

    async with running(Sandbox(seed=1)) as url:
        ...                                            # http://127.0.0.1:PORT, the API token is `sandbox.api_token`

`python -m pipeflow.sandbox` serves one as a process of its own. Imports nothing of ours but the catalog.
"""

from __future__ import annotations

from pipeflow.sandbox.app import create_app
from pipeflow.sandbox.sandbox import API_TOKEN, CLIENT_ID, CLIENT_SECRET, Sandbox
from pipeflow.sandbox.server import running, serve

__all__ = ["API_TOKEN", "CLIENT_ID", "CLIENT_SECRET", "Sandbox", "create_app", "running", "serve"]
