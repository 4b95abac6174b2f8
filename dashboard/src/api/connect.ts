/** How a client connects to a cache, in several languages. Pure: copy, paste, run. */

export interface Target {
  engine: string;
  host: string;
  port: number;
  tls: boolean;
  clustered: boolean;
  auth: "none" | "token" | "users" | "iam";
  /** The cache's name, which IAM authentication signs. */
  cacheName: string;
  region: string;
  serverless?: boolean;
}

export interface Snippet {
  id: string;
  label: string;
  code: string;
}

const CA = "ca.pem";
const USER = "USER";
const PASSWORD = "PASSWORD";

export function snippets(target: Target): Snippet[] {
  return target.engine === "memcached" ? memcached(target) : redis(target);
}

function redis(to: Target): Snippet[] {
  const named = to.auth === "users" || to.auth === "iam";
  const secret = to.auth !== "none";
  const iam = to.auth === "iam";
  return [
    {
      id: "cli",
      label: to.engine === "redis" ? "redis-cli" : "valkey-cli",
      code: [
        ...(iam ? ["# the token is made by the Python function of the tab redis-py", ""] : []),
        [
          to.engine === "redis" ? "redis-cli" : "valkey-cli",
          `-h ${to.host} -p ${to.port}`,
          ...(to.clustered ? ["-c"] : []),
          ...(to.tls ? [`--tls --cacert ${CA}`] : []),
          ...(named ? [`--user ${USER}`] : []),
          ...(secret ? [`--pass ${iam ? "TOKEN" : PASSWORD}`] : []),
        ].join(" "),
      ].join("\n"),
    },
    { id: "redis-py", label: "redis-py", code: redisPy(to, named, secret, iam) },
    { id: "glide", label: "valkey-glide", code: glide(to, named, secret) },
    { id: "ioredis", label: "ioredis", code: ioredis(to, named, secret) },
    { id: "lettuce", label: "Lettuce", code: lettuce(to, named, secret) },
    { id: "go-redis", label: "go-redis", code: goRedis(to, named, secret) },
  ];
}

function redisPy(to: Target, named: boolean, secret: boolean, iam: boolean): string {
  const kind = to.clustered ? "RedisCluster" : "Redis";
  const words = [
    `host="${to.host}"`,
    `port=${to.port}`,
    ...(to.tls ? ["ssl=True", `ssl_ca_certs="${CA}"`] : []),
    ...(named && !iam ? [`username="${USER}"`] : []),
    ...(iam ? ["credential_provider=IamToken()"] : secret ? [`password="${PASSWORD}"`] : []),
  ];
  const head = to.clustered ? "from redis.cluster import RedisCluster" : "from redis import Redis";
  const provider = iam ? `${iamProvider(to)}\n\n` : "";
  return `${head}
${provider}
client = ${kind}(${words.join(", ")})
client.set("greeting", "hello")
print(client.get("greeting"))`;
}

function iamProvider(to: Target): string {
  return `import botocore.session
from botocore.model import ServiceId
from botocore.signers import RequestSigner
from redis import CredentialProvider


class IamToken(CredentialProvider):
    def get_credentials(self):
        session = botocore.session.get_session()
        signer = RequestSigner(ServiceId("elasticache"), "${to.region}", "elasticache", "v4",
                               session.get_credentials(), session.get_component("event_emitter"))
        url = "https://${to.cacheName}/?Action=connect&User=${USER}${to.serverless ? "&ResourceType=ServerlessCache" : ""}"
        signed = signer.generate_presigned_url(
            {"method": "GET", "url": url, "body": {}, "headers": {}, "context": {}},
            operation_name="connect", expires_in=900, region_name="${to.region}")
        return "${USER}", signed.removeprefix("https://")`;
}

