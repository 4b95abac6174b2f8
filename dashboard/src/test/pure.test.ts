/** Everything that decides without a browser or a server. */

import { describe, expect, it } from "vitest";

import { CallLog, CALLS_MAX, HIDDEN, withoutSecrets } from "../api/calls";
import { changeOf, merged } from "../api/changes";
import { placeError, toApiError } from "../api/errors";
import { lanesOf, outagesOf, windowOf, type FrameMessage } from "../api/film";
import { batches, choicesOf, editsOf, parameterRefusal } from "../api/parameters";
import { hashTag, ownerOf, parseClusterNodes, parseRanges, slotOf } from "../api/slots";
import { awsCli, boto3, pythonLiteral, shellQuoted, snakeCase, terraform } from "../api/snippets";
import { toServerConfig } from "../api/session";
import { EventReader } from "../api/sse";
import { nextOpening, until } from "../api/windows";
import { shownItem, shownReply, splitWords, UnbalancedQuotes, viewCommand } from "../api/words";
import { replaced } from "../hooks/patch";
import { changeOf as serverlessChange, limitsOf } from "../pages/serverlessForms";

const TARGET = { endpoint: "http://127.0.0.1:8379", region: "us-east-1" };

describe("server-sent events", () => {
  const wire = 'id: 7\r\nevent: resource\r\ndata: {"a":1}\r\n\r\n: a comment\n\ndata: one\ndata: two\n\n';
  const events = [
    { id: "7", type: "resource", data: '{"a":1}' },
    { id: "7", type: "message", data: "one\ntwo" },
  ];
  it("are the same however the text arrives", () => {
    expect(new EventReader().feed(wire)).toEqual(events);
    const dripped = new EventReader();
    expect([...wire].flatMap((char) => dripped.feed(char))).toEqual(events);
  });
  it("refuse a line without end", () => {
    expect(() => new EventReader().feed("x".repeat(2_000_000))).toThrow(/without end/);
  });
});

describe("hash slots", () => {
  it.each([["foo", 12182], ["bar", 5061], ["hello", 866], ["", 0]])("of %j", (key, slot) => {
    expect(slotOf(key)).toBe(slot);
  });
  it("are decided by what is in braces", () => {
    expect(slotOf("{user1}.a")).toBe(slotOf("user1"));
    expect(hashTag("a{}b{c}")).toBe("a{}b{c}");
    expect(hashTag("a{b}{c}")).toBe("b");
  });
  it("are found in what nodes say", () => {
    const said = [
      "aa 127.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-99 300 [400->-bb]",
      "bb 127.0.0.2:6379@16379 slave aa 0 0 1 connected",
      "cc 127.0.0.3:6379@16379,name master - 0 0 2 connected 100-299",
    ].join("\n");
    const ranges = parseClusterNodes(said);
    expect(ranges.map(({ first, last }) => [first, last])).toEqual([[0, 99], [100, 299], [300, 300]]);
    expect(ownerOf(150, ranges)).toBe("127.0.0.3:6379");
    expect(ownerOf(400, ranges)).toBeUndefined();
    expect(parseRanges("0-8191,9000", "x")).toHaveLength(2);
  });
});

describe("a call as somebody would write it", () => {
  const input = { ReplicationGroupId: "a b'c", MultiAZEnabled: true, NumCacheClusters: 2, Tags: [{ Key: "k", Value: "${v}" }] };
  it("in the shell", () => {
    const written = awsCli("CreateReplicationGroup", input, TARGET);
    expect(written).toContain("aws elasticache create-replication-group");
    expect(written).toContain(`--replication-group-id 'a b'\\''c'`);
    expect(written).toContain("--multi-az-enabled");
    expect(written).toContain(`--tags '[{"Key":"k","Value":"\${v}"}]'`);
    expect(shellQuoted("$(rm -rf /)")).toBe("'$(rm -rf /)'");
  });
  it("in Python", () => {
    expect(boto3("DescribeEvents", {}, TARGET)).toContain("elasticache.describe_events()");
    expect(pythonLiteral({ a: [true, null, "x\"y"] })).toBe('{"a": [True, None, "x\\"y"]}');
  });
  it("in Terraform, where there is a resource for it", () => {
    expect(terraform("CreateReplicationGroup", input)).toContain('"k" = "$${v}"');
    expect(terraform("CreateReplicationGroup", input)).toContain("num_cache_clusters = 2");
    expect(terraform("RebootCacheCluster", {})).toBeUndefined();
  });
  it.each([
    ["MultiAZEnabled", "multi_az_enabled"],
    ["CacheNodeIdsToReboot", "cache_node_ids_to_reboot"],
    ["KmsKeyId", "kms_key_id"],
    ["AZMode", "az_mode"],
  ])("names %s %s", (name, snake) => expect(snakeCase(name)).toBe(snake));
});

