"""The floor under phonebook_rate: a bare aiohttp handler that answers 304. Usage: floor_unchanged.py PORT."""

import asyncio
import sys

import uvloop
from aiohttp import web


async def unchanged(_request: web.Request) -> web.Response:
    return web.Response(status=304, headers={"ETag": '"a"'})


async def serve(port: int) -> None:
    app = web.Application()
    app.router.add_get("/phonebook/staff", unchanged)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


uvloop.run(serve(int(sys.argv[1])))
