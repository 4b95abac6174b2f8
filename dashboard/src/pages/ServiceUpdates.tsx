import {
  BatchApplyUpdateActionCommand,
  BatchStopUpdateActionCommand,
  DescribeServiceUpdatesCommand,
  DescribeUpdateActionsCommand,
  type ElastiCacheClient,
  type ServiceUpdate,
  type UpdateAction,
} from "@aws-sdk/client-elasticache";
import ProgressBar from "@cloudscape-design/components/progress-bar";
import SpaceBetween from "@cloudscape-design/components/space-between";
import type { UseQueryResult } from "@tanstack/react-query";

import type { Cache } from "../api/caches";
import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { ResourcePage, type ItemAction } from "../components/ResourcePage";
import type { Column } from "../components/ResourceTable";
import { Status } from "../components/Status";
import { moment } from "../components/time";
import { useListing } from "../hooks/queries";

const RECORDS = 50;

const UPDATES: Column<ServiceUpdate>[] = [
  { id: "name", header: "Service update", cell: (one) => one.ServiceUpdateName, value: (one) => one.ServiceUpdateName ?? "", width: 240, rowHeader: true },
  { id: "status", header: "Status", cell: (one) => <Status status={one.ServiceUpdateStatus} />, value: (one) => one.ServiceUpdateStatus ?? "", width: 130 },
  { id: "severity", header: "Severity", cell: (one) => one.ServiceUpdateSeverity, value: (one) => one.ServiceUpdateSeverity ?? "", width: 120 },
  { id: "type", header: "Type", cell: (one) => one.ServiceUpdateType, value: (one) => one.ServiceUpdateType ?? "", width: 150 },
  { id: "engine", header: "Engine", cell: (one) => `${one.Engine ?? ""} ${one.EngineVersion ?? ""}`, value: (one) => one.Engine ?? "", width: 160 },
  { id: "by", header: "Apply by", cell: (one) => moment(one.ServiceUpdateRecommendedApplyByDate), value: (one) => one.ServiceUpdateRecommendedApplyByDate?.toISOString() ?? "", width: 200 },
  { id: "description", header: "Description", cell: (one) => one.ServiceUpdateDescription, value: (one) => one.ServiceUpdateDescription ?? "", width: 360 },
];

const cacheOf = (one: UpdateAction) => one.ReplicationGroupId ?? one.CacheClusterId ?? "";

const MOVING = /waiting|progress|stopping|scheduling/;

/** The nodes that an update is about, each with its part of it. */
export function nodesOf(one: UpdateAction): { name: string; status: string }[] {
  return [
    ...(one.NodeGroupUpdateStatus ?? []).flatMap((shard) =>
      (shard.NodeGroupMemberUpdateStatus ?? []).map((node) => ({ name: node.CacheClusterId ?? "", status: node.NodeUpdateStatus ?? "" })),
    ),
    ...(one.CacheNodeUpdateStatus ?? []).map((node) => ({ name: node.CacheNodeId ?? "", status: node.NodeUpdateStatus ?? "" })),
  ];
}

function Progress({ action }: { action: UpdateAction }) {
  const nodes = nodesOf(action);
  const done = nodes.filter((node) => node.status === "complete").length;
  return MOVING.test(action.UpdateActionStatus ?? "") && nodes.length > 0 ? (
    <ProgressBar value={(done / nodes.length) * 100} ariaLabel={`Update of ${cacheOf(action)}`} description={`${done} of ${nodes.length} nodes`} />
  ) : (
    <>{action.NodesUpdated ?? "–"}</>
  );
}

function Nodes({ action }: { action: UpdateAction }) {
  return (
    <>
      {nodesOf(action).map((node) => (
        <div key={node.name}>
          {node.name} <Status status={node.status} />
        </div>
      ))}
    </>
  );
}

const ACTIONS: Column<UpdateAction>[] = [
  { id: "cache", header: "Cache", cell: cacheOf, value: cacheOf, width: 200, rowHeader: true },
  { id: "name", header: "Service update", cell: (one) => one.ServiceUpdateName, value: (one) => one.ServiceUpdateName ?? "", width: 240 },
  { id: "status", header: "Status", cell: (one) => <Status status={one.UpdateActionStatus} />, value: (one) => one.UpdateActionStatus ?? "", width: 160 },
  { id: "severity", header: "Severity", cell: (one) => one.ServiceUpdateSeverity, value: (one) => one.ServiceUpdateSeverity ?? "", width: 120 },
  { id: "nodes", header: "Nodes updated", cell: (one) => <Progress action={one} />, value: (one) => one.NodesUpdated ?? "", width: 180 },
  { id: "each", header: "Each node", cell: (one) => <Nodes action={one} />, value: (one) => nodesOf(one).map((node) => `${node.name} ${node.status}`).join(", "), width: 260 },
  { id: "estimate", header: "Estimated time", cell: (one) => one.EstimatedUpdateTime ?? "–", value: (one) => one.EstimatedUpdateTime ?? "", width: 160 },
];

