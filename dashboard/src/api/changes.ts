/** Which parts of the page an event makes stale. Pure. */

import type { ServerEvent } from "./sse";

/** The beginning of the query keys that are stale. */
export type LiveChange = readonly string[];

const FAMILIES: Record<string, readonly string[]> = {
  "replication-group": ["caches", "topology"],
  "cache-cluster": ["caches", "topology"],
  "cache-parameter-group": ["parameter-groups", "parameters", "caches"],
  "cache-subnet-group": ["subnet-groups"],
  "cache-security-group": [],
  user: ["users", "user-groups"],
  "user-group": ["user-groups", "users", "caches"],
  "serverless-cache": ["serverless"],
  "serverless-cache-snapshot": ["serverless"],
  snapshot: ["snapshots"],
};

export function familiesOf(event: ServerEvent): LiveChange[] {
  let told: Record<string, unknown>;
  try {
    told = JSON.parse(event.data) as Record<string, unknown>;
  } catch {
    return [];
  }
  const type = String(told["SourceType"] ?? told["source_type"] ?? told["resource_type"] ?? "");
  const message = String(told["Message"] ?? told["message"] ?? "");
  const families = FAMILIES[type] ?? ["caches"];
  const more = /snapshot|backup/i.test(message) ? ["snapshots"] : [];
  return [...new Set([...families, ...more, "events"])].map((family) => [family]);
}
