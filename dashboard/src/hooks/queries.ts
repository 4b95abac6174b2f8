/** What pages read. Keys begin with the family that changes make stale. */

import {
  DescribeCacheClustersCommand,
  DescribeCacheEngineVersionsCommand,
  DescribeCacheParameterGroupsCommand,
  DescribeCacheSubnetGroupsCommand,
  DescribeEventsCommand,
  DescribeReplicationGroupsCommand,
  DescribeSnapshotsCommand,
  DescribeUserGroupsCommand,
  DescribeUsersCommand,
  type CacheCluster,
  type CacheEngineVersion,
  type CacheParameterGroup,
  type CacheSubnetGroup,
  type ElastiCacheClient,
  type Event,
  type Snapshot,
  type SourceType,
  type User,
  type UserGroup,
} from "@aws-sdk/client-elasticache";
import { useQuery, useQueryClient, type QueryClient, type UseQueryResult } from "@tanstack/react-query";
import { useMemo } from "react";

import { clusterCache, groupCache, isMoving, toCaches, type Cache, type CacheKind } from "../api/caches";
import { toApiError } from "../api/errors";
import { useApi } from "../app/Providers";
import { useLive } from "../app/live";
import { CACHES_KEY, type CacheRecords } from "./patch";

export const PAGE_RECORDS = 100;
const FIRST_RECORDS = 20;
const PAGES_MAX = 200;
const MEMBER_CALLS_MAX = 12;
const POLL_MOVING_MS = 2_000;
const POLL_SETTLED_MS = 15_000;
/** A stream may miss what nobody writes an event about; this is how late that may show. */
const POLL_STREAMED_MS = 60_000;

interface Page<T> {
  items: T[];
  marker: string | undefined;
}

/** Read page after page; *onPage* gets what there is so far. */
export async function collect<T>(
  read: (marker: string | undefined) => Promise<Page<T>>,
  onPage?: (items: T[]) => void,
): Promise<T[]> {
  const all: T[] = [];
  let marker: string | undefined;
  for (let count = 0; count < PAGES_MAX; count++) {
    const page = await read(marker);
    all.push(...page.items);
    marker = page.marker;
    if (!marker) {
      return all;
    }
    onPage?.([...all]);
  }
  return all;
}

async function readCaches(client: ElastiCacheClient, queries: QueryClient, signal: AbortSignal): Promise<CacheRecords> {
  const before = queries.getQueryData<CacheRecords>(CACHES_KEY);
  const seen: CacheRecords = { groups: [], clusters: [], complete: false };
  const show = (part: Partial<CacheRecords>) => {
    Object.assign(seen, part);
    // What is on the page already is not taken away while it is read again.
    if (!before?.complete && !signal.aborted) {
      queries.setQueryData<CacheRecords>(CACHES_KEY, { ...seen });
    }
  };
  const options = { abortSignal: signal };
  const groups = collect(
    async (marker) => {
      // The first rows are there soonest where little is asked for at first.
      const MaxRecords = marker === undefined ? FIRST_RECORDS : PAGE_RECORDS;
      const reply = await client.send(new DescribeReplicationGroupsCommand({ MaxRecords, Marker: marker }), options);
      return { items: reply.ReplicationGroups ?? [], marker: reply.Marker };
    },
    (items) => show({ groups: items }),
  );
  const allGroups = await groups;
  show({ groups: allGroups });
  const clusters = await collect(
    async (marker) => {
      const reply = await client.send(
        new DescribeCacheClustersCommand({ MaxRecords: PAGE_RECORDS, Marker: marker }),
        options,
      );
      return { items: reply.CacheClusters ?? [], marker: reply.Marker };
    },
    (items) => show({ clusters: items }),
  );
  return { groups: allGroups, clusters, complete: true };
}

/** Begin to read the caches before there is a page that shows them. */
export function prefetchCaches(client: ElastiCacheClient, queries: QueryClient): void {
  void queries.prefetchQuery({ queryKey: CACHES_KEY, queryFn: ({ signal }) => readCaches(client, queries, signal) });
}

