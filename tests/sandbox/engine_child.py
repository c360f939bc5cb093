"""A program of its own: lets the engine of Flipt's SDKs evaluate what a server serves.

It reads `{"url", "namespace", "environment", "questions": [[flag key, entity id, context], …]}` from standard
input and writes a list of answers, one per question: for a boolean flag true or false, for a variant flag the
list [match, variant key, attachment], for an error null. It is a process of its own since the engine aborts the
whole process when a connection is refused.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def answers_of(told: dict[str, Any]) -> list[Any]:
    """What the engine says to each question."""
    library, models = (importlib.import_module(name) for name in ("flipt_client", "flipt_client.models"))
    options = models.ClientOptions(url=told["url"], namespace=told["namespace"], environment=told.get("environment"))
    client = library.FliptClient(options)
    requests = [
        models.EvaluationRequest(flag_key=flag_key, entity_id=entity_id, context=context)
        for flag_key, entity_id, context in told["questions"]
    ]
    answers = [answer_of(response) for response in client.evaluate_batch(requests).responses]
    client.close()
    return answers


def answer_of(response: Any) -> Any:
    """One answer, in the form that this module's docstring tells."""
    if response.boolean_evaluation_response is not None:
        return response.boolean_evaluation_response.enabled
    if response.variant_evaluation_response is not None:
        found = response.variant_evaluation_response
        return [found.match, found.variant_key, found.variant_attachment or ""]
    return None


if __name__ == "__main__":
    json.dump(answers_of(json.load(sys.stdin)), sys.stdout)
