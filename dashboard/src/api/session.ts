/** Who talks to the server, from where. Secrets live in memory only and go with the page. */

export interface ServerConfig {
  version: string;
  auth: "off" | "enforce";
  accountId: string;
  region: string;
  /** How far the server's clock is ahead of this machine's, in milliseconds. */
  clockAheadMs: number;
}

export interface Session {
  endpoint: string;
  region: string;
  /** With authentication off this is the account whose resources are shown. */
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

export const REGIONS = [
  "us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "eu-central-1", "eu-west-1",
  "eu-west-2", "eu-west-3", "eu-north-1", "eu-south-1", "ap-south-1", "ap-northeast-1",
  "ap-northeast-2", "ap-southeast-1", "ap-southeast-2", "sa-east-1", "me-south-1", "af-south-1",
];

const ACCOUNT = /^\d{12}$/;

export function isAccountId(text: string): boolean {
  return ACCOUNT.test(text);
}

/** The session of a server that believes whoever asks. */
export function openSession(config: ServerConfig, account?: string, region?: string): Session {
  return {
    endpoint: window.location.origin,
    region: region ?? config.region,
    accessKeyId: account !== undefined && isAccountId(account) ? account : config.accountId,
    secretAccessKey: "console",
  };
}

/**
 * Read what the server says of itself before anybody has signed in.
 *
 * @throws Error where the server does not answer, or answers something else.
 */
export async function readServerConfig(): Promise<ServerConfig> {
  const response = await fetch("./config.json", { credentials: "same-origin" });
  if (!response.ok) {
    throw new Error(`The server answered ${response.status}.`);
  }
  return toServerConfig(await response.json());
}

export function toServerConfig(json: unknown, nowMs: number = Date.now()): ServerConfig {
  const from = (json ?? {}) as Record<string, unknown>;
  if (typeof from["version"] !== "string" || typeof from["account_id"] !== "string") {
    throw new Error("The server's answer is not that of cachefleet.");
  }
  return {
    version: from["version"],
    auth: from["auth"] === "enforce" ? "enforce" : "off",
    accountId: from["account_id"],
    region: typeof from["region"] === "string" ? from["region"] : "us-east-1",
    clockAheadMs: typeof from["now"] === "string" ? Date.parse(from["now"]) - nowMs || 0 : 0,
  };
}
