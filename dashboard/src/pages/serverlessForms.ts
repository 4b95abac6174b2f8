/** Forms of serverless caches and their backups: what can be asked, and what is sent. */

import {
  CopyServerlessCacheSnapshotCommand,
  CreateServerlessCacheCommand,
  CreateServerlessCacheSnapshotCommand,
  ExportServerlessCacheSnapshotCommand,
  ModifyServerlessCacheCommand,
  type ElastiCacheClient,
  type ModifyServerlessCacheCommandInput,
  type ServerlessCache,
  type ServerlessCacheSnapshot,
} from "@aws-sdk/client-elasticache";

import { engineName } from "../api/caches";
import { number, orNone, tagsOf, text, type Field, type Values } from "../components/fields";
import type { FormSpec } from "../components/ResourcePage";

const RETENTION_DAYS_MAX = 35;
const DAILY_TIME = /^\d{2}:\d{2}$/;

const is = (...wanted: string[]) => (values: Values) => wanted.includes(text(values, "what"));

const NAME: Field = { key: "name", kind: "text", label: "Name", apiNames: ["ServerlessCacheName"], faults: [/ServerlessCacheAlreadyExists/] };
const DESCRIPTION: Field = { key: "description", kind: "text", label: "Description", optional: true, apiNames: ["Description"] };
const LIMITS: Field[] = [
  { key: "storageMin", kind: "number", label: "Storage in GB, at least", optional: true, apiNames: ["minimum of DataStorage"] },
  { key: "storage", kind: "number", label: "Storage in GB, at most", optional: true, apiNames: ["DataStorage", "CacheUsageLimits"], constraint: "1 to 5,000." },
  { key: "ecpuMin", kind: "number", label: "ECPU per second, at least", optional: true, apiNames: ["minimum of ECPUPerSecond"] },
  { key: "ecpu", kind: "number", label: "ECPU per second, at most", optional: true, apiNames: ["ECPUPerSecond"], constraint: "1,000 to 15,000,000." },
];
const USERS: Field = { key: "users", kind: "text", label: "User group", optional: true, apiNames: ["UserGroupId", "user group"], faults: [/UserGroup/] };
const SECURITY: Field = { key: "securityGroups", kind: "text", label: "Security groups", optional: true, apiNames: ["SecurityGroupIds"], placeholder: "sg-0a1b2c3d" };
const RETENTION: Field = {
  key: "retention",
  kind: "number",
  label: "Backup retention in days",
  optional: true,
  apiNames: ["SnapshotRetentionLimit"],
  constraint: `0 turns automatic backups off; at most ${RETENTION_DAYS_MAX}.`,
};
const TIME: Field = {
  key: "time",
  kind: "text",
  label: "Daily backup time (UTC)",
  optional: true,
  apiNames: ["DailySnapshotTime"],
  placeholder: "03:00",
  check: (typed) => (DAILY_TIME.test(typed) ? undefined : "Write it as 03:00."),
};
const KMS: Field = { key: "kms", kind: "text", label: "KMS key", optional: true, apiNames: ["KmsKeyId"], faults: [/KMS/] };
const TAGS: Field = { key: "tags", kind: "tags", label: "Tags", optional: true, faults: [/Tag/] };

const words = (values: Values, key: string) => orNone(text(values, key).split(/[\s,]+/).filter(Boolean));

/** The limits that are typed; with *cleared*, what is empty is removed, which the API calls zero. */
export function limitsOf(values: Values, cleared = false): ModifyServerlessCacheCommandInput["CacheUsageLimits"] {
  const read = (key: string) => number(values, key) ?? (cleared ? 0 : undefined);
  const [storageMin, storage, ecpuMin, ecpu] = ["storageMin", "storage", "ecpuMin", "ecpu"].map(read);
  const data = storageMin === undefined && storage === undefined ? undefined : { Minimum: storageMin, Maximum: storage, Unit: "GB" as const };
  const rate = ecpuMin === undefined && ecpu === undefined ? undefined : { Minimum: ecpuMin, Maximum: ecpu };
  return data === undefined && rate === undefined ? undefined : { DataStorage: data, ECPUPerSecond: rate };
}

