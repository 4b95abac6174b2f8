/** Forms to requests, and what the API answers to what a page shows. */

import { describe, expect, it } from "vitest";

import { groupRequest, memcachedRequest, modifyGroupRequest } from "../api/cacheRequests";
import { cachePath, isMoving, toCaches, toneOf, toShards } from "../api/caches";
import { snippets, type Target } from "../api/connect";
import { NODE_TYPES, nodeTypesFor } from "../api/nodeTypes";
import { toServerConfig } from "../api/session";
import { checkFields } from "../components/fields";
import { advancedFields, initialValues, settingsFields } from "../pages/caches/createFields";

const NOTHING = { versions: [], parameterGroups: [], subnetGroups: [], userGroups: [], snapshots: [] };

describe("the wizard", () => {
  it("asks for what AWS's console asks for by default", () => {
    const request = groupRequest("valkey", { ...initialValues("valkey"), name: "demo" });
    expect(request).toMatchObject({
      ReplicationGroupId: "demo", Engine: "valkey", ClusterMode: "enabled", NumNodeGroups: 3,
      ReplicasPerNodeGroup: 2, TransitEncryptionEnabled: true, AtRestEncryptionEnabled: true, MultiAZEnabled: true, AutomaticFailoverEnabled: true, Port: 6379,
    });
    expect(request.NumCacheClusters).toBeUndefined();
    expect(request.CacheParameterGroupName).toBeUndefined();
  });
  it("counts the primary where cluster mode is off", () => {
    const request = groupRequest("valkey", { ...initialValues("valkey"), clusterMode: "disabled", replicas: "1", zones: "us-east-1a, us-east-1b" });
    expect(request.NumCacheClusters).toBe(2);
    expect(request.PreferredCacheClusterAZs).toEqual(["us-east-1a", "us-east-1b"]);
  });
  it("sends a token only with encryption in transit and only where it was chosen", () => {
    const values = { ...initialValues("valkey"), authToken: "0123456789abcdef", access: "token" };
    expect(groupRequest("valkey", { ...values, transit: false }).AuthToken).toBeUndefined();
    expect(groupRequest("valkey", { ...values, transit: true }).AuthToken).toBe("0123456789abcdef");
    expect(groupRequest("valkey", { ...values, transit: true, access: "none" }).AuthToken).toBeUndefined();
  });
  it("makes a memcached cluster", () => {
    expect(memcachedRequest({ ...initialValues("memcached"), name: "m", nodes: "1" })).toMatchObject({ NumCacheNodes: 1, Port: 11211, AZMode: undefined });
  });
  it.each([
    [{ name: "" }, "name"], [{ name: "1a" }, "name"], [{ name: "a--b" }, "name"], [{ name: "a-" }, "name"],
    [{ name: "x".repeat(41) }, "name"], [{ port: "80" }, "port"], [{ port: "x" }, "port"], [{ shards: "0" }, "shards"],
    [{ replicas: "6" }, "replicas"], [{ replicas: "0" }, "replicas"],
  ])("refuses %j", (wrong, key) => {
    const values = { ...initialValues("valkey"), name: "demo", ...wrong };
    expect(Object.keys(checkFields(settingsFields("valkey", values, NOTHING), values))).toEqual([key]);
  });
  it("accepts its own defaults", () => {
    const values = { ...initialValues("valkey"), name: "demo" };
    expect(checkFields(settingsFields("valkey", values, NOTHING), values)).toEqual({});
    expect(checkFields(advancedFields("valkey", NOTHING), values)).toEqual({});
  });
  it("knows the catalogue's node types", () => {
    expect(NODE_TYPES.length).toBeGreaterThan(50);
    expect(nodeTypesFor("valkey").map(({ name }) => name)).toContain("cache.t4g.micro");
  });
});

