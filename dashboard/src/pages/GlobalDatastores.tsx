import {
  CreateGlobalReplicationGroupCommand,
  CreateReplicationGroupCommand,
  DecreaseNodeGroupsInGlobalReplicationGroupCommand,
  DeleteGlobalReplicationGroupCommand,
  DescribeGlobalReplicationGroupsCommand,
  DisassociateGlobalReplicationGroupCommand,
  FailoverGlobalReplicationGroupCommand,
  IncreaseNodeGroupsInGlobalReplicationGroupCommand,
  ModifyGlobalReplicationGroupCommand,
  RebalanceSlotsInGlobalReplicationGroupCommand,
  type GlobalReplicationGroup,
} from "@aws-sdk/client-elasticache";

import { isMoving } from "../api/caches";
import { makeClient } from "../api/client";
import { REGIONS } from "../api/session";
import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { flag, number, text, type Option, type Values } from "../components/fields";
import { ResourcePage } from "../components/ResourcePage";
import type { Column } from "../components/ResourceTable";
import { Status } from "../components/Status";
import { PAGE_RECORDS, useCaches, useListing } from "../hooks/queries";

const nameOf = (one: GlobalReplicationGroup) => one.GlobalReplicationGroupId ?? "";
const members = (one: GlobalReplicationGroup) =>
  (one.Members ?? []).map((member) => `${member.ReplicationGroupId} (${member.ReplicationGroupRegion}, ${(member.Role ?? "").toLowerCase()})`).join(", ");
const shardIds = (one: GlobalReplicationGroup) => (one.GlobalNodeGroups ?? []).map((shard) => shard.GlobalNodeGroupId ?? "").sort();
const atRest = (one: GlobalReplicationGroup) => ["available", "primary-only"].includes(one.Status ?? "");
const secondaries = (one: GlobalReplicationGroup): Option[] =>
  (one.Members ?? [])
    .filter((member) => member.Role !== "PRIMARY")
    .map((member) => {
      const place = `${member.ReplicationGroupId} ${member.ReplicationGroupRegion}`;
      return { value: place, label: place };
    });

const COLUMNS: Column<GlobalReplicationGroup>[] = [
  { id: "name", header: "Global datastore", cell: nameOf, value: nameOf, width: 240, rowHeader: true },
  { id: "status", header: "Status", cell: (one) => <Status status={one.Status} />, value: (one) => one.Status ?? "", width: 140 },
  { id: "description", header: "Description", cell: (one) => one.GlobalReplicationGroupDescription, value: (one) => one.GlobalReplicationGroupDescription ?? "", width: 220 },
  { id: "engine", header: "Engine", cell: (one) => `${one.Engine ?? ""} ${one.EngineVersion ?? ""}`, value: (one) => one.Engine ?? "", width: 140 },
  { id: "type", header: "Node type", cell: (one) => one.CacheNodeType, value: (one) => one.CacheNodeType ?? "", width: 150 },
  { id: "shards", header: "Shards", cell: (one) => (one.ClusterEnabled ? shardIds(one).length : "–"), value: (one) => shardIds(one).length, width: 100 },
  { id: "members", header: "Members", cell: members, value: members, width: 420 },
];

const MEMBER = { key: "member", kind: "select", label: "Member", apiNames: ["PrimaryReplicationGroupId", "ReplicationGroupId"] } as const;

function place(values: Values): { group: string | undefined; region: string | undefined } {
  const [group, region] = text(values, "member").split(" ");
  return { group, region };
}

