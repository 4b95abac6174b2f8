import {
  CreateGlobalReplicationGroupCommand,
  DeleteGlobalReplicationGroupCommand,
  DescribeGlobalReplicationGroupsCommand,
  DisassociateGlobalReplicationGroupCommand,
  FailoverGlobalReplicationGroupCommand,
  type GlobalReplicationGroup,
} from "@aws-sdk/client-elasticache";

import { isMoving } from "../api/caches";
import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { flag, text, type Option, type Values } from "../components/fields";
import { ResourcePage } from "../components/ResourcePage";
import type { Column } from "../components/ResourceTable";
import { Status } from "../components/Status";
import { PAGE_RECORDS, useCaches, useListing } from "../hooks/queries";

const nameOf = (one: GlobalReplicationGroup) => one.GlobalReplicationGroupId ?? "";
const members = (one: GlobalReplicationGroup) =>
  (one.Members ?? []).map((member) => `${member.ReplicationGroupId} (${member.ReplicationGroupRegion}, ${(member.Role ?? "").toLowerCase()})`).join(", ");
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
  { id: "members", header: "Members", cell: members, value: members, width: 420 },
];

const MEMBER = { key: "member", kind: "select", label: "Member", apiNames: ["PrimaryReplicationGroupId", "ReplicationGroupId"] } as const;

function place(values: Values): { group: string | undefined; region: string | undefined } {
  const [group, region] = text(values, "member").split(" ");
  return { group, region };
}

export default function GlobalDatastores() {
  usePage({ text: "Global datastores" });
  const { client } = useApi();
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
    { moving: (all) => all.some((one) => isMoving(one.Status ?? "")) },
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
