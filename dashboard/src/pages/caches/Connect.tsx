import Alert from "@cloudscape-design/components/alert";
import Container from "@cloudscape-design/components/container";
import FormField from "@cloudscape-design/components/form-field";
import Header from "@cloudscape-design/components/header";
import SegmentedControl from "@cloudscape-design/components/segmented-control";
import Select from "@cloudscape-design/components/select";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Tabs from "@cloudscape-design/components/tabs";
import { useState } from "react";

import { hostPort, toShards, type HostPort } from "../../api/caches";
import { snippets, type Target } from "../../api/connect";
import { useApi } from "../../app/Providers";
import { CodeBlock } from "../../components/Copyable";
import type { CacheRecord } from "../../hooks/queries";

type Auth = Target["auth"];

interface Place {
  value: string;
  label: string;
  endpoint: HostPort;
  /** Clients of cluster mode begin here and find the others. */
  entry: boolean;
}

export default function ConnectTab({ record }: { record: CacheRecord }) {
  const { cache, members } = record;
  const nodes = toShards(cache, members).flatMap((shard) => shard.nodes);
  const places: Place[] = [
    ...(cache.endpoint ? [{ value: "main", label: cache.clusterMode === "enabled" || cache.engine === "memcached" ? "Configuration endpoint" : "Primary endpoint", endpoint: cache.endpoint, entry: true }] : []),
    ...(cache.reader ? [{ value: "reader", label: "Reader endpoint", endpoint: cache.reader, entry: false }] : []),
    ...nodes.flatMap((node) => (node.endpoint ? [{ value: node.key, label: `Node ${node.clusterId} ${node.role}`.trim(), endpoint: node.endpoint, entry: false }] : [])),
  ];
  const defaultAuth: Auth = cache.group?.AuthTokenEnabled ? "token" : (cache.group?.UserGroupIds ?? []).length > 0 ? "users" : "none";
  return (
    <Connect
      engine={cache.engine}
      name={cache.id}
      places={places}
      tls={cache.transitEncryption}
      clustered={cache.clusterMode === "enabled"}
      defaultAuth={defaultAuth}
    />
  );
}

interface ConnectProps {
  engine: string;
  name: string;
  places: readonly Place[];
  tls: boolean;
  clustered: boolean;
  defaultAuth: Auth;
  serverless?: boolean;
}

/** Snippets for the endpoint that is chosen, with the authentication that is chosen. */
export function Connect({ engine, name, places, tls, clustered, defaultAuth, serverless = false }: ConnectProps) {
  const { session } = useApi();
  const [where, setWhere] = useState("main");
  const [auth, setAuth] = useState<Auth>(defaultAuth);
  const place = places.find((one) => one.value === where) ?? places[0];
  if (!place) {
    return <Alert type="info">There is no endpoint yet. It is here as soon as the nodes serve.</Alert>;
  }
  const found = snippets({
    engine,
    serverless,
    host: place.endpoint.address,
    port: place.endpoint.port,
    tls,
    clustered: clustered && place.entry,
    auth,
    cacheName: name,
    region: session.region,
  });
  const shown = { value: place.value, label: place.label, description: hostPort(place.endpoint) };
  return (
    <Container
      header={
        <Header
          variant="h2"
          description={
            tls
              ? "The connection is encrypted. ca.pem is a copy of tls/ca.crt in the server's data directory."
              : "The connection is not encrypted."
          }
        >
          Connect
        </Header>
      }
    >
      <SpaceBetween size="l">
        <FormField label="Endpoint">
          <Select
            selectedOption={shown}
            options={places.map(({ value, label, endpoint }) => ({ value, label, description: hostPort(endpoint) }))}
            onChange={({ detail }) => setWhere(detail.selectedOption.value ?? "main")}
          />
        </FormField>
        {engine === "memcached" ? null : (
          <FormField label="Authentication">
            <SegmentedControl
              label="Authentication"
              selectedId={auth}
              options={[
                { id: "none", text: "None" },
                { id: "token", text: "AUTH token" },
                { id: "users", text: "User and password" },
                { id: "iam", text: "IAM" },
              ]}
              onChange={({ detail }) => setAuth(detail.selectedId as Auth)}
            />
          </FormField>
        )}
        <Tabs
          ariaLabel="Clients"
          tabs={found.map(({ id, label, code }) => ({ id, label, content: <CodeBlock code={code} label={`${label} snippet`} /> }))}
        />
      </SpaceBetween>
    </Container>
  );
}
