"""Who may read: checks of the Host header and the token, and the security headers of answers."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from socket import gethostname
from urllib.parse import urlencode

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.config.settings import DaemonSettings
from daemon.config.urls import is_loopback

OPEN_PATHS = ("/livez", "/readyz")
# Ends of the paths that an open page, ours or another, asks for: they renew the cookie.
_RENEWING = ("/", ".html", "/api/streams", "/api/pictures", ".m3u8", "/mjpeg", "/jpeg", "/events")
# The most that browsers keep a cookie: one connection may last for months, and does not renew it.
_COOKIE_S = 400 * 24 * 3600

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Decides on each request. `follow` changes the rules while the server runs.

    Names: a web site may point a name of its own at this machine and read the cameras through a
    visitor's browser (DNS rebinding). On loopback, and wherever no token is asked for, only our
    own names are therefore accepted as Host, and those of `allowed_hosts`.

    Token: every path but the health checks requires it: as `Authorization: Bearer`, as `?token=`,
    or as the cookie. Opening a page with `?token=…` sets the cookie; each request for a page,
    states, pictures or events renews it. It holds a digest of the token, not the token. Its name
    holds another one: browsers send a cookie to every port of a host, where other daemons may run.
    """

    def __init__(self, settings: DaemonSettings) -> None:
        self._host = settings.host.lower()
        self._is_loopback = is_loopback(settings.host)
        self.follow(settings)

    def follow(self, settings: DaemonSettings) -> None:
        """Use the token, names and origins of `settings` from the next request on; the address
        stays that of the running server."""
        token = settings.token.get_secret_value().encode()
        # Without a token, on loopback, no other site may embed the pictures.
        policy = "cross-origin" if token or not self._is_loopback else "same-site"
        # One assignment, since requests are answered on another thread.
        self._rules = _Rules(
            token=token,
            cookie_name=f"affectd-{_digest(token, b'affectd name')[:8]}",
            cookie=_digest(token, b"affectd page").encode(),
            names=frozenset(map(str.lower, settings.allowed_hosts)),
            origins=frozenset(settings.allowed_origins),
            headers={**_HEADERS, "Cross-Origin-Resource-Policy": policy},
        )

    def allows(self, origin: str) -> bool:
        """Whether pages of `origin` may read answers (CORS); the token is checked all the same."""
        return origin in self._rules.origins

    def headers(self, request: Request) -> dict[str, str]:
        """The headers to add to the answer; one of them renews a cookie that the request has."""
        rules = self._rules
        if (
            rules.token
            and request.scope["path"].endswith(_RENEWING)
            and _has_cookie(request, rules)
        ):
            return {**rules.headers, "Set-Cookie": _cookie(request, rules)}
        return rules.headers

    def answer(self, request: Request) -> Response | None:
        """The refusal or redirect that answers the request, or None to let it pass."""
        rules, path = self._rules, request.scope["path"]
        if not self._is_own_name(request.headers.get("host", ""), rules):
            beyond = "any address in numbers, this machine's own name (also as NAME.local), "
            reason = (
                "unknown Host; accepted are localhost, 127.0.0.1, [::1], the host of "
                f"daemon.listen, {'' if self._is_loopback else beyond}and those of "
                "daemon.allowed_hosts"
            )
            return JSONResponse({"error": reason}, 403)
        if not rules.token or path in OPEN_PATHS:
            return None
        if _has_query_token(request, rules):
            is_page = path == "/" or (path.startswith("/page/") and path.endswith(".html"))
            return _sign_in(request, rules) if is_page else None
        if _has_bearer(request, rules) or _has_cookie(request, rules):
            return None
        reason = "a token is needed: Authorization: Bearer TOKEN, or open /?token=TOKEN"
        return JSONResponse({"error": reason}, 401, {"WWW-Authenticate": "Bearer"})

    def _is_own_name(self, host: str, rules: _Rules) -> bool:
        # Programs may leave Host out; browsers never do.
        if not host or (rules.token and not self._is_loopback):
            return True
        name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.split(":")[0]
        name = name.lower()
        if is_loopback(name) or name == self._host or name in rules.names:
            return True
        # No web site can make these names its own: an IP address, this machine's host name, or one
        # in .local, which no name server of the internet resolves.
        own = gethostname().lower()
        short = own.partition(".")[0]
        is_own = name in (own, short, f"{short}.local")
        return not self._is_loopback and (_is_number(name) or is_own)


@dataclass(frozen=True, slots=True)
class _Rules:
    token: bytes
    cookie_name: str
    cookie: bytes
    names: frozenset[str]
    origins: frozenset[str]
    headers: dict[str, str]


class Access:
    """Middleware: answers requests that the guard does not let pass, and adds the security headers
    to every answer, except those that it has already."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        request = Request(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._guard.headers(request).items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._guard.answer(request)
        await (answer or self._app)(scope, receive, send_with_headers)


class Origins(CORSMiddleware):
    """Middleware (CORS): lets pages of the origins that the guard allows read our answers in a
    browser. If a page sends the token in a header, browsers ask first (a preflight request), and
    without a token; so this stands before the guard."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        super().__init__(app, allow_headers=["Authorization"])
        self._guard = guard

    def is_allowed_origin(self, origin: str) -> bool:
        return self._guard.allows(origin)


def _has_query_token(request: Request, rules: _Rules) -> bool:
    sent = request.query_params.get("token", "").encode()
    # In a query "+" means a blank, but a token that was put there unencoded may hold a "+".
    return hmac.compare_digest(sent.replace(b"+", b" "), rules.token.replace(b"+", b" "))


def _has_bearer(request: Request, rules: _Rules) -> bool:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    sent = token.strip().encode("latin-1")  # The bytes as they came.
    return scheme.lower() == "bearer" and hmac.compare_digest(sent, rules.token)


def _has_cookie(request: Request, rules: _Rules) -> bool:
    sent = request.cookies.get(rules.cookie_name, "")
    return hmac.compare_digest(sent.encode(), rules.cookie)


def _sign_in(request: Request, rules: _Rules) -> Response:
    """Set the cookie and redirect to the address without the token, to keep it out of the address
    bar and the history."""
    rest = urlencode([item for item in request.query_params.multi_items() if item[0] != "token"])
    address = request.scope["path"] + (f"?{rest}" if rest else "")
    return RedirectResponse(address, 303, {"Set-Cookie": _cookie(request, rules)})


def _cookie(request: Request, rules: _Rules) -> str:
    """The header that keeps a browser signed in for `_COOKIE_S` from here on."""
    response = Response()
    response.set_cookie(
        rules.cookie_name,
        rules.cookie.decode(),
        max_age=_COOKIE_S,
        httponly=True,
        samesite="lax",
        # Set by a web server in front. A client that forges it harms only itself.
        secure=request.headers.get("x-forwarded-proto") == "https",
    )
    return response.headers["set-cookie"]


def _digest(token: bytes, use: bytes) -> str:
    return hmac.new(token, use, sha256).hexdigest()


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
