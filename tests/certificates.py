"""Certificates that tests make."""

import subprocess
from pathlib import Path


def certificate(folder: Path, name: str) -> None:
    """`tls.pem` with its key `tls.key`, of this machine's own address."""
    made = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout tls.key -out tls.pem"
    )
    named = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made.split(), *named], cwd=folder, check=True, capture_output=True)
