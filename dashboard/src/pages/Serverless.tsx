import {
  CreateServerlessCacheCommand,
  CreateServerlessCacheSnapshotCommand,
  DeleteServerlessCacheCommand,
  DescribeServerlessCachesCommand,
  ModifyServerlessCacheCommand,
  type ServerlessCache,
} from "@aws-sdk/client-elasticache";

import { engineName, hostPort, isMoving, toHostPort } from "../api/caches";
import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { Copyable } from "../components/Copyable";
import { number, orNone, tagsOf, text, type Field, type Values } from "../components/fields";
import { ResourcePage } from "../components/ResourcePage";
import type { Column } from "../components/ResourceTable";
import { Status } from "../components/Status";
import { moment } from "../components/time";
import { useListing } from "../hooks/queries";

const RECORDS = 50;
const nameOf = (cache: ServerlessCache) => cache.ServerlessCacheName ?? "";

const COLUMNS: Column<ServerlessCache>[] = [
  { id: "name", header: "Cache name", cell: nameOf, value: nameOf, width: 200, rowHeader: true },
  { id: "status", header: "Status", cell: (cache) => <Status status={cache.Status} />, value: (cache) => cache.Status ?? "", width: 130 },
  { id: "engine", header: "Engine", cell: (cache) => engineName(cache.Engine ?? ""), value: (cache) => cache.Engine ?? "", width: 120 },
  { id: "version", header: "Version", cell: (cache) => cache.FullEngineVersion ?? cache.MajorEngineVersion, value: (cache) => cache.FullEngineVersion ?? "", width: 110 },
  { id: "storage", header: "Storage, GB at most", cell: (cache) => cache.CacheUsageLimits?.DataStorage?.Maximum ?? "–", width: 160 },
  { id: "ecpu", header: "ECPU/s at most", cell: (cache) => cache.CacheUsageLimits?.ECPUPerSecond?.Maximum ?? "–", width: 140 },
  { id: "endpoint", header: "Endpoint", cell: (cache) => <Copyable text={hostPort(toHostPort(cache.Endpoint))} label="endpoint" />, value: (cache) => hostPort(toHostPort(cache.Endpoint)), width: 240 },
  { id: "created", header: "Created", cell: (cache) => moment(cache.CreateTime), value: (cache) => cache.CreateTime?.toISOString() ?? "", width: 200 },
];

const DESCRIPTION: Field = { key: "description", kind: "text", label: "Description", optional: true, apiNames: ["Description"] };
const STORAGE: Field = { key: "storage", kind: "number", label: "Storage limit in GB", optional: true, apiNames: ["DataStorage", "CacheUsageLimits"] };
const ECPU: Field = { key: "ecpu", kind: "number", label: "Limit of ECPU per second", optional: true, apiNames: ["ECPUPerSecond"] };
const USERS: Field = { key: "users", kind: "text", label: "User group", optional: true, apiNames: ["UserGroupId", "user group"] };

function limits(values: Values) {
  const storage = number(values, "storage");
  const ecpu = number(values, "ecpu");
  return storage === undefined && ecpu === undefined
    ? undefined
    : {
        DataStorage: storage === undefined ? undefined : { Maximum: storage, Unit: "GB" as const },
        ECPUPerSecond: ecpu === undefined ? undefined : { Maximum: ecpu },
      };
}

export default function Serverless() {
  usePage({ text: "Serverless caches" });
  const { client } = useApi();
  const query = useListing(
    ["serverless"],
    async (NextToken, abortSignal) => {
      const reply = await client.send(new DescribeServerlessCachesCommand({ MaxResults: RECORDS, NextToken }), { abortSignal });
      return { items: reply.ServerlessCaches ?? [], marker: reply.NextToken };
    },
    { moving: (caches) => caches.some((cache) => isMoving(cache.Status ?? "")) },
  );
  return (
    <ResourcePage
      name="serverless"
      title="Serverless caches"
      noun="serverless cache"
      query={query}
      columns={COLUMNS}
      nameOf={nameOf}
      arnOf={(cache) => cache.ARN}
      changes={["serverless", "snapshots", "events"]}
      empty="No serverless caches. They have no node type: they grow within limits that you set."
      create={{
        label: "Create serverless cache",
        form: () => ({
          title: "Create serverless cache",
          submitLabel: "Create",
          initial: { name: "", engine: "valkey", description: "", storage: "", ecpu: "", users: "", tags: [] },
          fields: [
            { key: "name", kind: "text", label: "Name", apiNames: ["ServerlessCacheName"], faults: [/ServerlessCacheAlreadyExists/] },
            {
              key: "engine",
              kind: "radio",
              label: "Engine",
              apiNames: ["Engine"],
              options: ["valkey", "redis", "memcached"].map((value) => ({ value, label: engineName(value) })),
            },
            DESCRIPTION,
            STORAGE,
            ECPU,
            USERS,
            { key: "tags", kind: "tags", label: "Tags", optional: true, faults: [/Tag/] },
          ],
          submit: (values) =>
            client.send(
              new CreateServerlessCacheCommand({
                ServerlessCacheName: text(values, "name"),
                Engine: text(values, "engine"),
                Description: orNone(text(values, "description")),
                CacheUsageLimits: limits(values),
                UserGroupId: orNone(text(values, "users")),
                Tags: orNone(tagsOf(values)),
              }),
            ),
          done: (values) => `${text(values, "name")} is being created.`,
        }),
      }}
      actions={[
        {
          id: "modify",
          text: "Modify",
          disabled: (cache) => cache.Status !== "available",
          form: (cache) => ({
            title: `Modify ${nameOf(cache)}`,
            submitLabel: "Modify",
            initial: {
              description: cache.Description ?? "",
              storage: String(cache.CacheUsageLimits?.DataStorage?.Maximum ?? ""),
              ecpu: String(cache.CacheUsageLimits?.ECPUPerSecond?.Maximum ?? ""),
              users: cache.UserGroupId ?? "",
            },
            fields: [DESCRIPTION, STORAGE, ECPU, USERS],
            submit: (values) =>
              client.send(
                new ModifyServerlessCacheCommand({
                  ServerlessCacheName: nameOf(cache),
                  Description: text(values, "description"),
                  CacheUsageLimits: limits(values),
                  UserGroupId: orNone(text(values, "users")),
                  RemoveUserGroup: cache.UserGroupId && text(values, "users") === "" ? true : undefined,
                }),
              ),
            done: () => `${nameOf(cache)} is being modified.`,
          }),
        },
        {
          id: "backup",
          text: "Backup",
          disabled: (cache) => cache.Status !== "available",
          form: (cache) => ({
            title: `Back up ${nameOf(cache)}`,
            submitLabel: "Create backup",
            initial: { snapshot: "" },
            fields: [{ key: "snapshot", kind: "text", label: "Backup name", apiNames: ["ServerlessCacheSnapshotName"], faults: [/SnapshotAlreadyExists/] }],
            submit: (values) =>
              client.send(
                new CreateServerlessCacheSnapshotCommand({
                  ServerlessCacheName: nameOf(cache),
                  ServerlessCacheSnapshotName: text(values, "snapshot"),
                }),
              ),
            done: (values) => `The backup ${text(values, "snapshot")} is being created.`,
          }),
        },
      ]}
      remove={{ act: (name) => client.send(new DeleteServerlessCacheCommand({ ServerlessCacheName: name })) }}
    />
  );
}
