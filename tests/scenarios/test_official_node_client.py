"""Input that we did not write: Pipedrive's official Node client changes a deal and a recipe acts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.scenarios.product import Product, eventually

SCRIPT = """
const { Configuration, DealsApi } = require('pipedrive/v2');
const configuration = new Configuration({ apiKey: process.env.TOKEN });
configuration.basePath = process.env.ROOT + '/api/v2';
const deals = new DealsApi(configuration);
(async () => {
  const added = await deals.addDeal({ AddDealRequest: { title: 'From Node', value: 10, stage_id: 1 } });
  await deals.updateDeal({ id: added.data.id, UpdateDealRequest: { stage_id: 2 } });
  console.log(added.data.id);
})().catch((error) => { console.error(error.response ? error.response.data : error); process.exit(1); });
"""


@pytest.mark.slow
def test_deal_moved_by_the_official_client_wakes_the_recipe(product: Product, node_client: Path) -> None:
    done = subprocess.run(
        ["node", "-e", SCRIPT],
        cwd=node_client,
        env={**product.environment, "TOKEN": product.pipedrive.token, "ROOT": product.pipedrive.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    deal_id = int(done.stdout)
    calls = eventually(lambda: product.activities(deal_id), "the planned call")
    assert [call["subject"] for call in calls] == ["Call about From Node"]