describe("modify", () => {
  const before = { description: "a", nodeType: "cache.t4g.micro", retention: "0", multiAz: false, userGroups: ["one"], securityGroups: "", immediately: true };
  it("asks for what was changed alone", () => {
    const { ApplyImmediately, ReplicationGroupId, ...rest } = modifyGroupRequest("demo", before, { ...before, description: "b" });
    expect([ReplicationGroupId, ApplyImmediately]).toEqual(["demo", true]);
    expect(Object.entries(rest).filter(([, value]) => value !== undefined)).toEqual([["ReplicationGroupDescription", "b"]]);
  });
  it("adds and removes user groups", () => {
    expect(modifyGroupRequest("demo", before, { ...before, userGroups: ["two"] })).toMatchObject({ UserGroupIdsToAdd: ["two"], UserGroupIdsToRemove: ["one"] });
  });
});

describe("caches", () => {
  const group = {
    ReplicationGroupId: "g", Engine: "valkey", Status: "available", MemberClusters: ["g-001", "g-002"], ClusterEnabled: false,
    NodeGroups: [{ NodeGroupId: "0001", PrimaryEndpoint: { Address: "127.0.0.9", Port: 6379 }, NodeGroupMembers: [
      { CacheClusterId: "g-001", CacheNodeId: "0001", CurrentRole: "primary", ReadEndpoint: { Address: "127.0.0.1", Port: 6379 } },
      { CacheClusterId: "g-002", CacheNodeId: "0001", CurrentRole: "replica" },
    ] }],
  };
  const member = { CacheClusterId: "g-001", ReplicationGroupId: "g", Engine: "valkey", EngineVersion: "9.1.0", CacheClusterStatus: "available" };
  const alone = { CacheClusterId: "m", Engine: "memcached", NumCacheNodes: 2, CacheClusterStatus: "creating" };
  it("are groups, and clusters that are in none", () => {
    const [first, second, ...rest] = toCaches([group], [member, alone]);
    expect(rest).toEqual([]);
    expect(first).toMatchObject({ key: "group/g", engineVersion: "9.1.0", nodeCount: 2, endpoint: { address: "127.0.0.9", port: 6379 } });
    expect(second).toMatchObject({ key: "cluster/m", nodeCount: 2, endpoint: undefined });
    expect(first && cachePath(first)).toBe("/valkey/group/g");
  });
  it("have nodes whose status their cluster says", () => {
    const [cache] = toCaches([group], [member]);
    const nodes = cache ? toShards(cache, [member])[0]?.nodes : [];
    expect(nodes?.map(({ role, status }) => [role, status])).toEqual([["primary", "available"], ["replica", ""]]);
  });
  it.each([["creating", true], ["available", false], ["create-failed", false], ["modifying", true]])("in %s move: %s", (status, moving) => {
    expect(isMoving(status)).toBe(moving);
  });
  it("have the sign of their status", () => {
    expect(["available", "create-failed", "disabled", "modifying", "payment-pending"].map(toneOf)).toEqual(["success", "error", "stopped", "in-progress", "pending"]);
  });
});

describe("connect", () => {
  const to: Target = { engine: "valkey", host: "127.0.0.1", port: 6380, tls: false, clustered: false, auth: "none", cacheName: "c", region: "us-east-1" };
  it.each(["cli", "redis-py", "glide", "ioredis", "lettuce", "go-redis"])("%s has host and port, and TLS where it has to", (id) => {
    const plain = snippets(to).find((one) => one.id === id)?.code ?? "";
    expect(plain).toContain("127.0.0.1");
    expect(plain).toContain("6380");
    expect(plain).not.toMatch(/tls|ssl/i);
    expect(plain).not.toContain("PASSWORD");
    const tight = snippets({ ...to, tls: true, auth: "users", clustered: true }).find((one) => one.id === id)?.code ?? "";
    expect(tight).toMatch(/tls|ssl/i);
    expect(tight).toContain("PASSWORD");
    expect(tight).toMatch(/cluster| -c /i);
  });
  it("signs a token for IAM", () => {
    expect(snippets({ ...to, auth: "iam" }).find((one) => one.id === "redis-py")?.code).toContain("Action=connect");
  });
});

it("takes only cachefleet for its server", () => {
  expect(toServerConfig({ version: "1", account_id: "000000000000", auth: "enforce" })).toMatchObject({ auth: "enforce", region: "us-east-1" });
  expect(() => toServerConfig({ hello: 1 })).toThrow(/not that of cachefleet/);
});
