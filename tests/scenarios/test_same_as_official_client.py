"""A client that we did not write makes the same calls as ours, and Pipedrive receives the same from both.

The differences that are meant: ours names itself otherwise, adds a `state` to the consent page's address, and asks once
for the names of custom fields.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeflow.client import Client, OAuth2Configuration
from pipeflow.sandbox import CLIENT_ID, CLIENT_SECRET, Sandbox, running

PATIENCE = 60.0


@dataclass(frozen=True)
class Known:
    """What both scripts refer to: a custom field with options, and one of its options."""

    field: str
    option: int


Ours = Callable[[Client, Known], Awaitable[Any]]


@dataclass(frozen=True)
class Pair:
    """One call in two languages: of the official client, and of ours."""

    theirs: str
    ours: Ours


PAIRS = [
    # Version 2
    Pair(
        "v2.DealsApi.addDeal({AddDealRequest: {title: 'Café ☕', value: 12.5, label_ids: [1, 2], lost_reason: null}})",
        lambda c, k: c.deals.add_deal(title="Café ☕", value=12.5, label_ids=[1, 2], lost_reason=None),
    ),
    Pair(
        "v2.DealsApi.getDeals({status: 'open', ids: '1,2,3', include_fields: 'files_count,notes_count', limit: 3})",
        lambda c, k: c.deals.get_deals(
            status="open", ids=[1, 2, 3], include_fields=["files_count", "notes_count"], limit=3
        ),
    ),
    Pair(
        "v2.DealsApi.getDeals({updated_since: '2026-01-02T03:04:05Z', sort_by: 'update_time', limit: 2})",
        lambda c, k: c.deals.get_deals(updated_since="2026-01-02T03:04:05Z", sort_by="update_time", limit=2),
    ),
    Pair(
        "v2.DealsApi.getDeal({id: 1, include_fields: 'notes_count'})",
        lambda c, k: c.deals.get_deal(1, include_fields="notes_count"),
    ),
    Pair(
        "v2.DealsApi.updateDeal({id: 1, UpdateDealRequest: {value: 0, label_ids: [], person_id: null,"
        " is_archived: false}})",
        lambda c, k: c.deals.update_deal(1, value=0, label_ids=[], person_id=None, is_archived=False),
    ),
    Pair("v2.DealsApi.updateDeal({id: 2})", lambda c, k: c.deals.update_deal(2)),
    Pair(
        "v2.DealsApi.updateDeal({id: 3, UpdateDealRequest: {custom_fields: {[CODE]: OPTION}}})",
        lambda c, k: c.deals.update_deal(3, custom_fields={k.field: k.option}),
    ),
    Pair(
        "v2.DealsApi.searchDeals({term: 'a b&c', fields: 'title,notes', exact_match: false})",
        lambda c, k: c.deals.search_deals(term="a b&c", fields=["title", "notes"], exact_match=False),
    ),
    Pair(
        "v2.DealsApi.addDealFollower({id: 1, AddDealFollowerRequest: {user_id: 5521001}})",
        lambda c, k: c.deals.add_deal_follower(1, user_id=5521001),
    ),
    Pair("v2.DealsApi.deleteDeal({id: 4})", lambda c, k: c.deals.delete_deal(4)),
    Pair(
        "v2.DealProductsApi.getDealsProducts({deal_ids: [1, 2]})",
        lambda c, k: c.deal_products.get_deals_products(deal_ids=[1, 2]),
    ),
    Pair(
        "v2.DealInstallmentsApi.getInstallments({deal_ids: [1, 2]})",
        lambda c, k: c.deal_installments.get_installments(deal_ids=[1, 2]),
    ),
    Pair(
        "v2.PersonsApi.addPerson({AddPersonRequest: {name: 'Ann', emails: [{value: 'a@x.test', primary: true}]}})",
        lambda c, k: c.persons.add_person(name="Ann", emails=[{"value": "a@x.test", "primary": True}]),
    ),
    Pair(
        "v2.OrganizationsApi.addOrganization({AddOrganizationRequest: {name: 'Acme', address: {value: 'Pikk 1'}}})",
        lambda c, k: c.organizations.add_organization(name="Acme", address={"value": "Pikk 1"}),
    ),
    Pair(
        "v2.ActivitiesApi.addActivity({AddActivityRequest: {subject: 'Call', due_date: '2026-12-24', done: false}})",
        lambda c, k: c.activities.add_activity(subject="Call", due_date="2026-12-24", done=False),
    ),
    Pair(
        "v2.ActivitiesApi.getActivities({done: true, deal_id: 1})",
        lambda c, k: c.activities.get_activities(done=True, deal_id=1),
    ),
    Pair("v2.StagesApi.getStages({pipeline_id: 1})", lambda c, k: c.stages.get_stages(pipeline_id=1)),
    Pair(
        "v2.DealFieldsApi.addDealFieldOptions({field_code: CODE, AddDealFieldOptionsRequestInner: [{label: 'New'}]})",
        lambda c, k: c.deal_fields.add_deal_field_options(k.field, items=[{"label": "New"}]),
    ),
    Pair(
        "v2.DealFieldsApi.deleteDealFieldOptions({field_code: CODE,"
        " DeleteDealFieldOptionsRequestInner: [{id: OPTION}]})",
        lambda c, k: c.deal_fields.delete_deal_field_options(k.field, items=[{"id": k.option}]),
    ),
    Pair(
        "v2.ItemSearchApi.searchItem({term: 'port', item_types: 'deal,person', limit: 5})",
        lambda c, k: c.item_search.search_item(term="port", item_types=["deal", "person"], limit=5),
    ),
    # Version 1
    Pair("v1.UsersApi.getCurrentUser()", lambda c, k: c.users.get_current_user()),
    Pair(
        "v1.UsersApi.findUsersByName({term: 'kadri@', search_by_email: 1})",
        lambda c, k: c.users.find_users_by_name(term="kadri@", search_by_email=1),
    ),
    Pair(
        "v1.WebhooksApi.addWebhook({AddWebhookRequest: {subscription_url: HOOK, event_action: '*',"
        " event_object: 'deal', version: '2.0', name: 'x'}})",
        lambda c, k: c.webhooks.add_webhook(
            subscription_url="https://hooks.example.com/x",
            event_action="*",
            event_object="deal",
            version="2.0",
            name="x",
        ),
    ),
    Pair("v1.WebhooksApi.getWebhooks()", lambda c, k: c.webhooks.get_webhooks()),
    Pair(
        "v1.NotesApi.addNote({AddNoteRequest: {content: '<b>Hi</b>', deal_id: 1, pinned_to_deal_flag: 1}})",
        lambda c, k: c.notes.add_note(content="<b>Hi</b>", deal_id=1, pinned_to_deal_flag=1),
    ),
    Pair(
        "v1.NotesApi.getNotes({deal_id: 1, start: 0, limit: 5, sort: 'add_time DESC', pinned_to_deal_flag: 0})",
        lambda c, k: c.notes.get_notes(deal_id=1, start=0, limit=5, sort="add_time DESC", pinned_to_deal_flag=0),
    ),
    Pair(
        "v1.LeadsApi.addLead({AddLeadRequest: {title: 'Lead', person_id: 1, value: {amount: 5, currency: 'EUR'}}})",
        lambda c, k: c.leads.add_lead(title="Lead", person_id=1, value={"amount": 5, "currency": "EUR"}),
    ),
    Pair("v1.LeadsApi.getLeads({limit: 2})", lambda c, k: c.leads.get_leads(limit=2)),
    Pair(
        "v1.DealsApi.mergeDeals({id: 5, MergeDealsRequest: {merge_with_id: 6}})",
        lambda c, k: c.deals.merge_deals(5, merge_with_id=6),
    ),
    Pair("v1.DealsApi.duplicateDeal({id: 7})", lambda c, k: c.deals.duplicate_deal(7)),
    Pair(
        "v1.DealsApi.getDealsTimeline({start_date: '2026-01-01', interval: 'month', amount: 3, field_key: 'add_time'})",
        lambda c, k: c.deals.get_deals_timeline(
            start_date="2026-01-01", interval="month", amount=3, field_key="add_time"
        ),
    ),
    Pair("v1.DealsApi.getDealChangelog({id: 1, limit: 2})", lambda c, k: c.deals.get_deal_changelog(1, limit=2)),
    Pair(
        "v1.GoalsApi.getGoals({type_name: 'deals_won', is_active: true, type_params_pipeline_id: [1, 2]})",
        lambda c, k: c.goals.get_goals(type_name="deals_won", is_active=True, type_params_pipeline_id=[1, 2]),
    ),
    Pair(
        "v1.RolesApi.deleteRoleAssignment({id: 1, DeleteRoleAssignmentRequest: {user_id: 5521002}})",
        lambda c, k: c.roles.delete_role_assignment(1, user_id=5521002),
    ),
    Pair(
        "v1.RecentsApi.getRecents({since_timestamp: '2026-11-01 00:00:00', items: 'deal,note', limit: 2})",
        lambda c, k: c.recents.get_recents(since_timestamp="2026-11-01 00:00:00", items=["deal", "note"], limit=2),
    ),
    Pair(
        "v1.FilesApi.addFile({file: new File(['hello'], 'Grüße.txt', {type: 'text/plain'}), deal_id: 1})",
        lambda c, k: c.files.add_file(file=("Grüße.txt", b"hello", "text/plain"), deal_id=1),
    ),
    Pair(
        "v1.FilesApi.updateFile({id: 1, name: 'Grüße & co', description: ''})",
        lambda c, k: c.files.update_file(1, name="Grüße & co", description=""),
    ),
]

SCRIPT = """
const v1lib = require('pipedrive/v1'), v2lib = require('pipedrive/v2');
const { File } = require('node:buffer');
const { ROOT, TOKEN, CODE, AUTHORIZATION_CODE, CLIENT_ID, CLIENT_SECRET, REDIRECT } = process.env;
const HOOK = 'https://hooks.example.com/x', OPTION = Number(process.env.OPTION);
function apis(lib, path) {
  const configuration = new lib.Configuration({ apiKey: TOKEN });
  configuration.basePath = ROOT + path;
  return new Proxy({}, { get: (_, name) => new lib[name](configuration) });
}
const v1 = apis(v1lib, '/v1'), v2 = apis(v2lib, '/api/v2');
const calls = [CALLS];
(async () => {
  for (const call of calls) {
    try { await call(); } catch (error) { console.error(call.toString(), error); process.exit(1); }
  }
  const oauth2 = new v2lib.OAuth2Configuration(
    { clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, redirectUri: REDIRECT, host: ROOT });
  const authorizationUrl = oauth2.authorizationUrl;
  await oauth2.authorize(AUTHORIZATION_CODE);
  const configuration = new v2lib.Configuration({ accessToken: oauth2.getAccessToken, basePath: oauth2.basePath });
  await new v2lib.StagesApi(configuration).getStages();
  await oauth2.tokenRefresh();
  await oauth2.revokeToken('refresh_token');
  console.log(JSON.stringify({ authorizationUrl, expiresAt: oauth2.expiresAt, basePath: oauth2.basePath }));
})();
"""


async def what_is_known() -> Known:
    """Look at the custom fields of a sandbox: another one of the same seed has the same."""
    sandbox = Sandbox(seed=1)
    async with running(sandbox) as root, Client(api_token=sandbox.api_token, base_url=root) as client:
        async for field in client.deal_fields.get_deal_fields():
            if field.is_custom_field and field.field_type == "enum" and field.options:
                return Known(str(field.field_code), int(field.options[0].id or 0))
    raise AssertionError("the sandbox has no custom field with options")


async def what_theirs_sends(folder: Path, known: Known) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Run the calls with the official client against a new sandbox; gives what arrived and what it says of OAuth."""
    sandbox = Sandbox(seed=1)
    sandbox.check_reachable = False
    app = sandbox.oauth.apps[CLIENT_ID]
    async with running(sandbox) as root:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PIPEDRIVE_", "PIPEFLOW_"))},
            **{"ROOT": root, "TOKEN": sandbox.api_token, "CODE": known.field, "OPTION": str(known.option)},
            "AUTHORIZATION_CODE": sandbox.oauth.new_code(app, sandbox.company.domain, sandbox.company.admin["id"]),
            **{"CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": CLIENT_SECRET, "REDIRECT": app.redirect_uri},
        }
        script = SCRIPT.replace("CALLS", ",\n".join(f"() => {pair.theirs}" for pair in PAIRS))
        node = await asyncio.create_subprocess_exec(
            *("node", "-e", script),
            cwd=folder,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, trouble = await asyncio.wait_for(node.communicate(), PATIENCE)
        assert node.returncode == 0, trouble.decode()
        told = {name: str(value).removeprefix(root) for name, value in json.loads(said).items()}
    return essences(sandbox), told


async def what_ours_sends(known: Known) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Run the same calls with our client against another new sandbox."""
    sandbox = Sandbox(seed=1)
    sandbox.check_reachable = False
    app = sandbox.oauth.apps[CLIENT_ID]
    async with running(sandbox) as root, Client(api_token=sandbox.api_token, base_url=root) as client:
        for pair in PAIRS:
            await pair.ours(client, known)
        oauth2 = OAuth2Configuration(CLIENT_ID, CLIENT_SECRET, app.redirect_uri, host=root)
        await oauth2.authorize(sandbox.oauth.new_code(app, sandbox.company.domain, sandbox.company.admin["id"]))
        await Client(oauth2).stages.get_stages()
        await oauth2.token_refresh()
        told = {
            "authorizationUrl": oauth2.authorization_url.removeprefix(root),
            "expiresAt": str(oauth2.expires_at),
            "basePath": oauth2.base_path.removeprefix(root),
        }
        await oauth2.revoke("refresh_token")
    return essences(sandbox), told


def essences(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Give what both clients must agree on of each request that the sandbox received."""
    return [essence(request) for request in sandbox.journal.listed()]


def essence(request: dict[str, Any]) -> dict[str, Any]:
    """Give what of a request both must agree on; the sandbox keeps no secrets, and companies have a prefix there."""
    headers = request["headers"]
    return {
        "request": f"{request['method']} {re.sub('^/c/[^/]*', '', request['path'])}",
        "query": sorted(request["query"]),
        "body": request["body"],
        "kind": "" if request["body"] is None else headers.get("content-type", "").partition(";")[0],
        "credentials": sorted(name for name in ("x-api-token", "authorization") if name in headers),
        "status": request["status"],
    }


@pytest.mark.slow
async def test_pipedrive_receives_the_same_from_both_clients(node_client: Path) -> None:
    known = await what_is_known()
    theirs, they_say = await what_theirs_sends(node_client, known)
    ours, we_say = await what_ours_sends(known)
    assert [one for one in ours if not asks_for_names(one)] == theirs
    assert len(theirs) == len(PAIRS) + 4
    assert {one["status"] for one in theirs} <= {200, 201}
    # Ours adds a `state`, and its base is the root of both versions.
    assert we_say["authorizationUrl"].partition("&state=")[0] == they_say["authorizationUrl"]
    assert we_say["basePath"] == they_say["basePath"].removesuffix("/api/v2")
    assert abs(int(we_say["expiresAt"]) - int(they_say["expiresAt"])) < PATIENCE * 1000


def asks_for_names(one: dict[str, Any]) -> bool:
    """Whether this is our client's look at the names of custom fields."""
    return str(one["request"]).startswith("GET") and str(one["request"]).endswith("Fields")
