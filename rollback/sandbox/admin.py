"""The control surface of the Flipt stand-in over HTTP: `/_sandbox/faults`, `requests`, `state`, `delays`.

POST   /_sandbox/faults     {"kind": "status", "method": "PUT", "path": "/resources", "status": 503}
GET    /_sandbox/faults     what is set, with how often each has hit
DELETE /_sandbox/faults     take all out
GET    /_sandbox/requests   what was asked (`?method=PUT|POST&path=regex` to choose); DELETE forgets it
GET    /_sandbox/state      everything, as a seed (`?age=0.5`: half a second ago)
POST   /_sandbox/delays     {"put_delay": 0.08, "post_delay": 0}
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rollback.sandbox.faults import FaultError, read_fault
from rollback.sandbox.wire import Answer, Request, json_answer

if TYPE_CHECKING:
    from rollback.sandbox.server import FliptServer


class Admin:
    """Answers the control surface of one server."""

    def __init__(self, server: FliptServer) -> None:
        self._server = server

    def answer(self, request: Request) -> Answer:
        """400 with `{"error": …}` for what makes no sense, 404 for paths that are not there."""
        try:
            match (request.method, request.path.removeprefix("/_sandbox/")):
                case ("POST", "faults"):
                    return self._add_faults(json.loads(request.body))
                case ("GET", "faults"):
                    return json_answer({"faults": [fault.document() for fault in self._server.faults.all()]})
                case ("DELETE", "faults"):
                    self._server.faults.clear()
                    return json_answer({"faults": []})
                case ("GET", "requests"):
                    return self._requests(request.query)
                case ("DELETE", "requests"):
                    self._server.log.clear()
                    return json_answer({"requests": []})
                case ("GET", "state"):
                    return json_answer(self._server.dump(float(request.query.get("age", "0"))))
                case ("POST", "delays"):
                    return self._delays(json.loads(request.body))
        except (FaultError, ValueError, TypeError, AttributeError) as error:
            return json_answer({"error": str(error)}, 400)
        return json_answer({"error": "no such control"}, 404)

    def _add_faults(self, document: Any) -> Answer:
        """One fault, or a list of them; all or none."""
        faults = [read_fault(fields) for fields in (document if isinstance(document, list) else [document])]
        for fault in faults:
            self._server.faults.add(fault)
        return json_answer({"faults": [fault.document() for fault in faults]})

    def _requests(self, query: dict[str, str]) -> Answer:
        entries = self._server.log.chosen(query.get("method", ""), query.get("path", ""))
        return json_answer({"requests": [entry.document() for entry in entries]})

    def _delays(self, document: dict[str, Any]) -> Answer:
        self._server.put_delay = float(document.get("put_delay", self._server.put_delay))
        self._server.post_delay = float(document.get("post_delay", self._server.post_delay))
        return json_answer({"put_delay": self._server.put_delay, "post_delay": self._server.post_delay})