export default function GlobalDatastores() {
  usePage({ text: "Global datastores" });
  const { client, session } = useApi();
  const { caches } = useCaches();
  const query = useListing(
    ["global"],
    async (Marker, abortSignal) => {
      const reply = await client.send(
        new DescribeGlobalReplicationGroupsCommand({ MaxRecords: PAGE_RECORDS, Marker, ShowMemberInfo: true }),
        { abortSignal },
      );
      return { items: reply.GlobalReplicationGroups ?? [], marker: reply.Marker };
    },
    { moving: (all) => all.some((one) => isMoving(one.Status ?? "") && one.Status !== "primary-only"), unstreamed: true },
  );
  return (
    <ResourcePage
      name="global"
      title="Global datastores"
      noun="global datastore"
      query={query}
      columns={COLUMNS}
      nameOf={nameOf}
      changes={["global", "caches", "events"]}
      empty="No global datastores. One replicates a cache to caches in other regions."
      create={{
        label: "Create global datastore",
        form: () => ({
          title: "Create global datastore",
          submitLabel: "Create",
          initial: { suffix: "", description: "", primary: "" },
          fields: [
            { key: "suffix", kind: "text", label: "Name", apiNames: ["GlobalReplicationGroupIdSuffix"], faults: [/GlobalReplicationGroupAlreadyExists/] },
            { key: "description", kind: "text", label: "Description", optional: true, apiNames: ["GlobalReplicationGroupDescription"] },
            {
              key: "primary",
              kind: "select",
              label: "Primary cache",
              apiNames: ["PrimaryReplicationGroupId"],
              faults: [/ReplicationGroup(NotFound|State)|InvalidReplicationGroupState/],
              options: (caches ?? []).filter((cache) => cache.kind === "group").map(({ id, engine }) => ({ value: id, label: id, description: engine })),
            },
          ],
          submit: (values) =>
            client.send(
              new CreateGlobalReplicationGroupCommand({
                GlobalReplicationGroupIdSuffix: text(values, "suffix"),
                GlobalReplicationGroupDescription: text(values, "description"),
                PrimaryReplicationGroupId: text(values, "primary"),
              }),
            ),
          done: (values) => `The global datastore ${text(values, "suffix")} is being created.`,
        }),
      }}
      actions={[
        {
          id: "add",
          text: "Add a region",
          disabled: (one) => !atRest(one),
          form: (one) => ({
            title: `Add a region to ${nameOf(one)}`,
            submitLabel: "Add region",
            intro: "A cache is created there. It has the engine, node type, shards and data of the primary, and takes no writes.",
            initial: { region: "", name: "", description: "", replicas: "1" },
            fields: [
              {
                key: "region",
                kind: "select",
                label: "Region",
                apiNames: ["region"],
                options: REGIONS.filter((id) => !(one.Members ?? []).some((member) => member.ReplicationGroupRegion === id)).map((id) => ({ value: id, label: id })),
              },
              { key: "name", kind: "text", label: "Name of the secondary cache", apiNames: ["ReplicationGroupId"], faults: [/^ReplicationGroupAlreadyExists/] },
              { key: "description", kind: "text", label: "Description", optional: true, apiNames: ["ReplicationGroupDescription"] },
              { key: "replicas", kind: "number", label: "Replicas of each shard", apiNames: ["NumCacheClusters", "ReplicasPerNodeGroup"] },
            ],
            submit: (values) => {
              const replicas = number(values, "replicas") ?? 0;
              return makeClient({ ...session, region: text(values, "region") }).send(
                new CreateReplicationGroupCommand({
                  ReplicationGroupId: text(values, "name"),
                  ReplicationGroupDescription: text(values, "description") || " ",
                  GlobalReplicationGroupId: nameOf(one),
                  ...(one.ClusterEnabled ? { ReplicasPerNodeGroup: replicas } : { NumCacheClusters: replicas + 1 }),
                }),
              );
            },
            done: (values) => `${text(values, "name")} is being created in ${text(values, "region")}.`,
          }),
        },
        {
          id: "modify",
          text: "Modify",
          disabled: (one) => !atRest(one),
          form: (one) => {
            const initial = { description: one.GlobalReplicationGroupDescription ?? "", nodeType: one.CacheNodeType ?? "" };
            return {
              title: `Modify ${nameOf(one)}`,
              submitLabel: "Modify",
              intro: "Changes are made in every region, at once.",
              initial,
              fields: [
                { key: "description", kind: "text", label: "Description", optional: true, apiNames: ["GlobalReplicationGroupDescription"] },
                { key: "nodeType", kind: "text", label: "Node type", apiNames: ["CacheNodeType"] },
              ],
              submit: (values) =>
                client.send(
                  new ModifyGlobalReplicationGroupCommand({
                    GlobalReplicationGroupId: nameOf(one),
                    ApplyImmediately: true,
                    GlobalReplicationGroupDescription: text(values, "description") === initial.description ? undefined : text(values, "description"),
                    CacheNodeType: text(values, "nodeType") === initial.nodeType ? undefined : text(values, "nodeType"),
                  }),
                ),
              done: () => `${nameOf(one)} is being modified.`,
            };
          },
        },
        {
          id: "shards",
          text: "Add or delete shards",
          disabled: (one) => !atRest(one) || one.ClusterEnabled !== true,
          form: (one) => ({
            title: `Shards of ${nameOf(one)}`,
            submitLabel: "Apply",
            intro: "Slots move in every region alike; the last shards are the ones that go.",
            initial: { count: String(shardIds(one).length) },
            fields: [{ key: "count", kind: "number", label: "Number of shards", apiNames: ["NodeGroupCount"] }],
            submit: (values) => {
              const count = number(values, "count") ?? 0;
              const shared = { GlobalReplicationGroupId: nameOf(one), NodeGroupCount: count, ApplyImmediately: true };
              return count < shardIds(one).length
                ? client.send(new DecreaseNodeGroupsInGlobalReplicationGroupCommand({ ...shared, GlobalNodeGroupsToRemove: shardIds(one).slice(Math.max(count, 0)) }))
                : client.send(new IncreaseNodeGroupsInGlobalReplicationGroupCommand(shared));
            },
            done: (values) => `${nameOf(one)} is being changed to ${text(values, "count")} shards.`,
          }),
        },
        {
          id: "rebalance",
          text: "Rebalance slots",
          disabled: (one) => !atRest(one) || one.ClusterEnabled !== true,
          form: (one) => ({
            title: `Rebalance the slots of ${nameOf(one)}?`,
            submitLabel: "Rebalance",
            intro: "Slots move until every shard has as many, in every region.",
            initial: {},
            fields: [],
            submit: () => client.send(new RebalanceSlotsInGlobalReplicationGroupCommand({ GlobalReplicationGroupId: nameOf(one), ApplyImmediately: true })),
            done: () => `The slots of ${nameOf(one)} are being rebalanced.`,
          }),
        },
        {
          id: "promote",
          text: "Promote to primary",
          disabled: (one) => secondaries(one).length === 0,
          form: (one) => ({
            title: `Promote a region of ${nameOf(one)}`,
            submitLabel: "Promote",
            initial: { member: "" },
            fields: [{ ...MEMBER, options: secondaries(one) }],
            submit: (values) =>
              client.send(
                new FailoverGlobalReplicationGroupCommand({
                  GlobalReplicationGroupId: nameOf(one),
                  PrimaryRegion: place(values).region,
                  PrimaryReplicationGroupId: place(values).group,
                }),
              ),
            done: (values) => `${text(values, "member")} is being promoted.`,
          }),
        },
        {
          id: "remove",
          text: "Remove a region",
          disabled: (one) => secondaries(one).length === 0,
          form: (one) => ({
            title: `Remove a region from ${nameOf(one)}`,
            submitLabel: "Remove",
            initial: { member: "" },
            fields: [{ ...MEMBER, options: secondaries(one) }],
            submit: (values) =>
              client.send(
                new DisassociateGlobalReplicationGroupCommand({
                  GlobalReplicationGroupId: nameOf(one),
                  ReplicationGroupId: place(values).group,
                  ReplicationGroupRegion: place(values).region,
                }),
              ),
            done: (values) => `${text(values, "member")} is being removed.`,
          }),
        },
      ]}
      remove={{
        act: (name, values) =>
          client.send(
            new DeleteGlobalReplicationGroupCommand({ GlobalReplicationGroupId: name, RetainPrimaryReplicationGroup: flag(values, "retain") }),
          ),
        initial: { retain: true },
        fields: [{ key: "retain", kind: "check", label: "Keep the primary cache" }],
      }}
    />
  );
}
