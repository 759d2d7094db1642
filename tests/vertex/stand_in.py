"""A stand-in for Google Cloud on this machine: Cloud Storage and Vertex AI over HTTP, which keep the requests.

Each request is parsed into the message of the API, so an unknown field fails the test.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import google.auth
import pytest
from google.cloud.aiplatform_v1 import types
from google.oauth2.credentials import Credentials
from google.protobuf import json_format

TOKEN = "a-token"
PARENT = "projects/shop-project/locations/europe-west4"


class GoogleCloud:
    """Buckets, endpoints and jobs, and the requests received.

    Attributes:
        buckets: names of the existing buckets.
        objects: bytes by "BUCKET/NAME".
        endpoints: IDs of the existing endpoints.
        states: states of a job, one for each request for it; the last one stays. A failed job has an error message.
        received: requests to Vertex AI, as (method, message).
        refuse: HTTP status and message to answer with instead, by the end of the path.
    """

    def __init__(self) -> None:
        self.buckets = {"shop-bucket"}
        self.objects: dict[str, bytes] = {}
        self.endpoints = {"77"}
        self.states = ["JOB_STATE_SUCCEEDED"]
        self.received: list[tuple[str, Any]] = []
        self.refuse: dict[str, tuple[int, str]] = {}
        self.address = ""

    def answer(self, method: str, path: str, query: dict[str, list[str]], headers: Any, body: bytes) -> tuple[int, Any]:
        """Return the status and the JSON for one request."""
        for end, (status, message) in self.refuse.items():
            if path.endswith(end):
                return status, {"error": {"code": status, "message": message}}
        if path.startswith(("/storage/", "/upload/storage/")):
            return self._storage(method, path, query, headers, body)
        assert headers["Authorization"] == f"Bearer {TOKEN}"
        return self._vertex(method, path.removeprefix("/v1/"), query, body)

    def _storage(
        self, method: str, path: str, query: dict[str, list[str]], headers: Any, body: bytes
    ) -> tuple[int, Any]:
        bucket, name = re.fullmatch(r"(?:/upload)?/storage/v1/b/([^/]+)(?:/o/?(.*))?", path).groups()
        if bucket not in self.buckets:
            return 404, {"error": {"code": 404, "message": "The specified bucket does not exist."}}
        if method == "POST":
            assert query["uploadType"] == ["multipart"]
            parts = message_from_bytes(f"Content-Type: {headers['Content-Type']}\n\n".encode() + body).get_payload()
            about = json.loads(parts[0].get_payload())
            # `email` decodes text; the file is the bytes between the boundaries
            content = body.split(b"\r\n\r\n", 2)[2].rsplit(b"\r\n--", 1)[0]
            self.objects[f"{bucket}/{about['name']}"] = content
            return 200, {"bucket": bucket, "name": about["name"]}
        if name:
            found = f"{bucket}/{name}" in self.objects
            return (200, {"name": name}) if found else (404, {"error": {"code": 404, "message": "No such object"}})
        return 200, {"kind": "storage#bucket", "name": bucket}

    def _vertex(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        assert path.startswith(PARENT), path
        call = path.removeprefix(f"{PARENT}/")
        sent = json.loads(body) if body else {}
        if method == "GET" and (found := re.fullmatch(r"endpoints/(\d+)", call)):
            if found[1] not in self.endpoints:
                return 404, {"error": {"code": 404, "message": f"Endpoint {found[1]} is not found."}}
            return 200, {"name": path, "deployedModels": [{"id": "8", "model": f"{PARENT}/models/4"}]}
        if call == "customJobs/42":
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            failed = {"error": {"message": "Out of memory."}} if state == "JOB_STATE_FAILED" else {}
            return 200, {"name": path, "state": state} | failed
        if call == "customJobs":
            job = self._keep("customJobs", types.CustomJob, sent)
            return 200, {"name": f"{PARENT}/customJobs/42", "displayName": job.display_name}
        if call == "models:upload":
            self._keep("models:upload", types.UploadModelRequest, sent)
            return self._done("UploadModelResponse", {"model": f"{PARENT}/models/5", "modelVersionId": "1"})
        if call == "endpoints":
            self._keep("endpoints", types.Endpoint, sent)
            return self._done("Endpoint", {"name": f"{PARENT}/endpoints/99"})
        if found := re.fullmatch(r"endpoints/(\d+):deployModel", call):
            self._keep(f"endpoints/{found[1]}:deployModel", types.DeployModelRequest, sent)
            return self._done("DeployModelResponse", {"deployedModel": {"id": "1"}})
        if found := re.fullmatch(r"endpoints/(\d+):undeployModel", call):
            self._keep(f"endpoints/{found[1]}:undeployModel", types.UndeployModelRequest, sent)
            return self._done("UndeployModelResponse", {})
        raise AssertionError(f"{method} {path} is not expected")

    def _keep(self, name: str, kind: Any, sent: dict[str, Any]) -> Any:
        message = kind()
        json_format.ParseDict(sent, kind.pb(message))
        self.received.append((name, message))
        return message

    def _done(self, kind: str, response: dict[str, Any]) -> tuple[int, Any]:
        # A finished long-running operation.
        kind = f"type.googleapis.com/google.cloud.aiplatform.v1.{kind}"
        return 200, {"name": f"{PARENT}/operations/1", "done": True, "response": {"@type": kind} | response}


@contextmanager
def google_cloud() -> Iterator[GoogleCloud]:
    """Run the stand-in on a free port of this machine. The SDK finds a token for it and contacts no other machine."""
    cloud = GoogleCloud()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                status, answer = cloud.answer(self.command, address.path, parse_qs(address.query), self.headers, body)
            except Exception as error:  # the caller gets an unexpected request's error
                status, answer = 400, {"error": {"code": 400, "message": f"stand-in: {error}"}}
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_PUT = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    cloud.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", cloud.address)
        patch.setattr(google.auth, "default", lambda *_, **__: (Credentials(TOKEN), "shop-project"))
        try:
            yield cloud
        finally:
            server.shutdown()
            server.server_close()
