/** A group's parameters: edit in place, look at the difference, save. */

import {
  DescribeCacheParametersCommand,
  ModifyCacheParameterGroupCommand,
  ResetCacheParameterGroupCommand,
  type Parameter,
} from "@aws-sdk/client-elasticache";
import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import Select from "@cloudscape-design/components/select";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Table from "@cloudscape-design/components/table";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { useParams } from "react-router";

import { toApiError } from "../../api/errors";
import { batches, choicesOf, EDITS_MAX, editsOf, parameterRefusal, type Edit } from "../../api/parameters";
import { useApi } from "../../app/Providers";
import { usePage } from "../../app/Shell";
import { FormDialog } from "../../components/FormDialog";
import { ResourceTable, type Column } from "../../components/ResourceTable";
import { useAction } from "../../hooks/useAction";
import { collect, PAGE_RECORDS } from "../../hooks/queries";

const nameOf = (parameter: Parameter) => parameter.ParameterName ?? "";

export default function ParameterGroup() {
  const { name = "" } = useParams();
  usePage({ text: "Parameter groups", path: "/parameter-groups" }, { text: name });
  return <Editor key={name} name={name} />;
}

function Editor({ name }: { name: string }) {
  const { client } = useApi();
  const run = useAction();
  const query = useQuery({
    queryKey: ["parameters", name],
    queryFn: ({ signal }) =>
      collect(async (Marker) => {
        const reply = await client.send(
          new DescribeCacheParametersCommand({ CacheParameterGroupName: name, MaxRecords: PAGE_RECORDS, Marker }),
          { abortSignal: signal },
        );
        return { items: reply.Parameters ?? [], marker: reply.Marker };
      }),
  });
  const [drafts, setDrafts] = useState<Record<string, string>>({});
  const [asking, setAsking] = useState<"save" | "reset">();
  const editable = !name.startsWith("default.");
  const parameters = query.data ?? [];
  const edits = editsOf(parameters, drafts);
  const wrong = edits.some((edit) => {
    const parameter = parameters.find((one) => nameOf(one) === edit.name);
    return parameter !== undefined && parameterRefusal(parameter, edit.after) !== undefined;
  });
  const columns = useMemo<Column<Parameter>[]>(
    () => [
      { id: "name", header: "Name", cell: nameOf, value: nameOf, width: 280, rowHeader: true },
      {
        id: "value",
        header: "Value",
        width: 240,
        value: (parameter) => parameter.ParameterValue ?? "",
        cell: (parameter) =>
          editable && parameter.IsModifiable ? (
            <ValueEditor
              parameter={parameter}
              value={drafts[nameOf(parameter)] ?? parameter.ParameterValue ?? ""}
              onChange={(value) => setDrafts((now) => ({ ...now, [nameOf(parameter)]: value }))}
            />
          ) : (
            (parameter.ParameterValue ?? "–")
          ),
      },
      { id: "allowed", header: "Allowed values", cell: (one) => one.AllowedValues ?? "–", value: (one) => one.AllowedValues ?? "", width: 240 },
      { id: "modifiable", header: "Modifiable", cell: (one) => (one.IsModifiable ? "Yes" : "No"), value: (one) => (one.IsModifiable ? "Yes" : "No"), width: 110 },
      { id: "type", header: "Data type", cell: (one) => one.DataType, value: (one) => one.DataType ?? "", width: 110 },
      { id: "source", header: "Source", cell: (one) => one.Source, value: (one) => one.Source ?? "", width: 110 },
      { id: "change", header: "Takes effect", cell: (one) => one.ChangeType, value: (one) => one.ChangeType ?? "", width: 150 },
      { id: "description", header: "Description", cell: (one) => one.Description, value: (one) => one.Description ?? "", width: 420 },
    ],
    [drafts, editable],
  );
  return (
    <SpaceBetween size="m">
      {editable ? null : <Alert type="info">A default group cannot be changed. Create a group of the same family to set values.</Alert>}
      <ResourceTable
        name="parameters"
        title={name}
        noun="parameter"
        variant="full-page"
        simpleFilter
        items={query.data}
        columns={columns}
        keyOf={nameOf}
        loading={query.isPending}
        error={query.error}
        onRefresh={() => void query.refetch()}
        selection="none"
        actions={() =>
          editable ? (
            <>
              <Button onClick={() => setAsking("reset")}>Reset to defaults</Button>
              <Button disabled={edits.length === 0} onClick={() => setDrafts({})}>Discard changes</Button>
              <Button variant="primary" disabled={edits.length === 0 || wrong} onClick={() => setAsking("save")}>
                {edits.length > 0 ? `Review ${edits.length} changes` : "Save changes"}
              </Button>
            </>
          ) : null
        }
      />
      {asking === "save" ? (
        <Review
          edits={edits}
          onClose={() => setAsking(undefined)}
          save={async () => {
            await run({
              throws: true,
              done: `${edits.length} parameters of ${name} are saved.`,
              changes: ["parameters", "parameter-groups", "caches", "events"],
              act: async () => {
                for (const batch of batches(edits, EDITS_MAX)) {
                  await client.send(
                    new ModifyCacheParameterGroupCommand({
                      CacheParameterGroupName: name,
                      ParameterNameValues: batch.map((edit) => ({ ParameterName: edit.name, ParameterValue: edit.after })),
                    }),
                  );
                }
              },
            });
            setDrafts({});
          }}
        />
      ) : null}
      {asking === "reset" ? (
        <FormDialog
          title={`Reset ${name}?`}
          submitLabel="Reset"
          initial={{}}
          fields={[]}
          intro="Every parameter gets the value that its family has."
          submit={async () => {
            await run({
              throws: true,
              done: `${name} has its family's values again.`,
              changes: ["parameters", "parameter-groups", "caches", "events"],
              act: () => client.send(new ResetCacheParameterGroupCommand({ CacheParameterGroupName: name, ResetAllParameters: true })),
            });
            setDrafts({});
          }}
          onClose={() => setAsking(undefined)}
        />
      ) : null}
    </SpaceBetween>
  );
}

