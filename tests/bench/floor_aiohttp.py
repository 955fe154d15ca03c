"""The floor under lookup_rate: a bare aiohttp handler with a constant answer. Usage: floor_aiohttp.py PORT."""

import asyncio
import sys

import uvloop
from aiohttp import web

ANSWER = b'[{"name":"Alexa Holiday","company":"White Cross Co","id":"crm:1"}]'


async def lookup(_request: web.Request) -> web.Response:
    return web.Response(body=ANSWER, content_type="application/json")


async def serve(port: int) -> None:
    app = web.Application()
    app.router.add_post("/services/Lookup", lookup)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


uvloop.run(serve(int(sys.argv[1])))
