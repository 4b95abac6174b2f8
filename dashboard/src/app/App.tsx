/** From nothing to a page: ask the server what it is, sign in where it wants that, route. */

import Box from "@cloudscape-design/components/box";
import Spinner from "@cloudscape-design/components/spinner";
import { lazy, Suspense, useEffect, useState, type ReactNode } from "react";
import { HashRouter, Route, Routes } from "react-router";

import { readServerConfig, type ServerConfig } from "../api/session";
import { ErrorAlert } from "../components/ErrorAlert";
import { CacheList } from "../pages/caches/List";
import { FlashProvider } from "./flashes";
import { LiveProvider } from "./live";
import { PageBoundary } from "./PageBoundary";
import { Providers } from "./Providers";
import { Shell, usePage } from "./Shell";

const SignIn = lazy(async () => ({ default: (await import("./SignIn")).SignIn }));
const Dashboard = lazy(() => import("../pages/Dashboard"));
const CacheDetail = lazy(() => import("../pages/caches/Detail"));
const CreateCache = lazy(() => import("../pages/caches/Create"));
const Events = lazy(() => import("../pages/Events"));
const SubnetGroups = lazy(() => import("../pages/SubnetGroups"));
const ParameterGroups = lazy(() => import("../pages/parameterGroups/List"));
const ParameterGroup = lazy(() => import("../pages/parameterGroups/Detail"));
const Users = lazy(() => import("../pages/Users"));
const UserGroups = lazy(() => import("../pages/UserGroups"));
const Backups = lazy(() => import("../pages/Backups"));
const Serverless = lazy(() => import("../pages/Serverless"));
const ServerlessDetail = lazy(() => import("../pages/ServerlessDetail"));
const GlobalDatastores = lazy(() => import("../pages/GlobalDatastores"));
const ServiceUpdates = lazy(() => import("../pages/ServiceUpdates"));
const ReservedNodes = lazy(() => import("../pages/ReservedNodes"));
const Calls = lazy(() => import("../pages/Calls"));

export function App() {
  const [config, setConfig] = useState<ServerConfig>();
  const [error, setError] = useState<unknown>();
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    let current = true;
    readServerConfig().then(
      (found) => current && (setConfig(found), setError(undefined)),
      (reason: unknown) => current && setError(reason),
    );
    return () => {
      current = false;
    };
  }, [attempt]);
  if (error !== undefined) {
    return (
      <Box padding="xxl">
        <ErrorAlert error={error} onRetry={() => setAttempt((now) => now + 1)} />
      </Box>
    );
  }
  if (!config) {
    return <Loading />;
  }
  return (
    <Providers config={config} signInPage={(signIn) => (
        <Suspense fallback={<Loading />}>
          <SignIn config={config} onSignIn={signIn} />
        </Suspense>
      )}>
      <HashRouter>
        <FlashProvider>
          <LiveProvider>
            <Shell>
              <PageBoundary>
                <Suspense fallback={<Loading />}>{routes()}</Suspense>
              </PageBoundary>
            </Shell>
          </LiveProvider>
        </FlashProvider>
      </HashRouter>
    </Providers>
  );
}

function routes(): ReactNode {
  return (
    <Routes>
      <Route path="/" element={<Dashboard />} />
      {["valkey", "memcached", "redis"].map((engine) => (
        <Route key={engine} path={engine}>
          <Route index element={<CacheList engine={engine} />} />
          <Route path="create" element={<CreateCache engine={engine} />} />
          <Route path=":kind/:id" element={<CacheDetail />} />
          <Route path=":kind/:id/:tab" element={<CacheDetail />} />
        </Route>
      ))}
      <Route path="/subnet-groups" element={<SubnetGroups />} />
      <Route path="/parameter-groups" element={<ParameterGroups />} />
      <Route path="/parameter-groups/:name" element={<ParameterGroup />} />
      <Route path="/events" element={<Events />} />
      <Route path="/users" element={<Users />} />
      <Route path="/user-groups" element={<UserGroups />} />
      <Route path="/backups" element={<Backups />} />
      <Route path="/serverless" element={<Serverless />} />
      <Route path="/serverless/:name" element={<ServerlessDetail />} />
      <Route path="/serverless/:name/:tab" element={<ServerlessDetail />} />
      <Route path="/global-datastores" element={<GlobalDatastores />} />
      <Route path="/service-updates" element={<ServiceUpdates />} />
      <Route path="/reserved-nodes" element={<ReservedNodes />} />
      <Route path="/calls" element={<Calls />} />
      <Route path="*" element={<NoSuchPage />} />
    </Routes>
  );
}

function Loading() {
  return (
    <Box padding="xxl" textAlign="center">
      <Spinner size="large" />
      <Box variant="span" padding={{ left: "s" }}>
        Loading
      </Box>
    </Box>
  );
}

function NoSuchPage() {
  usePage({ text: "No such page" });
  return <Box padding="l">There is no such page.</Box>;
}
