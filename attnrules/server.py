"""Pages over HTTP: read-only, to this machine alone unless asked otherwise."""

from __future__ import annotations

import ipaddress
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

from attnrules.errors import AttnRulesError, UsageError

if TYPE_CHECKING:
    from attnrules.pages.browser import Browser

# Scripts and styles are files of ours: token text that would become markup could do nothing.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LONGEST_REQUEST = 20_000


class Server(ThreadingHTTPServer):
    """Serves the pages of a `Browser`.

    Arguments:
        host: address to listen at; one that is no loopback address needs `public`.
        port: 0 for any that is free.

    Raises `UsageError` for an interface that was not asked for, `AttnRulesError` where the port is taken.
    """

    daemon_threads = True

    def __init__(self, browser: Browser, host: str, port: int, *, public: bool = False) -> None:
        self.browser = browser
        self.public = public
        self.host = host
        if not public and not _is_loopback(host):
            raise UsageError(
                f"--host {host}: others could read this warehouse there; add --public if that is meant"
            )
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise AttnRulesError(
                f"{host} port {port}: {error.strerror or error}; choose another with --port, 0 for any"
            ) from error

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """Where the first page is."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server: another name may have been made to lead here."""
        try:
            found = urlsplit(f"//{host}")
            name, port = found.hostname or "", found.port
        except ValueError:
            return False
        if (port or 80) != self.port:
            return False
        return name in ("localhost", self.host) or (self.public and _is_address(name)) or _is_loopback(name)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; http.server refuses every other method."""

    server: Server
    server_version = "attnrules"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        """Send a page."""
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        """Send what is said of a page."""
        self._send(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: a terminal is for what matters."""

    def _send(self, *, with_body: bool) -> None:
        if not self.server.knows(self.headers.get("Host", "")):
            self.send_error(421, "This server does not go by that name")
            return
        if len(self.path) > _LONGEST_REQUEST:
            self.send_error(414)
            return
        # A page of another site may link here, and not ask in the background.
        how, whence = (self.headers.get(f"Sec-Fetch-{name}") for name in ("Mode", "Site"))
        if whence == "cross-site" and how != "navigate":
            self.send_error(403, "Another site may not read this")
            return
        asked = urlsplit(self.path)
        reply = self.server.browser.reply(asked.path, dict(parse_qsl(asked.query, max_num_fields=20)))
        self.send_response(reply.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if reply.location is not None:
            self.send_header("Location", quote(reply.location))
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if with_body:
            self.wfile.write(reply.body)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)
