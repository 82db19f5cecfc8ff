"""Every operation that the official Node client has goes over the wire as it sends it: all arguments, and the least.

One server writes down what the official client sends, another what ours does. The only differences are an empty form
where an operation has no body at all, and a filter of leads that newer versions of it no longer know.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeflow.catalog import Operation, Parameter
from pipeflow.client import Client
from tests.client.recording import Received, recording
from tests.client.test_operations import ALL, WRITTEN, full, minimal, send

SCRIPT = r"""
const libs = { v1: require('pipedrive/v1'), v2: require('pipedrive/v2') };
const { File } = require('node:buffer');
const calls = JSON.parse(require('node:fs').readFileSync(process.env.CALLS, 'utf8'));
const pythons = (wire) => wire.replace(/[.-]/g, '_');
function value(found) {
  return found && found.file ? new File([new Uint8Array(found.bytes)], found.file, { type: found.type }) : found;
}
function given(api, call) {
  const names = new Set([...api[call.method].toString().matchAll(/requestParameters\.(\w+)/g)].map((m) => m[1]));
  const parameters = {};
  for (const name of names) {
    const wire = Object.keys(call.named).find((each) => pythons(each) === name);
    if (wire !== undefined) parameters[name] = value(call.named[wire]);
    else if (/^[A-Z]/.test(name)) parameters[name] = call.body;
  }
  return parameters;
}
(async () => {
  const sent = [];
  for (const call of calls) {
    const lib = libs[call.version], Api = lib[call.api];
    const configuration = new lib.Configuration({ apiKey: 't0ken' });
    configuration.basePath = process.env.ROOT + (call.version === 'v1' ? '/v1' : '/api/v2');
    if (!Api || !Api.prototype[call.method]) { sent.push(false); continue; }
    const api = new Api(configuration);
    await api[call.method](given(api, call));
    sent.push(true);
  }
  console.log(JSON.stringify(sent));
})().catch((error) => { console.error(error); process.exit(1); });
"""
GONE = ("archived_status",)
"""Query parameters that the newest official client dropped and Pipedrive still takes."""


def as_theirs(parameter: Parameter, value: Any) -> Any:
    """Give a value as the official client wants it: text for dates and joined lists, a recipe for a file."""
    if value is None:
        return None
    if parameter.format in WRITTEN:
        return WRITTEN[parameter.format]
    if parameter.place == "file":
        name, content, kind = value
        return {"file": name, "bytes": list(content), "type": kind}
    return ",".join(value) if parameter.style == "csv" and parameter.type == "string" else value


def call_of(operation: Operation, given: Mapping[str, Any]) -> dict[str, Any]:
    """Write a call for the script: what goes by name, and the body."""
    values = {each.wire: as_theirs(each, given[each.wire]) for each in operation.parameters if each.wire in given}
    written = [each.wire for each in operation.parameters if each.place == "json"]
    body: Any = {wire: values.pop(wire) for wire in written if wire in values}
    if operation.array_body:
        body = body["items"]
    elif operation.custom_fields == "flat":
        body |= given.get("custom_fields") or {}
    generation, api, method = operation.id.split(".")
    return {"version": generation, "api": api, "method": method, "named": values, "body": body}


def essence(received: Received) -> tuple[Any, ...]:
    """Give what of a request both must agree on."""
    body: Any = received.body
    if received.kind == "multipart/form-data":
        body = [(head.partition("\r\n")[0], content) for head, content in received.parts]
    elif received.kind == "application/x-www-form-urlencoded":
        body = sorted(received.form)
    elif body:
        body = json.loads(body)
    query = sorted(pair for pair in received.query if pair[0] not in GONE)
    return received.method, received.path, query, received.kind if body else "", body or None


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [full, minimal])
async def test_every_operation_is_sent_as_the_official_client_sends_it(
    node_client: Path, tmp_path: Path, arguments: Callable[[Operation], dict[str, Any]]
) -> None:
    calls = tmp_path / "calls.json"
    calls.write_text(json.dumps([call_of(operation, arguments(operation)) for operation in ALL]))
    async with recording() as theirs:
        node = await asyncio.create_subprocess_exec(
            *("node", "-e", SCRIPT),
            cwd=node_client,
            env={**os.environ, "ROOT": theirs.url, "CALLS": str(calls)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, trouble = await asyncio.wait_for(node.communicate(), 120)
    assert node.returncode == 0, trouble.decode()
    present = [operation for operation, sent in zip(ALL, json.loads(said), strict=True) if sent]
    assert len(present) == len(theirs.got) == 210 + 182
    async with recording() as ours:
        client = Client(api_token="t0ken", base_url=ours.url)
        for operation, got in zip(present, theirs.got, strict=True):
            await send(client, operation, arguments(operation))
            assert essence(ours.last) == essence(got), operation.id
