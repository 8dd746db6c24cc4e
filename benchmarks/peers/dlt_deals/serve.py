"""Loads deals with dlt's rest_api source for each line of standard input, and answers with a line of JSON.

`{"do": "load", …}` with the parameters of `load` answers with its seconds and the rows in its table; `{"do": "peak"}`
with the memory that the process has had. `benchmarks.peers` talks to it.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "CRITICAL"

import dlt
from dlt.sources.rest_api import RESTAPIConfig, rest_api_source


def load(
    url: str, path: str, token: str, properties: list[str], database: str, dataset: str, file_format: str
) -> dict[str, object]:
    """A first load of all deals into a dataset of its own: pages of 100, by HubSpot's cursor.

    :param file_format: how dlt hands its files to PostgreSQL: `insert_values`, its default, or `csv`, which it copies.
    """
    config: RESTAPIConfig = {
        "client": {
            "base_url": url,
            "auth": {"type": "bearer", "token": token},
            "paginator": {"type": "cursor", "cursor_path": "paging.next.after", "cursor_param": "after"},
        },
        "resources": [
            {
                "name": "deals",
                "primary_key": "id",
                "endpoint": {
                    "path": path,
                    "params": {"limit": 100, "properties": ",".join(properties), "archived": "false"},
                    "data_selector": "results",
                },
            }
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            f"deals_{dataset}",
            pipelines_dir=folder,
            destination=dlt.destinations.postgres(database),
            dataset_name=dataset,
        )
        began = time.perf_counter()
        pipeline.run(rest_api_source(config), loader_file_format=file_format)
        seconds = time.perf_counter() - began
        with pipeline.sql_client() as client:
            rows = client.execute_sql("SELECT count(*) FROM deals")[0][0]
    return {"seconds": seconds, "rows": rows}


def peak() -> dict[str, object]:
    """The most memory that this process has had, in kB."""
    status = Path("/proc/self/status").read_text()
    return {"kilobytes": int(status.partition("VmHWM:")[2].split()[0])}


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # what dlt prints is no answer
    for line in sys.stdin:
        asked = json.loads(line)
        answer = peak() if asked.pop("do") == "peak" else load(**asked)
        print(json.dumps(answer), file=answers, flush=True)
