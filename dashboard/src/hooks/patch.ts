/** Brings what is on the page up to date with a change, by asking for no more than what changed. */

import {
  DescribeCacheClustersCommand,
  DescribeReplicationGroupsCommand,
  type CacheCluster,
  type ElastiCacheClient,
  type ReplicationGroup,
} from "@aws-sdk/client-elasticache";
import type { QueryClient } from "@tanstack/react-query";

import type { Change } from "../api/changes";
import { toApiError } from "../api/errors";

export interface CacheRecords {
  groups: ReplicationGroup[];
  clusters: CacheCluster[];
  complete: boolean;
}

export const CACHES_KEY = ["caches", "all"] as const;
/** More resources than this at once, and the whole list is read anew, but not often. */
const NAMED_MAX = 8;
export const REREAD_MIN_MS = 5_000;

export class Patcher {
  private rereadAt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly client: ElastiCacheClient,
    private readonly queries: QueryClient,
    private readonly now: () => number = () => performance.now(),
  ) {}

  stop(): void {
    clearTimeout(this.timer);
  }

  async apply(change: Change): Promise<void> {
    if (change.everything) {
      await this.queries.invalidateQueries();
      return;
    }
    for (const family of change.families) {
      void this.queries.invalidateQueries({ queryKey: [family] });
    }
    if (change.groups.length + change.clusters.length === 0) {
      return;
    }
    const owners = this.ownersOf(change);
    void this.queries.invalidateQueries({
      predicate: ({ queryKey: [family, kind, id] }) =>
        (family === "caches" || family === "topology") &&
        ((kind === "group" && owners.groups.has(String(id))) ||
          (kind === "cluster" && owners.clusters.has(String(id)))),
    });
    await this.patchList(change);
  }

  /** The caches whose pages show what changed: groups by name or by a member, clusters by name. */
  private ownersOf(change: Change): { groups: Set<string>; clusters: Set<string> } {
    const groups = new Set(change.groups);
    const clusters = new Set(change.clusters);
    const known = this.queries.getQueryData<CacheRecords>(CACHES_KEY)?.clusters ?? [];
    for (const cluster of known) {
      if (cluster.ReplicationGroupId && clusters.has(cluster.CacheClusterId ?? "")) {
        groups.add(cluster.ReplicationGroupId);
      }
    }
    // Members that are not known yet are named after their group.
    for (const name of change.clusters) {
      const parts = name.split("-");
      for (let count = 1; count <= 2 && count < parts.length; count++) {
        groups.add(parts.slice(0, -count).join("-"));
      }
    }
    return { groups, clusters };
  }

  private async patchList(change: Change): Promise<void> {
    const query = this.queries.getQueryCache().find({ queryKey: CACHES_KEY });
    if (!query || query.state.data === undefined) {
      return;
    }
    if (!query.isActive()) {
      await this.queries.invalidateQueries({ queryKey: CACHES_KEY, refetchType: "none" });
      return;
    }
    if (change.groups.length + change.clusters.length > NAMED_MAX) {
      this.reread();
      return;
    }
    const [groups, clusters] = await Promise.all([
      Promise.all(change.groups.map((name) => this.group(name))),
      Promise.all(change.clusters.map((name) => this.cluster(name))),
    ]);
    this.queries.setQueryData<CacheRecords>(CACHES_KEY, (before) =>
      before && {
        complete: before.complete,
        groups: replaced(before.groups, groups, (one) => one.ReplicationGroupId),
        clusters: replaced(before.clusters, clusters, (one) => one.CacheClusterId),
      },
    );
  }

  private reread(): void {
    if (this.timer !== undefined) {
      return;
    }
    const wait = Math.max(0, this.rereadAt + REREAD_MIN_MS - this.now());
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.rereadAt = this.now();
      void this.queries.invalidateQueries({ queryKey: CACHES_KEY });
    }, wait);
  }

  private async group(name: string): Promise<Found<ReplicationGroup>> {
    return found(name, async () => {
      const reply = await this.client.send(new DescribeReplicationGroupsCommand({ ReplicationGroupId: name }));
      return reply.ReplicationGroups?.[0];
    });
  }

  private async cluster(name: string): Promise<Found<CacheCluster>> {
    return found(name, async () => {
      const reply = await this.client.send(new DescribeCacheClustersCommand({ CacheClusterId: name }));
      return reply.CacheClusters?.[0];
    });
  }
}

export interface Found<T> {
  name: string;
  /** Undefined where it is gone; where it could not be asked for, what is known stays. */
  item: T | undefined;
  known: boolean;
}

async function found<T>(name: string, read: () => Promise<T | undefined>): Promise<Found<T>> {
  try {
    return { name, item: await read(), known: true };
  } catch (error) {
    return { name, item: undefined, known: toApiError(error).notFound };
  }
}

/** *items* with what was found in the place of what had its name. */
export function replaced<T>(
  items: readonly T[],
  changes: readonly Found<T>[],
  nameOf: (item: T) => string | undefined,
): T[] {
  const known = changes.filter((change) => change.known);
  const names = new Set(known.map((change) => change.name));
  const kept = items.filter((item) => !names.has(nameOf(item) ?? ""));
  const order = new Map(items.map((item, at) => [nameOf(item), at]));
  return [...kept, ...known.flatMap((change) => (change.item === undefined ? [] : [change.item]))].sort(
    (a, b) => (order.get(nameOf(a)) ?? Infinity) - (order.get(nameOf(b)) ?? Infinity),
  );
}
