/** What a message of the event stream makes stale. Pure. */

import type { ServerEvent } from "./sse";

export interface Change {
  /** First parts of the query keys that are stale. */
  families: readonly string[];
  groups: readonly string[];
  clusters: readonly string[];
  /** So much is unknown that everything is read anew. */
  everything: boolean;
}

const NOTHING: Change = { families: [], groups: [], clusters: [], everything: false };

const FAMILIES: Record<string, readonly string[]> = {
  "parameter-group": ["parameter-groups", "parameters", "caches"],
  "cache-parameter-group": ["parameter-groups", "parameters", "caches"],
  "subnet-group": ["subnet-groups"],
  "cache-subnet-group": ["subnet-groups"],
  user: ["users", "user-groups"],
  "user-group": ["user-groups", "users"],
  "serverless-cache": ["serverless"],
  "serverless-snapshot": ["serverless", "snapshots"],
  "serverless-cache-snapshot": ["serverless", "snapshots"],
  snapshot: ["snapshots"],
  "global-replication-group": ["global"],
  "update-action": ["updates"],
  "service-update": ["updates"],
  "reserved-cache-node": ["reserved"],
};

export function changeOf(event: ServerEvent): Change {
  if (event.type === "gap" || event.type === "reset") {
    return { ...NOTHING, everything: true };
  }
  if (event.type === "event") {
    return { ...NOTHING, families: ["events"] };
  }
  if (event.type !== "resource") {
    return NOTHING;
  }
  let told: Record<string, unknown>;
  try {
    told = JSON.parse(event.data) as Record<string, unknown>;
  } catch {
    return NOTHING;
  }
  const type = String(told["ResourceType"] ?? "");
  const name = String(told["ResourceName"] ?? "");
  const owner = name.split("/")[0] ?? name;
  switch (type) {
    case "replication-group":
    case "node-group":
      return { ...NOTHING, groups: [owner], families: ["snapshots"] };
    case "cache-cluster":
    case "cache-node":
      return { ...NOTHING, clusters: [owner] };
    default:
      return { ...NOTHING, families: FAMILIES[type] ?? [type] };
  }
}

function both(x: readonly string[], y: readonly string[]): string[] {
  return [...new Set([...x, ...y])];
}

/** Both changes as one. */
export function merged(a: Change, b: Change): Change {
  return {
    families: both(a.families, b.families),
    groups: both(a.groups, b.groups),
    clusters: both(a.clusters, b.clusters),
    everything: a.everything || b.everything,
  };
}
