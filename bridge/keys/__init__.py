"""The tables of bridge.toml as frozen models: every key with its type, default and secrecy.

A model checks one table by itself; what two tables say of each other is `bridge.config`'s. Made in code instead of
read from a file, durations may be given in seconds and paths as `Path`.
"""

from __future__ import annotations

from bridge.keys.regions import REGIONS
from bridge.keys.secret import Secret
from bridge.keys.sinks import SINKS, Ccm
from bridge.keys.sources import (
    SOURCES,
    CardDav,
    Crm,
    File,
    Guard,
    PhoneBook,
    Salesforce,
    SourceKeys,
    SugarCrm,
    SuiteCrm,
    Zimbra,
)
from bridge.keys.surfaces import (
    Admin,
    Book,
    Connector,
    Database,
    Defaults,
    Http,
    PbxSync,
    Provisioning,
    Tls,
    Top,
    Workflow,
)
from bridge.keys.table import Table
from bridge.keys.values import Endpoint, Network, Server, Style

__all__ = [
    "REGIONS",
    "SINKS",
    "SOURCES",
    "Admin",
    "Book",
    "CardDav",
    "Ccm",
    "Connector",
    "Crm",
    "Database",
    "Defaults",
    "Endpoint",
    "File",
    "Guard",
    "Http",
    "Network",
    "PbxSync",
    "PhoneBook",
    "Provisioning",
    "Salesforce",
    "Secret",
    "Server",
    "SourceKeys",
    "Style",
    "SugarCrm",
    "SuiteCrm",
    "Table",
    "Tls",
    "Top",
    "Workflow",
    "Zimbra",
]
