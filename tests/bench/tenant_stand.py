"""A strict stand-in Manager for each of many tenants, for tenants.py: tenant_stand.py TENANTS KEY.

Prints its port once it serves `/{tenant}/api.aspx`; then for each line of its input how many entries all of them hold.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

sys.path[:0] = [str(Path(__file__).parents[2])]

from bridge.demo.manager import Manager


async def main(tenants: int, key: str) -> None:
    managers = {f"t{n:05}": Manager(key) for n in range(tenants)}
    app = web.Application()
    for name, manager in managers.items():
        app.add_subapp(f"/{name}/", manager.make_app())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(sum(len(manager.entries()) for manager in managers.values()), flush=True)
    await runner.cleanup()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
