/** The calls that this page has made, to learn from and to copy. */

import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import SegmentedControl from "@cloudscape-design/components/segmented-control";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import Table from "@cloudscape-design/components/table";
import Toggle from "@cloudscape-design/components/toggle";
import { useState, useSyncExternalStore } from "react";

import { callLog, CALLS_MAX } from "../api/calls";
import { snippet, type Language } from "../api/snippets";
import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { CodeBlock } from "../components/Copyable";

const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });

export default function Calls() {
  usePage({ text: "Call log" });
  const { session } = useApi();
  const all = useSyncExternalStore(callLog.subscribe, callLog.all);
  const [chosen, setChosen] = useState<number>();
  const [language, setLanguage] = useState<Language>("aws-cli");
  const [changesOnly, setChangesOnly] = useState(true);
  const calls = changesOnly ? all.filter((call) => !/^(Describe|List)/.test(call.operation)) : all;
  const call = calls.find(({ id }) => id === chosen) ?? calls[0];
  return (
    <SpaceBetween size="l">
      <Table
        variant="container"
        items={[...calls]}
        trackBy="id"
        resizableColumns
        selectionType="single"
        selectedItems={call ? [call] : []}
        onSelectionChange={({ detail }) => setChosen(detail.selectedItems[0]?.id)}
        onRowClick={({ detail }) => setChosen(detail.item.id)}
        ariaLabels={{
          tableLabel: "Call log",
          selectionGroupLabel: "Select a call",
          itemSelectionLabel: (_, one) => `Select call ${one.id}`,
          resizerRoleDescription: "Resize button",
        }}
        header={
          <Header
            variant="h1"
            counter={`(${calls.length})`}
            description={`The last ${CALLS_MAX} calls of this page, in this page's memory. Secrets are left out.`}
            actions={
              <SpaceBetween direction="horizontal" size="m" alignItems="center">
                <Toggle checked={changesOnly} onChange={({ detail }) => setChangesOnly(detail.checked)}>
                  Changes only
                </Toggle>
                <Button onClick={callLog.clear}>Clear</Button>
              </SpaceBetween>
            }
          >
            Call log
          </Header>
        }
        empty={changesOnly ? "Nothing has been changed yet. Create, modify or delete something, and the call is here." : "No calls yet."}
        columnDefinitions={[
          { id: "time", header: "Time", width: 140, cell: (one) => TIME.format(one.startedAt) },
          { id: "operation", header: "Operation", width: 280, cell: (one) => one.operation, isRowHeader: true },
          { id: "result", header: "Result", width: 280, cell: (one) => (one.errorCode ? <StatusIndicator type="error">{one.errorCode}</StatusIndicator> : <StatusIndicator>OK</StatusIndicator>) },
          { id: "duration", header: "Duration", width: 110, cell: (one) => `${one.durationMs.toFixed(0)} ms` },
          { id: "request", header: "Request ID", width: 320, cell: (one) => one.requestId ?? "–" },
        ]}
      />
      {call ? (
        <Container
          header={
            <Header
              actions={
                <SegmentedControl
                  label="Copy as"
                  selectedId={language}
                  options={[
                    { id: "aws-cli", text: "aws-cli" },
                    { id: "boto3", text: "boto3" },
                    { id: "terraform", text: "Terraform" },
                  ]}
                  onChange={({ detail }) => setLanguage(detail.selectedId as Language)}
                />
              }
            >
              {call.operation}
            </Header>
          }
        >
          <SpaceBetween size="m">
            {call.errorMessage ? <Box color="text-status-error">{call.errorMessage}</Box> : null}
            <CodeBlock label={`Call as ${language}`} code={snippet(language, call.operation, call.input, session)} />
          </SpaceBetween>
        </Container>
      ) : null}
    </SpaceBetween>
  );
}