describe("the call log", () => {
  it("never holds a secret", () => {
    const kept = withoutSecrets({ AuthToken: "s3cret", Passwords: ["p1", "p2"], AuthenticationMode: { Passwords: ["p3"] }, AuthTokenUpdateStrategy: "SET" });
    expect(JSON.stringify(kept)).not.toMatch(/s3cret|p1|p2|p3/);
    expect(kept).toMatchObject({ AuthToken: HIDDEN, AuthTokenUpdateStrategy: "SET" });
  });
  it("is bounded, newest first", () => {
    const log = new CallLog();
    for (let count = 0; count <= CALLS_MAX; count++) {
      log.add({ operation: `Op${count}`, input: {}, startedAt: new Date(0), durationMs: 1 });
    }
    expect(log.all()).toHaveLength(CALLS_MAX);
    expect(log.all()[0]?.operation).toBe(`Op${CALLS_MAX}`);
  });
});

describe("errors", () => {
  const fields = [
    { key: "name", apiNames: ["ReplicationGroupId"], faults: [/AlreadyExists/] },
    { key: "port", apiNames: ["Port"] },
    { key: "node", apiNames: ["CacheNodeType", "node type"] },
  ];
  const error = (name: string, message: string, status?: number) =>
    toApiError(Object.assign(new Error(message), { name, ...(status ? { $metadata: { httpStatusCode: status } } : {}) }));
  it("stand at the field that they are about", () => {
    expect(placeError(error("ReplicationGroupAlreadyExistsFault", "exists", 400), fields)).toBe("name");
    expect(placeError(error("InvalidParameterValue", "Invalid port 3.", 400), fields)).toBe("port");
    expect(placeError(error("InvalidParameterValue", "The node type is not supported.", 400), fields)).toBe("node");
    expect(placeError(error("InvalidParameterValue", "Transport is odd.", 400), fields)).toBeUndefined();
  });
  it("tell no answer from a refusal", () => {
    expect(error("TypeError", "Failed to fetch").unreachable).toBe(true);
    expect(error("TypeError", "bad", 400).unreachable).toBe(false);
    expect(error("NotImplemented", "not built", 501).notImplemented).toBe(true);
  });
});

describe("a film", () => {
  const frame = (AtMs: number, Kind: "node" | "client", Name: string, State: string): FrameMessage => ({ AtMs, Kind, Name, State, Offset: null, Detail: "" });
  const frames = [frame(1, "client", "e", "served"), frame(1, "node", "a", "primary"), frame(1003, "client", "e", "not-served"), frame(1004, "node", "a", "down"), frame(1037, "client", "e", "served")];
  it("shows the outage as clients saw it", () => {
    const lanes = lanesOf(frames, 5000);
    expect(lanes.map((lane) => lane.name)).toEqual(["e", "a"]);
    expect(outagesOf(lanes).map((span) => span.toMs - span.fromMs)).toEqual([34]);
    expect(lanes[1]?.spans.at(-1)).toMatchObject({ state: "down", toMs: 5000 });
  });
  it("looks closely where something happened", () => {
    const { fromMs, toMs } = windowOf(frames, 5000);
    expect(fromMs).toBeGreaterThan(900);
    expect(toMs).toBeLessThan(1100);
    expect(windowOf(frames.slice(0, 2), 3000)).toEqual({ fromMs: 0, toMs: 3000 });
  });
});

