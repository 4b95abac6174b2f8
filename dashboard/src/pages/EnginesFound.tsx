import Box from "@cloudscape-design/components/box";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import { useQuery } from "@tanstack/react-query";

import { useApi } from "../app/Providers";
import { ErrorAlert } from "../components/ErrorAlert";

interface Binary {
  Kind: string;
  Version: string;
  Tls: boolean;
  Source: string;
}

/** What this machine can run engines with. */
export function EnginesFound() {
  const { v1 } = useApi();
  const { data, error } = useQuery({
    queryKey: ["engines"],
    staleTime: Infinity,
    queryFn: ({ signal }) => v1.call<{ Engines: Binary[] }>("/v1/engines", { signal }),
  });
  return (
    <Container header={<Header variant="h2">Engines found</Header>}>
      {error ? <ErrorAlert error={error} /> : null}
      {data?.Engines.length === 0 ? <Box>None.</Box> : null}
      <KeyValuePairs
        columns={2}
        items={(data?.Engines ?? []).map((one) => ({
          label: `${one.Kind} ${one.Version}`,
          value: `${one.Source}, ${one.Tls ? "with TLS" : "TLS by the gateway"}`,
        }))}
      />
    </Container>
  );
}
