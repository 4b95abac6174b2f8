/** A call as somebody would write it down: aws-cli, boto3, Terraform. Pure. */

export type Language = "aws-cli" | "boto3" | "terraform";

export interface Target {
  endpoint: string;
  region: string;
}

type Input = Record<string, unknown>;

/** `MultiAZEnabled` as the AWS tools write it: `multi_az_enabled`. */
export function snakeCase(name: string, separator = "_"): string {
  return name
    .replaceAll(/([a-z0-9])([A-Z])/g, `$1${separator}$2`)
    .replaceAll(/([A-Z]+)([A-Z][a-z])/g, `$1${separator}$2`)
    .toLowerCase();
}

export function shellQuoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export function awsCli(operation: string, input: Input, target: Target): string {
  const words = [
    `aws elasticache ${snakeCase(operation, "-")}`,
    ...Object.entries(input).flatMap(([name, value]) => cliOption(name, value)),
    `--region ${shellQuoted(target.region)}`,
    `--endpoint-url ${shellQuoted(target.endpoint)}`,
  ];
  return words.join(" \\\n    ");
}

function cliOption(name: string, value: unknown): string[] {
  if (value === undefined || value === null) {
    return [];
  }
  const option = snakeCase(name, "-");
  if (typeof value === "boolean") {
    return [value ? `--${option}` : `--no-${option}`];
  }
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) {
    return value.length === 0 ? [] : [`--${option} ${value.map(shellQuoted).join(" ")}`];
  }
  if (typeof value === "object") {
    return [`--${option} ${shellQuoted(JSON.stringify(value))}`];
  }
  return [`--${option} ${shellQuoted(String(value))}`];
}

export function boto3(operation: string, input: Input, target: Target): string {
  const lines = Object.entries(input)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `    ${name}=${pythonLiteral(value)},`);
  return [
    "import boto3",
    "",
    `elasticache = boto3.client("elasticache", region_name=${pythonLiteral(target.region)},`,
    `                           endpoint_url=${pythonLiteral(target.endpoint)})`,
    lines.length === 0
      ? `elasticache.${snakeCase(operation)}()`
      : `elasticache.${snakeCase(operation)}(\n${lines.join("\n")}\n)`,
  ].join("\n");
}

export function pythonLiteral(value: unknown): string {
  if (value === null || value === undefined) {
    return "None";
  }
  if (typeof value === "boolean") {
    return value ? "True" : "False";
  }
  if (Array.isArray(value)) {
    return `[${value.map(pythonLiteral).join(", ")}]`;
  }
  if (typeof value === "object") {
    const pairs = Object.entries(value).map(([key, inner]) => `"${key}": ${pythonLiteral(inner)}`);
    return `{${pairs.join(", ")}}`;
  }
  return JSON.stringify(value);
}

/** Resources whose creation Terraform's AWS provider has a block for, and how it names things. */
const TERRAFORM: Record<string, { type: string; names: Record<string, string>; skip?: string[] }> = {
  CreateReplicationGroup: {
    type: "aws_elasticache_replication_group",
    names: {
      ReplicationGroupId: "replication_group_id",
      ReplicationGroupDescription: "description",
      CacheNodeType: "node_type",
      CacheParameterGroupName: "parameter_group_name",
      CacheSubnetGroupName: "subnet_group_name",
      PreferredCacheClusterAZs: "preferred_cache_cluster_azs",
    },
    skip: ["Tags", "NodeGroupConfiguration", "LogDeliveryConfigurations"],
  },
  CreateCacheCluster: {
    type: "aws_elasticache_cluster",
    names: {
      CacheClusterId: "cluster_id",
      CacheNodeType: "node_type",
      CacheParameterGroupName: "parameter_group_name",
      CacheSubnetGroupName: "subnet_group_name",
    },
    skip: ["Tags", "LogDeliveryConfigurations"],
  },
  CreateCacheSubnetGroup: {
    type: "aws_elasticache_subnet_group",
    names: { CacheSubnetGroupName: "name", CacheSubnetGroupDescription: "description" },
    skip: ["Tags"],
  },
  CreateCacheParameterGroup: {
    type: "aws_elasticache_parameter_group",
    names: {
      CacheParameterGroupName: "name",
      CacheParameterGroupFamily: "family",
    },
    skip: ["Tags"],
  },
  CreateUserGroup: { type: "aws_elasticache_user_group", names: {}, skip: ["Tags"] },
  CreateUser: { type: "aws_elasticache_user", names: {}, skip: ["Tags", "AuthenticationMode"] },
};

/** The block for a creation; undefined for calls that Terraform has no resource for. */
export function terraform(operation: string, input: Input): string | undefined {
  const known = TERRAFORM[operation];
  if (!known) {
    return undefined;
  }
  const label = Object.entries(input).find(([name]) => /Id$|Name$/.test(name))?.[1];
  const lines = Object.entries(input)
    .filter(([name, value]) => value !== undefined && !known.skip?.includes(name))
    .map(([name, value]) => `  ${known.names[name] ?? snakeCase(name)} = ${hcl(value)}`);
  const tags = input["Tags"];
  if (Array.isArray(tags) && tags.length > 0) {
    const pairs = (tags as { Key?: string; Value?: string }[]).map(
      ({ Key, Value }) => `    ${hcl(Key ?? "")} = ${hcl(Value ?? "")}`,
    );
    lines.push(`  tags = {\n${pairs.join("\n")}\n  }`);
  }
  const name = String(label ?? "this").replaceAll(/[^A-Za-z0-9_-]/g, "_");
  return `resource "${known.type}" "${name}" {\n${lines.join("\n")}\n}`;
}

function hcl(value: unknown): string {
  if (Array.isArray(value)) {
    return `[${value.map(hcl).join(", ")}]`;
  }
  if (typeof value === "string") {
    return JSON.stringify(value).replaceAll("${", () => "$${").replaceAll("%{", () => "%%{");
  }
  return JSON.stringify(value);
}

export function snippet(language: Language, operation: string, input: Input, target: Target): string {
  switch (language) {
    case "aws-cli":
      return awsCli(operation, input, target);
    case "boto3":
      return boto3(operation, input, target);
    case "terraform":
      return (
        terraform(operation, input) ??
        `# Terraform has no resource for ${operation}: it is a call, not a thing.`
      );
  }
}