describe("the command line", () => {
  it("splits as the engines' own shells do", () => {
    expect(splitWords(`set "a b" 'c\\'d' e\\f "x\\n"`)).toEqual(["set", "a b", "c'd", "e\\f", "x\n"]);
    expect(splitWords('set a ""')).toEqual(["set", "a", ""]);
    expect(() => splitWords('get "a')).toThrow(UnbalancedQuotes);
  });
  it("shows replies", () => {
    expect(shownReply(["a", 1, null, ["b"]])).toBe('1) "a"\n2) (integer) 1\n3) (nil)\n4) 1) "b"');
    expect(shownReply({ Error: "ERR no" })).toBe("(error) ERR no");
  });
  it.each(["string", "list", "set", "zset", "hash", "stream"])("never asks for all of a %s", (type) => {
    expect(viewCommand(type, "k").some((word) => /^(100|99|4095)$/.test(word))).toBe(true);
  });
});

describe("parameters", () => {
  const number = { ParameterName: "n", ParameterValue: "5", DataType: "integer", AllowedValues: "0-20" };
  const choice = { ParameterName: "c", ParameterValue: "no", DataType: "string", AllowedValues: "yes,no" };
  it("are checked by what is allowed", () => {
    expect(parameterRefusal(number, "21")).toMatch(/0 to 20/);
    expect(parameterRefusal(number, "x")).toMatch(/whole/);
    expect(parameterRefusal(number, "20")).toBeUndefined();
    expect(parameterRefusal(choice, "maybe")).toMatch(/One of/);
    expect(choicesOf(choice)).toEqual(["yes", "no"]);
  });
  it("are edits only where they differ", () => {
    expect(editsOf([number, choice], { n: "5", c: "yes" })).toEqual([{ name: "c", before: "no", after: "yes" }]);
    expect(batches([1, 2, 3], 2)).toEqual([[1, 2], [3]]);
  });
});

describe("changes", () => {
  const message = (data: object, type = "resource") => ({ type, data: JSON.stringify(data) });
  it("name what is stale", () => {
    expect(changeOf(message({ ResourceType: "node-group", ResourceName: "demo/0001" })).groups).toEqual(["demo"]);
    expect(changeOf(message({ ResourceType: "cache-node", ResourceName: "demo-001/0001" })).clusters).toEqual(["demo-001"]);
    expect(changeOf(message({ ResourceType: "user", ResourceName: "u" })).families).toContain("users");
    expect(changeOf(message({}, "gap")).everything).toBe(true);
    expect(changeOf({ type: "resource", data: "{" }).families).toEqual([]);
  });
  it("add up", () => {
    const both = merged(changeOf(message({ ResourceType: "replication-group", ResourceName: "a" })), changeOf(message({}, "event")));
    expect(both.groups).toEqual(["a"]);
    expect(both.families).toContain("events");
  });
  it("replace, add and take away; what is not known stays", () => {
    const items = [{ id: "a", v: 1 }, { id: "b", v: 1 }, { id: "c", v: 1 }];
    const changes = [
      { name: "a", item: undefined, known: true },
      { name: "b", item: { id: "b", v: 2 }, known: true },
      { name: "c", item: undefined, known: false },
      { name: "d", item: { id: "d", v: 1 }, known: true },
    ];
    expect(replaced(items, changes, (one) => one.id)).toEqual([{ id: "b", v: 2 }, { id: "c", v: 1 }, { id: "d", v: 1 }]);
  });
});

