"""Who may read: the Host header, the token, and what browsers are told about our answers."""

from __future__ import annotations

import hmac
from hashlib import sha256

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.config.settings import DaemonSettings

COOKIE = "affectd"
OPEN_PATHS = ("/livez", "/readyz")
_MONTH_S = 30 * 24 * 3600

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Access:
    """Middleware: answers what must not pass, and adds the security headers to everything else.

    On loopback only our own names are accepted as Host, so that no web site can point a name of
    its own at this machine and read the cameras through the visitor's browser. With a token,
    every path but the health checks wants it: `Authorization: Bearer`, `?token=`, or the cookie
    that opening `/?token=…` sets. The cookie holds a digest of the token, not the token.
    """

    def __init__(self, app: ASGIApp, settings: DaemonSettings) -> None:
        self._app = app
        self._host = settings.host
        self._token = settings.token.get_secret_value().encode()
        self._cookie = hmac.new(self._token, b"affectd page", sha256).hexdigest().encode()
        self._is_loopback = _is_loopback(settings.host)
        # Without a token, on loopback, no other site may embed the pictures.
        embeddable = bool(self._token) or not self._is_loopback
        policy = "cross-origin" if embeddable else "same-site"
        self._headers = {**_HEADERS, "Cross-Origin-Resource-Policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        answer = self._answer(Request(scope))
        await (answer or self._app)(scope, receive, send_with_headers)

    def _answer(self, request: Request) -> Response | None:
        """The response that settles the request here, or None to let it pass."""
        if self._is_loopback and not self._is_own_name(request.headers.get("host", "")):
            reason = "unknown Host; accepted are localhost, 127.0.0.1, [::1] and daemon.listen's"
            return JSONResponse({"error": reason}, 403)
        if not self._token or request.url.path in OPEN_PATHS:
            return None
        if self._has_query_token(request):
            return self._sign_in(request) if request.url.path == "/" else None
        if self._has_bearer(request) or self._has_cookie(request):
            return None
        reason = "a token is needed: Authorization: Bearer TOKEN, or open /?token=TOKEN"
        return JSONResponse({"error": reason}, 401, {"WWW-Authenticate": "Bearer"})

    def _is_own_name(self, host: str) -> bool:
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.split(":")[0]
        # Programs may leave Host out; browsers never do.
        return not host or _is_loopback(name.lower()) or name == self._host

    def _has_query_token(self, request: Request) -> bool:
        return hmac.compare_digest(request.query_params.get("token", "").encode(), self._token)

    def _has_bearer(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        sent = token.strip().encode("latin-1")  # The bytes as they came.
        return scheme.lower() == "bearer" and hmac.compare_digest(sent, self._token)

    def _has_cookie(self, request: Request) -> bool:
        return hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self._cookie)

    def _sign_in(self, request: Request) -> Response:
        """Keep the token out of the address bar and the history from here on."""
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE,
            self._cookie.decode(),
            max_age=_MONTH_S,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return response


def _is_loopback(host: str) -> bool:
    parts = host.split(".")
    dotted = len(parts) == 4 and all(part.isdecimal() for part in parts)
    return host in ("localhost", "::1") or (dotted and parts[0] == "127")
