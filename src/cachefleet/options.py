"""The options of the ``cachefleet`` command: their kinds, limits and words of help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[Path | None, typer.Option(help="Where nodes and the database live.")]
DatabaseUrl = Annotated[str | None, typer.Option(help="postgresql://... instead of SQLite.")]
Ephemeral = Annotated[
    bool | None, typer.Option("--ephemeral", help="Keep nothing: data ends with the server.")
]
Mode = Annotated[str | None, typer.Option(help="auto, loopback or ports.")]
Names = Annotated[str | None, typer.Option(help="addresses, hosts or dns.")]
Host = Annotated[str | None, typer.Option(help="The address that the API listens on.")]
Port = Annotated[int | None, typer.Option(help="Its port; 0 picks a free one.")]
MetricsHost = Annotated[str | None, typer.Option(help="The address that metrics are served on.")]
MetricsPort = Annotated[
    int | None, typer.Option(help="Serve /metrics on this port; 0 picks a free one.")
]
Auth = Annotated[str | None, typer.Option(help="off or enforce: whether signatures are checked.")]
PeerRegions = Annotated[
    str | None,
    typer.Option("--peers", help="Regions of other cachefleets: REGION=http://HOST:PORT,..."),
]
PeerSecret = Annotated[Path | None, typer.Option(help="The file with the secret that peers share.")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error.")]
LogFormat = Annotated[str | None, typer.Option(help="console or json.")]
Once = Annotated[bool, typer.Option("--once", help="Show it once, and do not keep watching.")]
AsJson = Annotated[bool, typer.Option("--json", help="Show it once, as JSON.")]
AllowFaults = Annotated[
    bool | None,
    typer.Option("--allow-faults", help="Allow faults to be injected on purpose (/v1/faults)."),
]
FailoverTimeout = Annotated[
    float | None, typer.Option(help="How many seconds a node may be silent: 0.1 to 600.")
]
Network = Annotated[str | None, typer.Option(help="Where loopback addresses are taken from.")]
PortRange = Annotated[str | None, typer.Option(help="Where ports are taken from: FIRST-LAST.")]
EnforceGroups = Annotated[
    bool | None,
    typer.Option("--enforce-security-groups", help="Let clients in by the rules of EC2 only."),
]
Ec2Url = Annotated[str | None, typer.Option(help="Where EC2's security groups are read.")]
Account = Annotated[str | None, typer.Option(help="The account of the key: 12 digits.")]
KeyScopeName = Annotated[
    str, typer.Option("--scope", help="full, read-only, or connect (IAM authentication only).")
]
AccessKeyId = Annotated[str, typer.Argument(help="The access key id.")]
OverlapS = Annotated[
    int, typer.Option(min=0, max=30 * 86_400, help="How long the old key stays good, in seconds.")
]
AllowReset = Annotated[bool | None, typer.Option("--allow-reset", help="Allow POST /v1/reset.")]
Export = Annotated[Path | None, typer.Option(help="Write it to this file instead of printing it.")]
Renew = Annotated[
    bool, typer.Option("--renew", help="Have every certificate replaced by a new one.")
]
Rotate = Annotated[
    bool,
    typer.Option(
        "--rotate", help="Make a new authority; caches get its certificates by a service update."
    ),
]
Inspected = Annotated[str, typer.Argument(metavar="FILE|NAME", help="An RDB file or a snapshot.")]
