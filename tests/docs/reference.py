"""Writes the generated parts of the documentation, each between two comments of its page.

    python -m tests.docs.reference [--check]

Options come from the settings, commands from the command line's own parser, diagrams from the
lifecycle tables. What an option is for is said here, because the settings only say what it may be.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from cachefleet import cli
from cachefleet.api.settings import ApiSettings
from cachefleet.provisioner.state import lifecycle, updates
from cachefleet.settings import Settings

ROOT = Path(__file__).parents[2]
REGION = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)

OPTIONS: Mapping[str, str] = {
    "host": "The address that the API listens on. Nodes do not follow it: they are on loopback.",
    "port": "The API's port; 0 picks a free one.",
    "metrics_host": "`provisioner`: the address that its metrics are served on.",
    "metrics_port": "`provisioner`: serve `/metrics` on this port; 0 picks a free one. `serve` has "
    "them on the API's.",
    "data_dir": "Where nodes, their data and the database live. With `ephemeral`, a temporary "
    "directory unless it is given.",
    "database_url": "`postgresql://...` instead of SQLite in the data directory.",
    "ephemeral": "Keep nothing: nodes and data end with the server, however it ends.",
    "endpoint_mode": "`loopback`: an address for each endpoint. `ports`: a port for each. `auto`: "
    "`loopback` on Linux, `ports` elsewhere.",
    "endpoint_network": "Loopback mode: where addresses are taken from; within 127.0.0.0/8.",
    "endpoint_host": "Ports mode: the address that all endpoints have.",
    "endpoint_names": "How endpoints are answered: `addresses`, or names like the service's, "
    "written to the hosts file (`hosts`) or answered by a DNS server of our own (`dns`).",
    "endpoint_domain": "What those names end in.",
    "dns_port": "The DNS server's port, on 127.0.0.1, UDP and TCP; 0 picks a free one, which is "
    "logged.",
    "hosts_file": "The hosts file that names are written to; they are taken out at the end.",
    "port_range": "Ports mode: where ports are taken from, as `FIRST-LAST`.",
    "auth": "`off` believes the credential scope. `enforce` verifies signatures with the keys of "
    "`cachefleet credentials`, and refuses everybody else.",
    "account_id": "The account of requests whose access key id is not itself an account.",
    "default_region": "The region of requests that carry no credential scope.",
    "allow_faults": "Allow `/v1/faults`, which kills, stops, slows down and cuts off nodes on "
    "purpose; `ephemeral` allows it too. Front-end and provisioner both have to be told.",
    "allow_reset": "Whether `POST /v1/reset` may remove everything; `ephemeral` allows it too.",
    "serverless_gb_bytes": "What counts as one GB in the limits of serverless caches: less, for "
    "tests of what happens at a limit.",
    "master_key_file": "The key that secrets are sealed with, instead of `master.key` in the data "
    "directory; made where there is none. Halves on several machines need the same one.",
    "enforce_security_groups": "Let clients of caches in only from where a "
    "rule of their VPC security groups says so; see security.md.",
    "ec2_endpoint_url": "Where the rules of VPC security groups are read, in addition to those "
    "defined through `/v1`.",
    "peers": "The cachefleets that have other regions, as `REGION=http://HOST:PORT`, by commas. "
    "Requests for those regions are handed to them; see global-datastores.md.",
    "peer_secret_file": "The file with the secret that they have in common: 16 bytes or more.",
    "log_format": "How log lines are written.",
    "log_level": "The least that is logged.",
    "valkey_server": "A `valkey-server` to use before those that are found.",
    "redis_server": "A `redis-server` to use before those that are found.",
    "memcached": "A `memcached` to use before the one that is found.",
    "memcached_flavor": "`bundled`: cachefleet's own memcached server. `stock`: the `memcached` "
    "binary, with auto discovery by the gateway at the configuration endpoint; its data is gone "
    "after a stop.",
    "log_endpoint": "Where logs are delivered: `folder` (`logs` in the data directory), `aws`, or "
    "the URL of an endpoint that speaks CloudWatch Logs and Firehose.",
    "snapshot_store": "Where snapshots are kept: a folder, or `s3://bucket/prefix`. A folder in "
    "the data directory unless given.",
    "s3_endpoint_url": "Where S3 is, for exports, seeds and an `s3://` store. AWS itself unless "
    "given. Credentials come from where AWS's tools look for them.",
    "kms_endpoint_url": "Where KMS is, for `KmsKeyId`. AWS itself unless given.",
    "secretsmanager_endpoint_url": "Where Secrets Manager is, for the password of a migration's "
    "source. AWS itself unless given.",
    "memory_dir": "A memory-backed directory for the nodes of groups that are encrypted at rest. "
    "`/dev/shm` unless given.",
    "cloudwatch_endpoint_url": "Where metrics are put (`PutMetricData`), once a minute; without "
    "it, nowhere.",
    "cloudwatch_namespace": "Their namespace. AWS's own CloudWatch takes none that begins with "
    "`AWS/`.",
    "sns_endpoint_url": "Where events go that have a notification topic; without it, nowhere.",
    "service_update_days": "How many days after it was found a service update is due, and "
    "from then on applied in maintenance windows; 0 is at once. By its severity unless given.",
    "failover_timeout_s": "How long a node may be silent before it is taken for hung and ended.",
}


def options() -> str:
    """Return the table of options."""
    assert OPTIONS.keys() == Settings.model_fields.keys(), "every option is described here"
    flags = {
        option
        for command in commands().values()
        for parameter in command.params
        for option in parameter.opts
    }
    schema = Settings.model_json_schema()["properties"]
    rows = ["| Option | Environment | Values | Default | What it is for |", "|---|---|---|---|---|"]
    for name, text in OPTIONS.items():
        flag = f"--{name.replace('_', '-')}"
        rows.append(
            f"| {f'`{flag}`' if flag in flags else f'`{name}`'} | `CACHEFLEET_{name.upper()}` "
            f"| {values(schema[name])} | {default(schema[name])} | {text} |"
        )
    return "\n".join(rows) + "\n"


def front_end() -> str:
    """Return the table of the front-end's own settings, which only the environment can set."""
    schema = ApiSettings.model_json_schema()["properties"]
    rows = ["| Environment | Values | Default | What it is for |", "|---|---|---|---|"]
    for name, field in ApiSettings.model_fields.items():
        if name not in Settings.model_fields:
            rows.append(
                f"| `CACHEFLEET_{name.upper()}` | {values(schema[name])} "
                f"| {default(schema[name])} | {field.description} |"
            )
    return "\n".join(rows) + "\n"


