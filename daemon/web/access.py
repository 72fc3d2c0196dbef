"""Who may read: the Host header, the token, and what browsers are told about our answers."""

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
# How the paths end that an open page asks for, ours or another: it stays signed in.
_RENEWING = ("/", ".html", "/api/streams", "/api/pictures", ".m3u8", "/mjpeg", "/jpeg", "/events")
# As long as browsers keep a cookie at most: one connection may hold for months, and renews none.
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

    Token: every path but the health checks wants it: `Authorization: Bearer`, `?token=`, or the
    cookie that opening a page with `?token=…` sets, and each request for a page, states, pictures
    or events renews. The cookie holds a digest of the token, not the token. So does its name,
    since browsers send a cookie to every port of a host: another daemon there has its own.
    """

    def __init__(self, settings: DaemonSettings) -> None:
        self._host = settings.host.lower()
        self._is_loopback = is_loopback(settings.host)
        self.follow(settings)

    def follow(self, settings: DaemonSettings) -> None:
        """Go by the token and the names of `settings` from the next request on; its address is
        that of the server as long as that runs."""
        token = settings.token.get_secret_value().encode()
        # Without a token, on loopback, no other site may embed the pictures.
        policy = "cross-origin" if token or not self._is_loopback else "same-site"
        # In one step: requests are answered on another thread.
        self._rules = _Rules(
            token=token,
            cookie_name=f"affectd-{_digest(token, b'affectd name')[:8]}",
            cookie=_digest(token, b"affectd page").encode(),
            names=frozenset(map(str.lower, settings.allowed_hosts)),
            origins=frozenset(settings.allowed_origins),
            headers={**_HEADERS, "Cross-Origin-Resource-Policy": policy},
        )

    def allows(self, origin: str) -> bool:
        """Whether pages of that origin may read what they are otherwise let to."""
        return origin in self._rules.origins

    def headers(self, request: Request) -> dict[str, str]:
        """What the answer carries, beside its own."""
        rules = self._rules
        if (
            rules.token
            and request.scope["path"].endswith(_RENEWING)
            and _has_cookie(request, rules)
        ):
            return {**rules.headers, "Set-Cookie": _cookie(request, rules)}
        return rules.headers

    def answer(self, request: Request) -> Response | None:
        """The response that settles the request here, or None to let it pass."""
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
        # Nobody else can make a browser call this machine by its number or its own name, nor by
        # one in .local: no name server of the internet knows those.
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
    """Middleware: answers what the guard does not let pass, and adds the security headers to
    everything, but for those that an answer has already."""

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
    """Middleware: lets browsers show our answers to pages of other origins (CORS), which the guard
    names. Browsers ask first where a page sends a token in a header, and send none themselves."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        super().__init__(app, allow_headers=["Authorization"])
        self._guard = guard

    def is_allowed_origin(self, origin: str) -> bool:
        return self._guard.allows(origin)


def _has_query_token(request: Request, rules: _Rules) -> bool:
    sent = request.query_params.get("token", "").encode()
    # In an address a "+" is a blank: whoever puts a token there as it stands means the "+".
    return hmac.compare_digest(sent.replace(b"+", b" "), rules.token.replace(b"+", b" "))


def _has_bearer(request: Request, rules: _Rules) -> bool:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    sent = token.strip().encode("latin-1")  # The bytes as they came.
    return scheme.lower() == "bearer" and hmac.compare_digest(sent, rules.token)


def _has_cookie(request: Request, rules: _Rules) -> bool:
    sent = request.cookies.get(rules.cookie_name, "")
    return hmac.compare_digest(sent.encode(), rules.cookie)


def _sign_in(request: Request, rules: _Rules) -> Response:
    """Keep the token out of the address bar and the history from here on."""
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
        # As a web server in front says. Who makes it up harms nobody else.
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