/** The changes that service updates make to caches; of one cache where one is named. */
export function useUpdateActions(of?: Pick<Cache, "kind" | "id">): UseQueryResult<UpdateAction[]> {
  const { client } = useApi();
  const filter = of === undefined ? {} : of.kind === "group" ? { ReplicationGroupIds: [of.id] } : { CacheClusterIds: [of.id] };
  return useListing(
    ["updates", "actions", filter],
    async (Marker, abortSignal) => {
      const reply = await client.send(new DescribeUpdateActionsCommand({ MaxRecords: RECORDS, Marker, ShowNodeLevelUpdateStatus: true, ...filter }), { abortSignal });
      return { items: reply.UpdateActions ?? [], marker: reply.Marker };
    },
    { moving: (actions) => actions.some((one) => MOVING.test(one.UpdateActionStatus ?? "")), unstreamed: true },
  );
}

function refusalOf(reply: { UnprocessedUpdateActions?: { ErrorMessage?: string | undefined; ErrorType?: string | undefined }[] | undefined }): void {
  const [refused] = reply.UnprocessedUpdateActions ?? [];
  if (refused) {
    const error = new Error(refused.ErrorMessage ?? "The update action was not processed.");
    error.name = refused.ErrorType ?? "UnprocessedUpdateAction";
    throw error;
  }
}

function target(one: UpdateAction) {
  return {
    ServiceUpdateName: one.ServiceUpdateName,
    ...(one.ReplicationGroupId ? { ReplicationGroupIds: [one.ReplicationGroupId] } : { CacheClusterIds: [one.CacheClusterId ?? ""] }),
  };
}

export function updateItemActions(client: ElastiCacheClient): ItemAction<UpdateAction>[] {
  return [
    {
      id: "apply",
      text: "Apply now",
      disabled: (one) => !["not-applied", "stopped", "scheduled"].includes(one.UpdateActionStatus ?? ""),
      form: (one) => ({
        title: `Apply ${one.ServiceUpdateName} to ${cacheOf(one)}?`,
        submitLabel: "Apply now",
        initial: {},
        fields: [],
        intro: "Nodes are updated one after the other, replicas first; the cache serves meanwhile.",
        submit: async () => refusalOf(await client.send(new BatchApplyUpdateActionCommand(target(one)))),
        done: () => `${one.ServiceUpdateName} is being applied to ${cacheOf(one)}.`,
      }),
    },
    {
      id: "stop",
      text: "Stop update",
      disabled: (one) => !/progress|waiting|schedul/.test(one.UpdateActionStatus ?? ""),
      form: (one) => ({
        title: `Stop ${one.ServiceUpdateName} on ${cacheOf(one)}?`,
        submitLabel: "Stop",
        initial: {},
        fields: [],
        intro: "Nodes that are updated stay so.",
        submit: async () => refusalOf(await client.send(new BatchStopUpdateActionCommand(target(one)))),
        done: () => `${one.ServiceUpdateName} is being stopped on ${cacheOf(one)}.`,
      }),
    },
  ];
}

export function UpdateActions({ cache }: { cache?: Cache }) {
  const { client } = useApi();
  return (
    <ResourcePage
      name="update-actions"
      title="Update actions"
      noun="update action"
      variant="container"
      query={useUpdateActions(cache)}
      columns={ACTIONS}
      nameOf={(one) => `${cacheOf(one)} ${one.ServiceUpdateName}`}
      changes={["updates", "caches", "events"]}
      empty="Nothing has to be updated."
      actions={updateItemActions(client)}
    />
  );
}

export default function ServiceUpdates() {
  usePage({ text: "Service updates" });
  const { client } = useApi();
  const updates = useListing(["updates", "all"], async (Marker, abortSignal) => {
    const reply = await client.send(new DescribeServiceUpdatesCommand({ MaxRecords: RECORDS, Marker }), { abortSignal });
    return { items: reply.ServiceUpdates ?? [], marker: reply.Marker };
  });
  return (
    <SpaceBetween size="l">
      <ResourcePage
        name="service-updates"
        title="Service updates"
        noun="service update"
        variant="container"
        query={updates}
        columns={UPDATES}
        nameOf={(one) => one.ServiceUpdateName ?? ""}
        changes={["updates"]}
        empty="No service updates."
      />
      <UpdateActions />
    </SpaceBetween>
  );
}