interface ValueEditorProps {
  parameter: Parameter;
  value: string;
  onChange: (value: string) => void;
}

function ValueEditor({ parameter, value, onChange }: ValueEditorProps) {
  const refusal = value === (parameter.ParameterValue ?? "") ? undefined : parameterRefusal(parameter, value);
  const choices = choicesOf(parameter);
  const label = `Value of ${nameOf(parameter)}`;
  if (choices.length > 0) {
    return (
      <Select
        ariaLabel={label}
        selectedOption={{ value, label: value }}
        options={choices.map((choice) => ({ value: choice, label: choice }))}
        onChange={({ detail }) => onChange(detail.selectedOption.value ?? "")}
        expandToViewport
      />
    );
  }
  return (
    <>
      <Input value={value} ariaLabel={label} invalid={refusal !== undefined} onChange={({ detail }) => onChange(detail.value)} />
      {refusal ? <Box color="text-status-error" fontSize="body-s">{refusal}</Box> : null}
    </>
  );
}

function Review({ edits, save, onClose }: { edits: readonly Edit[]; save: () => Promise<void>; onClose: () => void }) {
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<string>();
  return (
    <Modal
      visible
      size="large"
      header="Review changes"
      closeAriaLabel="Close dialog"
      onDismiss={onClose}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onClose}>Cancel</Button>
            <Button
              variant="primary"
              loading={busy}
              onClick={() => {
                setBusy(true);
                save()
                  .then(onClose)
                  .catch((error: unknown) => {
                    const told = toApiError(error);
                    setRefusal(`${told.code}: ${told.message}`);
                    setBusy(false);
                  });
              }}
            >
              Save changes
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="m">
        {refusal ? <Alert type="error">{refusal}</Alert> : null}
        <Table
          variant="embedded"
          items={[...edits]}
          trackBy="name"
          ariaLabels={{ tableLabel: "Changes" }}
          columnDefinitions={[
            { id: "name", header: "Parameter", cell: (edit) => edit.name, isRowHeader: true },
            { id: "before", header: "Before", cell: (edit) => <del>{edit.before || "(empty)"}</del> },
            { id: "after", header: "After", cell: (edit) => <ins>{edit.after || "(empty)"}</ins> },
          ]}
        />
      </SpaceBetween>
    </Modal>
  );
}