export interface Caches {
  caches: Cache[] | undefined;
  complete: boolean;
  query: UseQueryResult<CacheRecords>;
}

export function useCaches(): Caches {
  const { client } = useApi();
  const queries = useQueryClient();
  const interval = useInterval();
  const query = useQuery({
    queryKey: CACHES_KEY,
    queryFn: ({ signal }) => readCaches(client, queries, signal),
    refetchInterval: ({ state }) =>
      interval((state.data?.groups ?? []).some((group) => isMoving(group.Status ?? "")) ||
        (state.data?.clusters ?? []).some((one) => isMoving(one.CacheClusterStatus ?? ""))),
  });
  const caches = useMemo(
    () => (query.data ? toCaches(query.data.groups, query.data.clusters) : undefined),
    [query.data],
  );
  return { caches, complete: query.data?.complete ?? false, query };
}

/** How often to look again, given whether something is on its way. */
function useInterval(unstreamed = false): (moving: boolean) => number {
  const live = useLive();
  // Of some resources the stream tells nothing: theirs is the pace of a page without one.
  const connected = live.connected && !unstreamed;
  return (moving) => (connected ? (moving ? POLL_SETTLED_MS : POLL_STREAMED_MS) : moving ? POLL_MOVING_MS : POLL_SETTLED_MS);
}

export interface CacheRecord {
  cache: Cache;
  members: CacheCluster[];
}

/** One cache with its members; the query fails with NotFound once it is gone. */
export function useCache(kind: CacheKind, id: string): UseQueryResult<CacheRecord> {
  const { client } = useApi();
  const interval = useInterval();
  return useQuery({
    queryKey: ["caches", kind, id],
    queryFn: async ({ signal }) => readCache(client, kind, id, signal),
    refetchInterval: ({ state }) =>
      state.error && toApiError(state.error).notFound ? false : interval(isMoving(state.data?.cache.status ?? "")),
  });
}

async function readCache(client: ElastiCacheClient, kind: CacheKind, id: string, signal: AbortSignal): Promise<CacheRecord> {
  const options = { abortSignal: signal };
  const cluster = async (name: string) => {
    const reply = await client.send(
      new DescribeCacheClustersCommand({ CacheClusterId: name, ShowCacheNodeInfo: true }),
      options,
    );
    return reply.CacheClusters ?? [];
  };
  if (kind === "cluster") {
    const [found] = await cluster(id);
    return { cache: clusterCache(found ?? {}), members: found ? [found] : [] };
  }
  const reply = await client.send(new DescribeReplicationGroupsCommand({ ReplicationGroupId: id }), options);
  const group = reply.ReplicationGroups?.[0] ?? {};
  const names = group.MemberClusters ?? [];
  let members: CacheCluster[];
  if (names.length <= MEMBER_CALLS_MAX) {
    // A member may go between two calls: what is left of the group is still shown.
    const parts = await Promise.allSettled(names.map(cluster));
    members = parts.flatMap((part) => (part.status === "fulfilled" ? part.value : []));
  } else {
    const all = await collect(async (marker) => {
      const page = await client.send(
        new DescribeCacheClustersCommand({ MaxRecords: PAGE_RECORDS, Marker: marker, ShowCacheNodeInfo: true }),
        options,
      );
      return { items: page.CacheClusters ?? [], marker: page.Marker };
    });
    members = all.filter((one) => one.ReplicationGroupId === id);
  }
  return { cache: groupCache(group, members[0]), members };
}

export function useListing<T>(
  key: readonly unknown[],
  read: (marker: string | undefined, signal: AbortSignal) => Promise<Page<T>>,
  options: { enabled?: boolean; moving?: (items: T[]) => boolean; unstreamed?: boolean } = {},
): UseQueryResult<T[]> {
  const interval = useInterval(options.unstreamed ?? false);
  return useQuery({
    queryKey: key,
    queryFn: ({ signal }) => collect((marker) => read(marker, signal)),
    enabled: options.enabled ?? true,
    refetchInterval: ({ state }) =>
      state.error ? false : interval(options.moving?.(state.data ?? []) ?? false),
  });
}

