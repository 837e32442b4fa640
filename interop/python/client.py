"""The client of the official Python SDK over a stdio server: `client.py COMMAND [ARGUMENT...]`. Prints what it got."""

import asyncio
import json
import os
import sys
import warnings

from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp_types import CreateMessageResult, ElicitResult, TextContent

warnings.filterwarnings("ignore")


async def elicited(_context, _params):
    return ElicitResult(action="accept", content={"name": "Ada"})


async def sampled(_context, _params):
    return CreateMessageResult(role="assistant", model="parrot", content=TextContent(type="text", text="word"))


async def main() -> None:
    program, *arguments = sys.argv[1:]
    parameters = StdioServerParameters(command=program, args=arguments, env=dict(os.environ))
    async with stdio_client(parameters) as (read, write):
        async with ClientSession(read, write, sampling_callback=sampled, elicitation_callback=elicited) as session:
            told = await session.initialize()
            tools = await session.list_tools()
            steps: list[float] = []

            async def call(name, given, progress=None):
                result = await session.call_tool(name, given, progress_callback=progress)
                return result.content[0].text

            async def stepped(progress, total, _message):
                steps.append(progress)

            answers = {
                "revision": told.protocol_version,
                "tools": sorted(tool.name for tool in tools.tools),
                "echo": await call("echo", {"text": "line\u2028\n\"ß\""}),
                "progress": await call("progress", {"steps": 3}, stepped),
                "elicit": await call("elicit", {}),
                "interrupted": await call("interrupted", {"nonce": "python-interrupted"}),
            }
            together = await asyncio.gather(*(call("count", {"nonce": f"python-{n}"}) for n in range(5)))
            print(json.dumps({**answers, "steps": steps, "together": together}))


asyncio.run(main())
