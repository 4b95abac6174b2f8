/** Signed calls of `/v1`, for what AWS has no call for, and its event stream. */

import type { ElastiCacheClient } from "@aws-sdk/client-elasticache";
import { SignatureV4 } from "@smithy/signature-v4";

import { EventReader, type ServerEvent } from "./sse";
import type { Session } from "./session";

const CALL_TIMEOUT_MS = 30_000;

export class V1Refused extends Error {
  readonly $metadata: { httpStatusCode: number; requestId?: string };

  constructor(status: number, code: string, message: string) {
    super(message);
    this.name = code;
    this.$metadata = { httpStatusCode: status };
  }
}

export type Query = Record<string, string | number | boolean | readonly string[] | undefined>;

export interface V1Request {
  method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  query?: Query;
  body?: unknown;
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

export class V1Client {
  private readonly signer: SignatureV4;

  constructor(
    private readonly session: Session,
    client: ElastiCacheClient,
  ) {
    this.signer = new SignatureV4({
      service: "elasticache",
      region: session.region,
      credentials: session,
      sha256: client.config.sha256,
    });
  }

  /**
   * Call `/v1` and return the JSON that it answers.
   *
   * @throws V1Refused where it answers an error, TypeError where it does not answer.
   */
  async call<T>(path: string, request: V1Request = {}): Promise<T> {
    const signal = request.signal
      ? AbortSignal.any([request.signal, AbortSignal.timeout(CALL_TIMEOUT_MS)])
      : AbortSignal.timeout(CALL_TIMEOUT_MS);
    const response = await this.fetch(path, { ...request, signal });
    if (response.status === 204) {
      return undefined as T;
    }
    return (await response.json()) as T;
  }

  /** Read an event stream until it ends or is aborted. */
  async *stream(path: string, request: V1Request = {}): AsyncGenerator<ServerEvent> {
    const response = await this.fetch(path, {
      ...request,
      headers: { accept: "text/event-stream", ...request.headers },
    });
    if (!response.body) {
      return;
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const events = new EventReader();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) {
          return;
        }
        yield* events.feed(value);
      }
    } finally {
      reader.cancel().catch(() => undefined);
    }
  }

  private async fetch(path: string, request: V1Request): Promise<Response> {
    const url = new URL(path, this.session.endpoint);
    const query: Record<string, string | string[]> = {};
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (Array.isArray(value)) {
        query[name] = value.map(String);
        for (const item of value) {
          url.searchParams.append(name, String(item));
        }
      } else if (value !== undefined) {
        query[name] = String(value);
        url.searchParams.set(name, String(value));
      }
    }
    const body = request.body === undefined ? undefined : JSON.stringify(request.body);
    const signed = await this.signer.sign({
      method: request.method ?? "GET",
      protocol: url.protocol,
      hostname: url.hostname,
      ...(url.port ? { port: Number(url.port) } : {}),
      path: url.pathname,
      query,
      headers: {
        host: url.host,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...request.headers,
      },
      body,
    });
    const { host: _, ...headers } = signed.headers;
    const response = await fetch(url, {
      method: signed.method,
      headers,
      ...(body === undefined ? {} : { body }),
      ...(request.signal ? { signal: request.signal } : {}),
    });
    if (!response.ok) {
      throw await refusal(response);
    }
    return response;
  }
}

async function refusal(response: Response): Promise<V1Refused> {
  const text = await response.text();
  try {
    const json = JSON.parse(text) as Record<string, unknown>;
    const error = (json["error"] ?? json["Error"] ?? json) as Record<string, unknown>;
    const code = String(error["code"] ?? error["Code"] ?? error["title"] ?? response.status);
    const told = error["message"] ?? error["Message"] ?? error["detail"] ?? text;
    return new V1Refused(response.status, code, typeof told === "string" ? told : JSON.stringify(told));
  } catch {
    return new V1Refused(response.status, String(response.status), text.slice(0, 500) || response.statusText);
  }
}