def values(schema: Mapping[str, Any]) -> str:
    """Return in words what a setting may be."""
    if "anyOf" in schema:
        schema = next(one for one in schema["anyOf"] if one["type"] != "null")
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    kind = {"integer": "number", "number": "number", "boolean": "`true`, `false`"}.get(
        schema["type"], "text"
    )
    if schema["type"] == "array":
        return "texts, by commas"
    if schema.get("format") == "path":
        return "path"
    if low is None:
        return kind
    if "maximum" in schema:
        return f"{low:g} to {schema['maximum']:g}" if low % 1 else f"{low} to {schema['maximum']}"
    return f"more than {low:g}" if "exclusiveMinimum" in schema else f"{low:g} or more"


def default(schema: Mapping[str, Any]) -> str:
    """Return a default as it would be written."""
    value = schema.get("default")
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | tuple):
        return f"`{','.join(map(str, value))}`"
    return f"`{value}`"


def commands() -> dict[str, Any]:
    """Return the parser of each command, groups taken apart: ``db upgrade``."""
    found: dict[str, Any] = {}
    top: Any = typer.main.get_command(cli.app)
    for name, command in top.commands.items():
        inner = getattr(command, "commands", None)
        if inner is None:
            found[name] = command
        else:
            found.update({f"{name} {leaf}": parser for leaf, parser in inner.items()})
    return found


def command_table() -> str:
    """Return the table of commands."""
    rows = ["| Command | What it does | Options |", "|---|---|---|"]
    for name, command in commands().items():
        flags = [f"`{opt}`" for parameter in command.params for opt in parameter.opts]
        summary = " ".join((command.help or "").split())
        rows.append(f"| `cachefleet {name}` | {summary} | {', '.join(flags) or 'none'} |")
    return "\n".join(rows) + "\n"


def diagram(resource: str) -> str:
    """Return the state diagram of a resource's lifecycle table."""
    return _diagram(lifecycle.TABLES[resource], first=lifecycle.CREATING, last=lifecycle.DELETING)


def update_action() -> str:
    """Return the state diagram of update actions."""
    table = {key: status.value for key, status in updates.TABLE.items()}
    return _diagram(table, first=updates.Status.NOT_APPLIED.value, last=None)


def _diagram(table: Mapping[Any, str], *, first: str, last: str | None) -> str:
    states = list(
        dict.fromkeys(state for (start, _), end in table.items() for state in (start, end))
    )
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{s}" as {_id(s)}' for s in states if _id(s) != s]
    lines.append(f"    [*] --> {_id(first)}")
    lines += [f"    {_id(a)} --> {_id(b)}: {event.value}" for (a, event), b in table.items()]
    lines += [*([f"    {last} --> [*]"] if last else []), "```"]
    return "\n".join(lines) + "\n"


def _id(state: str) -> str:
    return re.sub(r"\W", "_", state)


PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/operations.md": {
        "options": options,
        "front-end": front_end,
        "commands": command_table,
    },
    "docs/architecture.md": {
        "replication-group": lambda: diagram("replication_group"),
        "cache-cluster": lambda: diagram("cache_cluster"),
        "snapshot": lambda: diagram("snapshot"),
    },
    "docs/service-updates.md": {"update-action": update_action},
}


def rendered(path: str) -> str:
    """Return a page with its generated parts as they should be.

    Raises:
        KeyError: the page has a part that nobody makes.
        AssertionError: it lacks a part that is made for it.
    """
    makers, seen = PAGES[path], set()

    def fill(match: re.Match[str]) -> str:
        seen.add(match["name"])
        return f"{match[1]}{makers[match['name']]()}{match[3]}"

    text = REGION.sub(fill, (ROOT / path).read_text())
    assert seen == makers.keys(), f"{path} lacks {makers.keys() - seen}"
    return text


def main() -> None:
    """Write every page, or say which are not as they should be."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    stale = [path for path in PAGES if rendered(path) != (ROOT / path).read_text()]
    if check and stale:
        sys.exit(f"not what the sources say: {', '.join(stale)}; make docs")
    for path in stale:
        (ROOT / path).write_text(rendered(path))


if __name__ == "__main__":
    main()
