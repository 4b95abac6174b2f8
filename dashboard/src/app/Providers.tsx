/** The session and what hangs on it: SDK client, `/v1` client, query cache. A new session starts empty. */

import type { ElastiCacheClient } from "@aws-sdk/client-elasticache";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { createContext, useContext, useMemo, useState, type ReactNode } from "react";

import { makeClient } from "../api/client";
import { toApiError } from "../api/errors";
import { openSession, type ServerConfig, type Session } from "../api/session";
import { V1Client } from "../api/v1";
import { prefetchCaches } from "../hooks/queries";

export interface Api {
  client: ElastiCacheClient;
  v1: V1Client;
  session: Session;
  config: ServerConfig;
  /** Undefined where nobody is signed in and the server wants to know who asks. */
  signIn: (session: Session) => void;
  signOut: () => void;
}

const ApiContext = createContext<Api | undefined>(undefined);

/** Pages whose first look is at all caches: the dashboard and the lists. */
const SHOWS_CACHES = /^(#\/(valkey|redis|memcached)?)?$/;

const STALE_AFTER_MS = 10_000;
const RETRIES_MAX = 2;

function makeQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: STALE_AFTER_MS,
        refetchOnWindowFocus: true,
        // Only a server that does not answer is asked again; its refusals are answers.
        retry: (count, error) => count < RETRIES_MAX && toApiError(error).unreachable,
      },
    },
  });
}

interface ProvidersProps {
  config: ServerConfig;
  signInPage: (signIn: (session: Session) => void) => ReactNode;
  children: ReactNode;
}

export function Providers({ config, signInPage, children }: ProvidersProps) {
  const [session, setSession] = useState<Session | undefined>(() =>
    config.auth === "off" ? openSession(config) : undefined,
  );
  const api = useMemo(() => {
    if (!session) {
      return undefined;
    }
    const client = makeClient(session);
    const queries = makeQueryClient();
    if (SHOWS_CACHES.test(window.location.hash)) {
      prefetchCaches(client, queries);
    }
    return {
      client,
      v1: new V1Client(session, client),
      session,
      config,
      signIn: setSession,
      signOut: () => setSession(config.auth === "off" ? openSession(config) : undefined),
      queries,
    };
  }, [session, config]);
  if (!api) {
    return signInPage(setSession);
  }
  return (
    <QueryClientProvider client={api.queries}>
      <ApiContext.Provider value={api}>{children}</ApiContext.Provider>
    </QueryClientProvider>
  );
}

export function useApi(): Api {
  const api = useContext(ApiContext);
  if (!api) {
    throw new Error("useApi outside of Providers");
  }
  return api;
}
