/** The AWS SDK against the server that the page came from. Every call lands in the call log. */

import { ElastiCacheClient } from "@aws-sdk/client-elasticache";

import { callLog, type CallLog } from "./calls";
import { toApiError } from "./errors";
import type { Session } from "./session";

const REQUEST_TIMEOUT_MS = 30_000;

export function makeClient(session: Session, log: CallLog = callLog): ElastiCacheClient {
  const client = new ElastiCacheClient({
    endpoint: session.endpoint,
    region: session.region,
    credentials: {
      accessKeyId: session.accessKeyId,
      secretAccessKey: session.secretAccessKey,
      ...(session.sessionToken ? { sessionToken: session.sessionToken } : {}),
    },
    // What failed is shown at once; who wants to try again presses a button.
    maxAttempts: 1,
    requestHandler: { requestTimeout: REQUEST_TIMEOUT_MS },
  });
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const startedAt = new Date();
      const began = performance.now();
      const about = {
        operation: (context.commandName ?? "").replace(/Command$/, ""),
        input: args.input as Record<string, unknown>,
        startedAt,
      };
      try {
        const reply = await next(args);
        const metadata = (reply.output as { $metadata?: { requestId?: string } }).$metadata;
        log.add({
          ...about,
          durationMs: performance.now() - began,
          ...(metadata?.requestId ? { requestId: metadata.requestId } : {}),
        });
        return reply;
      } catch (error) {
        const told = toApiError(error);
        log.add({
          ...about,
          durationMs: performance.now() - began,
          errorCode: told.code,
          errorMessage: told.message,
          ...(told.requestId ? { requestId: told.requestId } : {}),
        });
        throw error;
      }
    },
    { step: "initialize", name: "callLog", priority: "high" },
  );
  return client;
}