function glide(to: Target, named: boolean, secret: boolean): string {
  const kind = to.clustered ? "GlideClusterClient" : "GlideClient";
  const configuration = to.clustered ? "GlideClusterClientConfiguration" : "GlideClientConfiguration";
  const words = [
    `[NodeAddress("${to.host}", ${to.port})]`,
    ...(to.tls ? ["use_tls=True"] : []),
    ...(secret ? [`credentials=ServerCredentials("${PASSWORD}"${named ? `, "${USER}"` : ""})`] : []),
  ];
  return `import asyncio
from glide import ${[kind, configuration, "NodeAddress", ...(secret ? ["ServerCredentials"] : [])].join(", ")}


async def main():
    client = await ${kind}.create(${configuration}(${words.join(", ")}))
    await client.set("greeting", "hello")
    print(await client.get("greeting"))


asyncio.run(main())`;
}

function ioredis(to: Target, named: boolean, secret: boolean): string {
  const options = [
    ...(to.tls ? [`tls: { ca: readFileSync("${CA}") }`] : []),
    ...(named ? [`username: "${USER}"`] : []),
    ...(secret ? [`password: "${PASSWORD}"`] : []),
  ];
  const head = `${to.tls ? 'import { readFileSync } from "node:fs";\n' : ""}import Redis from "ioredis";\n`;
  const made = to.clustered
    ? `new Redis.Cluster([{ host: "${to.host}", port: ${to.port} }]${
        options.length > 0 ? `, { redisOptions: { ${options.join(", ")} } }` : ""
      })`
    : `new Redis({ ${[`host: "${to.host}"`, `port: ${to.port}`, ...options].join(", ")} })`;
  return `${head}
const client = ${made};
await client.set("greeting", "hello");
console.log(await client.get("greeting"));`;
}

function lettuce(to: Target, named: boolean, secret: boolean): string {
  const uri = [
    `RedisURI uri = RedisURI.Builder.redis("${to.host}", ${to.port})`,
    ...(to.tls ? ["    .withSsl(true)"] : []),
    ...(named
      ? [`    .withAuthentication("${USER}", "${PASSWORD}")`]
      : secret
        ? [`    .withPassword("${PASSWORD}".toCharArray())`]
        : []),
    "    .build();",
  ].join("\n");
  const client = to.clustered ? "RedisClusterClient" : "RedisClient";
  return `import io.lettuce.core.*;
${to.clustered ? "import io.lettuce.core.cluster.*;\n" : ""}
${uri}
var client = ${client}.create(uri);
var commands = client.connect().sync();
commands.set("greeting", "hello");
System.out.println(commands.get("greeting"));`;
}

function goRedis(to: Target, named: boolean, secret: boolean): string {
  const words = [
    to.clustered ? `Addrs: []string{"${to.host}:${to.port}"},` : `Addr: "${to.host}:${to.port}",`,
    ...(named ? [`Username: "${USER}",`] : []),
    ...(secret ? [`Password: "${PASSWORD}",`] : []),
    ...(to.tls ? ["TLSConfig: &tls.Config{RootCAs: pool}, // the pool holds the server's CA"] : []),
  ];
  const made = to.clustered ? "NewClusterClient(&redis.ClusterOptions" : "NewClient(&redis.Options";
  return `client := redis.${made}{
    ${words.join("\n    ")}
})
ctx := context.Background()
client.Set(ctx, "greeting", "hello", 0)
fmt.Println(client.Get(ctx, "greeting").Val())`;
}

function memcached(to: Target): Snippet[] {
  return [
    {
      id: "pymemcache",
      label: "pymemcache",
      code: `${to.tls ? "import ssl\n" : ""}from pymemcache.client.base import Client

client = Client(("${to.host}", ${to.port})${to.tls ? `, tls_context=ssl.create_default_context(cafile="${CA}")` : ""})
client.set("greeting", "hello")
print(client.get("greeting"))`,
    },
    {
      id: "discovery",
      label: "Auto discovery",
      code: to.tls
        ? `printf 'config get cluster\\r\\nquit\\r\\n' | openssl s_client -quiet -CAfile ${CA} -connect ${to.host}:${to.port}`
        : `printf 'config get cluster\\r\\nquit\\r\\n' | nc ${to.host} ${to.port}`,
    },
    {
      id: "env",
      label: "Environment",
      code: `export MEMCACHED_HOST=${to.host} MEMCACHED_PORT=${to.port}`,
    },
  ];
}
