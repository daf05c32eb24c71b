"""What a browser may do on the console's pages: their content security policy.

Scripts come from this server alone; the inline ones are Dash's own, each named by its hash.
Plotly's WebGL traces compile their shaders' code at run time, and MapLibre starts its worker from
a blob: without these two there are no maps. Styles are set inline by both.
"""

import dash
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class PagePolicy:
    """Adds the policy to every page of HTML that does not bring a whole one of its own."""

    def __init__(self, app: ASGIApp, console: dash.Dash, map_style: str | None = None) -> None:
        self.app = app
        self._console = console
        # An online style brings tiles, glyphs and sprites from hosts that only it knows.
        self._outside = " https:" if map_style else ""
        self._policy: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and mark the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                is_page = headers.get("content-type", "").startswith("text/html")
                # A page that says where its scripts come from knows better.
                if is_page and "default-src" not in headers.get("content-security-policy", ""):
                    headers["content-security-policy"] = self.policy
            await send(message)

        await self.app(scope, receive, marked)

    @property
    def policy(self) -> str:
        """The policy; known once the first page was made, when Dash's inline scripts are."""
        if self._policy is None:
            scripts = " ".join(self._console.csp_hashes())
            self._policy = "; ".join(
                (
                    "default-src 'self'",
                    f"script-src 'self' 'unsafe-eval' {scripts}",
                    "style-src 'self' 'unsafe-inline'",
                    f"img-src 'self' data: blob:{self._outside}",
                    f"connect-src 'self'{self._outside}",
                    "worker-src 'self' blob:",
                    "child-src 'self' blob:",
                    "object-src 'none'",
                    "base-uri 'none'",
                    "form-action 'self'",
                    "frame-ancestors 'none'",
                )
            )
        return self._policy