export function useParameterGroups(): UseQueryResult<CacheParameterGroup[]> {
  const { client } = useApi();
  return useListing(["parameter-groups"], async (Marker, abortSignal) => {
    const reply = await client.send(
      new DescribeCacheParameterGroupsCommand({ MaxRecords: PAGE_RECORDS, Marker }),
      { abortSignal },
    );
    return { items: reply.CacheParameterGroups ?? [], marker: reply.Marker };
  });
}

export function useSubnetGroups(): UseQueryResult<CacheSubnetGroup[]> {
  const { client } = useApi();
  return useListing(["subnet-groups"], async (Marker, abortSignal) => {
    const reply = await client.send(
      new DescribeCacheSubnetGroupsCommand({ MaxRecords: PAGE_RECORDS, Marker }),
      { abortSignal },
    );
    return { items: reply.CacheSubnetGroups ?? [], marker: reply.Marker };
  });
}

export function useEngineVersions(): UseQueryResult<CacheEngineVersion[]> {
  const { client } = useApi();
  return useListing(["engine-versions"], async (Marker, abortSignal) => {
    const reply = await client.send(
      new DescribeCacheEngineVersionsCommand({ MaxRecords: PAGE_RECORDS, Marker }),
      { abortSignal },
    );
    return { items: reply.CacheEngineVersions ?? [], marker: reply.Marker };
  });
}

export function useUsers(): UseQueryResult<User[]> {
  const { client } = useApi();
  return useListing(
    ["users"],
    async (Marker, abortSignal) => {
      const reply = await client.send(new DescribeUsersCommand({ MaxRecords: PAGE_RECORDS, Marker }), { abortSignal });
      return { items: reply.Users ?? [], marker: reply.Marker };
    },
    { moving: (users) => users.some((user) => isMoving(user.Status ?? "")) },
  );
}

export function useUserGroups(): UseQueryResult<UserGroup[]> {
  const { client } = useApi();
  return useListing(
    ["user-groups"],
    async (Marker, abortSignal) => {
      const reply = await client.send(new DescribeUserGroupsCommand({ MaxRecords: PAGE_RECORDS, Marker }), { abortSignal });
      return { items: reply.UserGroups ?? [], marker: reply.Marker };
    },
    { moving: (groups) => groups.some((group) => isMoving(group.Status ?? "")) },
  );
}

const SNAPSHOT_RECORDS = 50;

export function useSnapshots(of?: Cache): UseQueryResult<Snapshot[]> {
  const { client } = useApi();
  const filter =
    of === undefined ? {} : of.kind === "group" ? { ReplicationGroupId: of.id } : { CacheClusterId: of.id };
  return useListing(
    ["snapshots", filter],
    async (Marker, abortSignal) => {
      const reply = await client.send(
        new DescribeSnapshotsCommand({ MaxRecords: SNAPSHOT_RECORDS, ShowNodeGroupConfig: true, Marker, ...filter }),
        { abortSignal },
      );
      return { items: reply.Snapshots ?? [], marker: reply.Marker };
    },
    { moving: (snapshots) => snapshots.some((one) => isMoving(one.SnapshotStatus ?? "")) },
  );
}

/** The events of some days, newest first; of one source where one is named. */
export function useEvents(options: { days: number; source?: string; sourceType?: SourceType }): UseQueryResult<Event[]> {
  const { client } = useApi();
  return useListing(["events", options], async (Marker, abortSignal) => {
    const reply = await client.send(
      new DescribeEventsCommand({
        Duration: options.days * 24 * 60,
        MaxRecords: PAGE_RECORDS,
        Marker,
        ...(options.source ? { SourceIdentifier: options.source } : {}),
        ...(options.sourceType ? { SourceType: options.sourceType } : {}),
      }),
      { abortSignal },
    );
    return { items: reply.Events ?? [], marker: reply.Marker };
  });
}