describe("windows", () => {
  const at = (text: string) => new Date(`${text}Z`);
  // 22 November 2026 is a Sunday.
  it.each([
    ["sun:05:00-sun:06:00", "2026-11-22T04:59:00", "2026-11-22T05:00:00", false],
    ["sun:05:00-sun:06:00", "2026-11-22T05:30:00", "2026-11-22T05:00:00", true],
    ["sun:05:00-sun:06:00", "2026-11-22T06:00:00", "2026-11-29T05:00:00", false],
    ["sat:23:30-sun:00:30", "2026-11-22T00:10:00", "2026-11-21T23:30:00", true],
    ["wed:01:00-wed:02:00", "2026-11-27T00:00:00", "2026-12-02T01:00:00", false],
    ["03:00-04:00", "2026-11-22T04:00:00", "2026-11-23T03:00:00", false],
    ["23:30-00:30", "2026-11-22T00:15:00", "2026-11-21T23:30:00", true],
  ])("%s after %s", (window, now, begins, open) => {
    expect(nextOpening(window, at(now))).toMatchObject({ beginsAt: at(begins), open });
  });
  it.each([undefined, "", "soon", "sun:05:00", "sun:25:00-sun:26:00", "sun:05:00-06:00", "xxx:05:00-xxx:06:00"])("%j is none", (window) => {
    expect(nextOpening(window, at("2026-11-22T00:00:00"))).toBeUndefined();
  });
  it("are told in days, hours and minutes", () => {
    const now = at("2026-11-22T00:00:00");
    expect(until(at("2026-11-24T03:00:00"), now)).toBe("in 2 d 3 h");
    expect(until(at("2026-11-22T03:00:00"), now)).toBe("in 3 h");
    expect(until(at("2026-11-22T00:12:00"), now)).toBe("in 12 min");
    expect(until(now, now)).toBe("in a moment");
  });
});

describe("what the server says before a sign-in", () => {
  const told = { version: "1", account_id: "000000000000", now: "2026-11-22T00:00:05.000+00:00" };
  it("has its clock", () => {
    expect(toServerConfig(told, Date.parse("2026-11-22T00:00:00Z")).clockAheadMs).toBe(5_000);
    expect(toServerConfig({ ...told, now: undefined }).clockAheadMs).toBe(0);
    expect(toServerConfig({ ...told, now: "never" }).clockAheadMs).toBe(0);
  });
});

describe("serverless caches", () => {
  const cache = { UserGroupId: "team", Engine: "redis" };
  it.each([
    [{ what: "description", description: "new" }, { Description: "new" }],
    [{ what: "users", users: "" }, { RemoveUserGroup: true }],
    [{ what: "users", users: "other" }, { UserGroupId: "other" }],
    [{ what: "securityGroups", securityGroups: "sg-1, sg-2" }, { SecurityGroupIds: ["sg-1", "sg-2"] }],
    [{ what: "retention", retention: "0" }, { SnapshotRetentionLimit: 0 }],
    [{ what: "engine", engine: "redis", major: "7" }, { MajorEngineVersion: "7" }],
    [{ what: "engine", engine: "valkey", major: "8" }, { Engine: "valkey", MajorEngineVersion: "8" }],
  ])("change one thing: %j", (values, sent) => {
    const kept = Object.fromEntries(Object.entries(serverlessChange(cache, { description: "old", storage: "5", ...values })).filter(([, value]) => value !== undefined));
    expect(kept).toEqual(sent);
  });
  it("lose a limit that is emptied", () => {
    expect(limitsOf({ storage: "10", ecpu: "" }, true)).toEqual({ DataStorage: { Minimum: 0, Maximum: 10, Unit: "GB" }, ECPUPerSecond: { Minimum: 0, Maximum: 0 } });
    expect(limitsOf({ storage: "", ecpu: "" })).toBeUndefined();
  });
});

describe("items of memcached", () => {
  it("are shown without what frames them", () => {
    expect(viewCommand("item", "k")).toEqual(["get", "k"]);
    expect(shownItem("VALUE k 0 4\na\nEND\nEND")).toBe("a\nEND");
    expect(shownItem("END")).toBe("The item is gone.");
    expect(shownItem(`VALUE k 0 9999\n${"x".repeat(9_999)}\nEND`)).toHaveLength(4_097);
    expect(shownItem({ Error: "CLIENT_ERROR" })).toBe("(error) CLIENT_ERROR");
  });
});