export function createForm(client: ElastiCacheClient, from?: ServerlessCacheSnapshot): FormSpec {
  const source = from?.ServerlessCacheConfiguration?.Engine;
  return {
    title: from ? `Restore ${from.ServerlessCacheSnapshotName}` : "Create serverless cache",
    submitLabel: from ? "Restore" : "Create",
    initial: {
      name: "", engine: source ?? "valkey", description: "", storageMin: "", storage: "", ecpuMin: "", ecpu: "",
      users: "", securityGroups: "", retention: "", time: "", kms: "", tags: [],
    },
    fields: (values) => {
      const memcached = text(values, "engine") === "memcached";
      return [
        NAME,
        { key: "engine", kind: "radio", label: "Engine", apiNames: ["Engine"], options: ["valkey", "redis", "memcached"].map((value) => ({ value, label: engineName(value) })) },
        DESCRIPTION,
        ...LIMITS,
        ...(memcached ? [] : [USERS]),
        SECURITY,
        ...(memcached ? [] : [RETENTION, TIME]),
        KMS,
        TAGS,
      ];
    },
    submit: (values) => {
      const memcached = text(values, "engine") === "memcached";
      return client.send(
        new CreateServerlessCacheCommand({
          ServerlessCacheName: text(values, "name"),
          Engine: text(values, "engine"),
          Description: orNone(text(values, "description")),
          CacheUsageLimits: limitsOf(values),
          UserGroupId: memcached ? undefined : orNone(text(values, "users")),
          SecurityGroupIds: words(values, "securityGroups"),
          SnapshotRetentionLimit: memcached ? undefined : number(values, "retention"),
          DailySnapshotTime: memcached ? undefined : orNone(text(values, "time")),
          KmsKeyId: orNone(text(values, "kms")),
          SnapshotArnsToRestore: from?.ARN ? [from.ARN] : undefined,
          Tags: orNone(tagsOf(values)),
        }),
      );
    },
    done: (values) => `${text(values, "name")} is being created.`,
  };
}

/** The API changes one thing at a time, so the form asks which. */
export function modifyForm(client: ElastiCacheClient, cache: ServerlessCache): FormSpec {
  const limits = cache.CacheUsageLimits;
  const memcached = cache.Engine === "memcached";
  const choices = [
    { value: "description", label: "Description" },
    { value: "limits", label: "Usage limits" },
    { value: "securityGroups", label: "Security groups" },
    ...(memcached
      ? []
      : [
          { value: "users", label: "User group" },
          { value: "retention", label: "Backup retention" },
          { value: "time", label: "Backup time" },
          { value: "engine", label: "Engine and major version" },
        ]),
  ];
  return {
    title: `Modify ${cache.ServerlessCacheName}`,
    submitLabel: "Modify",
    intro: "One thing is changed at a time.",
    initial: {
      what: "description",
      description: cache.Description ?? "",
      storageMin: String(limits?.DataStorage?.Minimum ?? ""),
      storage: String(limits?.DataStorage?.Maximum ?? ""),
      ecpuMin: String(limits?.ECPUPerSecond?.Minimum ?? ""),
      ecpu: String(limits?.ECPUPerSecond?.Maximum ?? ""),
      users: cache.UserGroupId ?? "",
      securityGroups: (cache.SecurityGroupIds ?? []).join(" "),
      retention: String(cache.SnapshotRetentionLimit ?? 0),
      time: cache.DailySnapshotTime ?? "",
      engine: cache.Engine ?? "",
      major: cache.MajorEngineVersion ?? "",
    },
    fields: [
      { key: "what", kind: "select", label: "What to change", options: choices },
      { ...DESCRIPTION, visible: is("description") },
      ...LIMITS.map((field) => ({ ...field, visible: is("limits") })),
      { ...SECURITY, optional: false, visible: is("securityGroups") },
      { ...USERS, constraint: "Empty: nobody has to log in.", visible: is("users") },
      { ...RETENTION, optional: false, visible: is("retention") },
      { ...TIME, optional: false, visible: is("time") },
      { key: "engine", kind: "select", label: "Engine", apiNames: ["Engine"], options: ["valkey", "redis"].map((value) => ({ value, label: engineName(value) })), visible: is("engine") },
      { key: "major", kind: "text", label: "Major version", apiNames: ["MajorEngineVersion", "engine version"], visible: is("engine") },
    ],
    submit: (values) => client.send(new ModifyServerlessCacheCommand({ ServerlessCacheName: cache.ServerlessCacheName, ...changeOf(cache, values) })),
    done: () => `${cache.ServerlessCacheName} is being modified.`,
  };
}

