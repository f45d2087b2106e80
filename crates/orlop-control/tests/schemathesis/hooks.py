"""What schemathesis does not do by itself."""

import json
import uuid

import schemathesis


@schemathesis.deserializer("application/jsonl")
def json_lines(ctx, response):
    """One JSON text on each line, as the array that the document describes."""
    return [json.loads(line) for line in response.content.decode().splitlines()]


def is_valid(case):
    return case.meta is not None and case.meta.generation.mode.value == "positive"


@schemathesis.hook
def filter_case(ctx, case):
    """Leaves out cases that are called valid and have an invalid part: it has no valid text for some headers, and sends
    an invalid or an empty one along."""
    if not is_valid(case):
        return True
    parts = case.meta.components.values()
    return all(part.mode.value == "positive" for part in parts) and "" not in (case.headers or {}).values()


@schemathesis.hook
def map_case(ctx, case):
    """Makes valid specs what the schema cannot ask for: of the deployment in the path, with images of a registry. Else
    nearly all would be refused for the same two reasons, and little else would be tried."""
    headers = case.headers or {}
    if "Idempotency-Key" in headers and len(headers["Idempotency-Key"]) == 36:
        # The same key is the same request, and is answered as the first time.
        headers["Idempotency-Key"] = str(uuid.uuid4())
    body = case.body
    if not is_valid(case) or not isinstance(body, dict) or not isinstance(body.get("services"), dict):
        return case
    body["deployment"] = case.path_parameters["deployment"]
    for service in body["services"].values():
        name = service.get("image", {}).get("name")
        if isinstance(name, str) and "." not in name.split("/")[0]:
            service["image"]["name"] = "registry.example/" + name
    return case
