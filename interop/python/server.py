"""The MCP server of the official Python SDK: sessions, events that can be resumed, requests to the client, and the
revision without sessions. Prints where it listens."""

import asyncio
import json
import os
import socket
import sys
import warnings
from collections import Counter
from typing import Annotated

import httpx2
import uvicorn
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve, Sample
from mcp.server.streamable_http import EventMessage, EventStore
from mcp_types import CreateMessageResult, SamplingMessage, TextContent
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

warnings.filterwarnings("ignore")  # of what 2026-07-28 leaves out: servers of today have it

SCOPES = ["mcp:read", "mcp:write"]
ISSUER = os.environ["ISSUER"]
SECRET = os.environ["INTROSPECTION_SECRET"]

counts: Counter[str] = Counter()
nonces: Counter[str] = Counter()
refused_up_to = 0  # numbers of access tokens that are not accepted any more
accepted: set[int] = set()


class Name(BaseModel):
    name: str


class Events(EventStore):
    """Every event, numbered in one row."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id, send_callback):
        counts["resumptions"] += 1
        at = int(last_event_id)
        stream = self.events[at - 1][0]
        for number, (stream_id, message) in enumerate(self.events[at:], at + 1):
            if stream_id == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


class Verifier:
    """Every request is checked at the provider, so that a revocation counts from the next request on."""

    def __init__(self, resource: str) -> None:
        self.resource = resource

    async def verify_token(self, token: str) -> AccessToken | None:
        async with httpx2.AsyncClient(auth=("mcp-server", SECRET)) as client:
            form = {"token": token, "token_type_hint": "access_token"}
            told = (await client.post(f"{ISSUER}/token/introspection", data=form)).json()
        if not told.get("active") or told["aud"] != self.resource or told["number"] <= refused_up_to:
            counts["unauthorized"] += 1
            return None
        accepted.add(told["number"])
        scopes = told["scope"].split(" ")
        return AccessToken(
            token=token, client_id=told["client_id"], scopes=scopes, expires_at=told["exp"], resource=told["aud"]
        )


async def ask_name() -> Elicit[Name]:
    return Elicit("Who is there?", Name)


async def ask_word() -> Sample:
    message = SamplingMessage(role="user", content=TextContent(type="text", text="Say a word."))
    return Sample([message], max_tokens=5)


def build(url: str) -> MCPServer:
    resource = f"{url}/mcp"
    auth = AuthSettings(
        issuer_url=ISSUER, resource_server_url=resource, required_scopes=SCOPES, validate_token_resource=True
    )
    server = MCPServer("interop-python", auth=auth, token_verifier=Verifier(resource), log_level="ERROR")

    @server.tool()
    async def echo(text: str) -> str:
        return text

    @server.tool()
    async def count(nonce: str) -> str:
        """A call that was carried out twice is found by its nonce."""
        nonces[nonce] += 1
        return nonce

    @server.tool()
    async def progress(steps: int, ctx: Context) -> str:
        for step in range(1, steps + 1):
            await ctx.report_progress(step, steps)
        return "done"

    # A question to the client: a request of the server's in a session, the result of a first round without.
    @server.tool()
    async def elicit(who: Annotated[Name, Resolve(ask_name)]) -> str:
        return f"accept: {who.name}"

    @server.tool()
    async def sample(word: Annotated[CreateMessageResult, Resolve(ask_word)]) -> str:
        return f"{word.model}: {word.content.text}"

    @server.tool()
    async def interrupted(nonce: str, ctx: Context) -> str:
        """Its stream ends before its answer is there."""
        await ctx.report_progress(1, 2)
        await ctx.close_sse_stream()
        await asyncio.sleep(0.3)
        nonces[nonce] += 1
        return f"resumed {nonce}"

    @server.custom_route("/admin/counts", methods=["GET"])
    async def told(_: Request) -> Response:
        doubled = sum(1 for times in nonces.values() if times > 1)
        figures = {name: counts[name] for name in ("unauthorized", "resumptions", "initializations", "endings")}
        return JSONResponse({**figures, "counted": len(nonces), "doubled": doubled, "accepted": len(accepted)})

    @server.custom_route("/admin/refuse/{up_to}", methods=["POST"])
    async def refuse(request: Request) -> Response:
        global refused_up_to
        refused_up_to = int(request.path_params["up_to"])
        return JSONResponse({"refusedUpTo": refused_up_to})

    return server


def counted(app):
    """Counts sessions as they are opened and ended, from outside the SDK."""

    async def wrapped(scope, receive, send):
        async def sent(message):
            if message["type"] == "http.response.start" and message["status"] == 200:
                asked = {name for name, _ in scope["headers"]}
                answered = {name for name, _ in message["headers"]}
                if scope["method"] == "DELETE":
                    counts["endings"] += 1
                elif b"mcp-session-id" in answered and b"mcp-session-id" not in asked:
                    counts["initializations"] += 1
            await send(message)

        await app(scope, receive, sent if scope["type"] == "http" else send)

    return wrapped


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = build(url).streamable_http_app(event_store=Events(), retry_interval=50)
    config = uvicorn.Config(counted(app), log_level="error", lifespan="on")
    server = uvicorn.Server(config)
    print(json.dumps({"url": url}), flush=True)
    loop = asyncio.get_running_loop()
    # Nobody is left to ask anything once run.mjs has gone, however it went.
    loop.run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: os._exit(0))
    await server.serve([listener])


asyncio.run(main())
