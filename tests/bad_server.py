"""A local HTTP server that does, request by request, what servers and networks do wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """`files` by path; `plan` says what becomes of each request, in order: then all goes well.

    (what, n): 'cut' ends the connection after n bytes of body, 'stall' sends no more after them, 'status' answers n,
    'busy' answers 429 with Retry-After n, 'redirect' sends to another address once.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    plan: list[tuple[str, int]] = field(default_factory=list)
    ranges: bool = True
    tag: str = '"one"'
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(path, Range) of every request so far."""
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            byte_range = self.headers.get("Range", "")
            server.requests.append((self.path, byte_range))
            what, n = server.plan.pop(0) if server.plan else ("", 0)
            self.close_connection = True
            if what == "redirect":
                self._answer(302, b"", {"Location": f"{server.url}/moved{self.path}"})
                return
            if what == "busy":
                self._answer(429, b"", {"Retry-After": str(n)})
                return
            content = server.files.get(self.path.replace("/moved", ""))
            if what == "status" or content is None:
                self._answer(n or 404, b"no such luck", {})
                return
            start, headers = 0, {"ETag": server.tag} if server.tag else {}
            condition = self.headers.get("If-Range")
            if server.ranges and byte_range and condition in (None, server.tag):
                start = int(byte_range.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self._answer(416, b"", headers)
                    return
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            body = content[start:]
            self._answer(206 if "Content-Range" in headers else 200, body, headers, n if what else len(body))
            if what == "stall":
                server.closing.wait(20)

        def _answer(self, status: int, body: bytes, headers: dict[str, str], sent: int | None = None) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[:sent])
            self.wfile.flush()

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that went away
    server = Server(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()
