"""The systemd unit: it asks for what bridge needs, and gives away little else."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

UNIT = Path(__file__).parent.parent / "deploy" / "bridge.service"
CONFINED = {
    "CapabilityBoundingSet": "",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "PrivateUsers": "yes",
    "ProcSubset": "pid",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHome": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallFilter": "~@privileged",
    "UMask": "0077",
}


def service() -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = lambda key: key
    parser.read_string(UNIT.read_text())
    return dict(parser["Service"])


def test_what_the_daemon_promises_systemd_is_asked_of_it() -> None:
    got = service()
    want = {
        "Type": "notify",
        "NotifyAccess": "main",
        "WatchdogSec": "30",
        "ExecReload": "/bin/kill -HUP $MAINPID",
        "KillMode": "mixed",
        "Restart": "always",
        "DynamicUser": "yes",
        "StateDirectory": "bridge",
    }
    assert {key: got.get(key) for key in want} == want
    assert int(got["TimeoutStopSec"]) > 10


def test_it_is_confined() -> None:
    got = service()
    assert {key: got.get(key) for key in CONFINED} == CONFINED


def test_systemd_rates_its_exposure_at_two_or_less() -> None:
    if (analyze := shutil.which("systemd-analyze")) is None:
        return  # machines without systemd rely on the test above
    done = subprocess.run([analyze, "security", "--offline=true", UNIT], capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for bridge.service: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= 2.0