/** The one parameter that a filled in form changes. */
export function changeOf(cache: ServerlessCache, values: Values): Omit<ModifyServerlessCacheCommandInput, "ServerlessCacheName"> {
  switch (text(values, "what")) {
    case "limits":
      return { CacheUsageLimits: limitsOf(values, true) };
    case "securityGroups":
      return { SecurityGroupIds: words(values, "securityGroups") };
    case "users":
      return text(values, "users") === "" && cache.UserGroupId ? { RemoveUserGroup: true } : { UserGroupId: orNone(text(values, "users")) };
    case "retention":
      return { SnapshotRetentionLimit: number(values, "retention") };
    case "time":
      return { DailySnapshotTime: text(values, "time") };
    case "engine":
      return {
        Engine: text(values, "engine") === cache.Engine ? undefined : text(values, "engine"),
        MajorEngineVersion: text(values, "major"),
      };
    default:
      return { Description: text(values, "description") };
  }
}

export function backupForm(client: ElastiCacheClient, cache: ServerlessCache): FormSpec {
  return {
    title: `Back up ${cache.ServerlessCacheName}`,
    submitLabel: "Create backup",
    initial: { snapshot: "", kms: "", tags: [] },
    fields: [
      { key: "snapshot", kind: "text", label: "Backup name", apiNames: ["ServerlessCacheSnapshotName"], faults: [/SnapshotAlreadyExists/] },
      KMS,
      TAGS,
    ],
    submit: (values) =>
      client.send(
        new CreateServerlessCacheSnapshotCommand({
          ServerlessCacheName: cache.ServerlessCacheName,
          ServerlessCacheSnapshotName: text(values, "snapshot"),
          KmsKeyId: orNone(text(values, "kms")),
          Tags: orNone(tagsOf(values)),
        }),
      ),
    done: (values) => `The backup ${text(values, "snapshot")} is being created.`,
  };
}

export function copyForm(client: ElastiCacheClient, one: ServerlessCacheSnapshot): FormSpec {
  return {
    title: `Copy ${one.ServerlessCacheSnapshotName}`,
    submitLabel: "Copy",
    initial: { name: "" },
    fields: [{ key: "name", kind: "text", label: "Name of the copy", apiNames: ["TargetServerlessCacheSnapshotName"], faults: [/SnapshotAlreadyExists/] }],
    submit: (values) =>
      client.send(
        new CopyServerlessCacheSnapshotCommand({
          SourceServerlessCacheSnapshotName: one.ServerlessCacheSnapshotName,
          TargetServerlessCacheSnapshotName: text(values, "name"),
        }),
      ),
    done: (values) => `${one.ServerlessCacheSnapshotName} is being copied to ${text(values, "name")}.`,
  };
}

export function exportForm(client: ElastiCacheClient, one: ServerlessCacheSnapshot): FormSpec {
  return {
    title: `Export ${one.ServerlessCacheSnapshotName}`,
    submitLabel: "Export",
    initial: { bucket: "" },
    fields: [{ key: "bucket", kind: "text", label: "Bucket", apiNames: ["S3BucketName", "bucket"] }],
    submit: (values) =>
      client.send(
        new ExportServerlessCacheSnapshotCommand({ ServerlessCacheSnapshotName: one.ServerlessCacheSnapshotName, S3BucketName: text(values, "bucket") }),
      ),
    done: (values) => `${one.ServerlessCacheSnapshotName} is being exported to ${text(values, "bucket")}.`,
  };
}
