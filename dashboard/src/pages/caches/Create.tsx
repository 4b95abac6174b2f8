/** Create cache, in three steps. A refusal leads back to the step and the field that it is about. */

import { CreateCacheClusterCommand, CreateReplicationGroupCommand } from "@aws-sdk/client-elasticache";
import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Wizard from "@cloudscape-design/components/wizard";
import { useState } from "react";
import { useNavigate, useSearchParams } from "react-router";

import { groupRequest, memcachedRequest } from "../../api/cacheRequests";
import { engineName, ENGINES } from "../../api/caches";
import { placeError, toApiError } from "../../api/errors";
import { snippet } from "../../api/snippets";
import { useApi } from "../../app/Providers";
import { usePage } from "../../app/Shell";
import { CodeBlock } from "../../components/Copyable";
import { checkFields, Fields, isVisible, text, type Field, type Value, type Values } from "../../components/fields";
import { useAction } from "../../hooks/useAction";
import { useEngineVersions, useParameterGroups, useSnapshots, useSubnetGroups, useUserGroups } from "../../hooks/queries";
import { withoutSecrets } from "../../api/calls";
import { advancedFields, initialValues, readable, settingsFields, type Choices } from "./createFields";

export default function CreateCache({ engine }: { engine: string }) {
  const about = ENGINES.find(({ id }) => id === engine) ?? ENGINES[0];
  const title = `Create ${engineName(engine)} cache`;
  usePage({ text: about.title, path: `/${engine}` }, { text: title });
  const [search] = useSearchParams();
  return <CreateWizard key={engine} engine={engine} title={title} backup={search.get("backup") ?? undefined} />;
}

function useChoices(): Choices {
  return {
    versions: useEngineVersions().data,
    parameterGroups: useParameterGroups().data,
    subnetGroups: useSubnetGroups().data,
    userGroups: useUserGroups().data ?? [],
    snapshots: useSnapshots().data ?? [],
  };
}

interface CreateWizardProps {
  engine: string;
  title: string;
  backup: string | undefined;
}

function CreateWizard({ engine, title, backup }: CreateWizardProps) {
  const { client, session } = useApi();
  const navigate = useNavigate();
  const run = useAction();
  const choices = useChoices();
  const [values, setValues] = useState<Values>(() => initialValues(engine, backup));
  const [errors, setErrors] = useState<Record<string, string>>({});
  const [refusal, setRefusal] = useState<string>();
  const [step, setStep] = useState(0);
  const [busy, setBusy] = useState(false);

  const steps: Field[][] = [settingsFields(engine, values, choices), advancedFields(engine, choices)];
  const visible = steps.map((fields) => fields.filter((field) => isVisible(field, values)));
  const memcached = engine === "memcached";
  const input = memcached ? memcachedRequest(values) : groupRequest(engine, values);

  const change = (key: string, value: Value) => {
    setValues((now) => ({
      ...now,
      [key]: value,
      // What AWS ties together is tied together here.
      ...(key === "clusterMode" && value === "enabled" ? { autoFailover: true } : {}),
      ...(key === "clusterMode" ? { parameterGroup: "" } : {}),
      ...(key === "multiAz" && value === true ? { autoFailover: true } : {}),
      ...(key === "autoFailover" && value === false ? { multiAz: false } : {}),
      ...(key === "engineVersion" ? { parameterGroup: "" } : {}),
    }));
    setErrors(({ [key]: _, ...rest }) => rest);
    setRefusal(undefined);
  };
  const isStepFine = (at: number): boolean => {
    const found = checkFields(steps[at] ?? [], values);
    setErrors(found);
    return Object.keys(found).length === 0;
  };
  const submit = async () => {
    const wrong = steps.findIndex((fields) => Object.keys(checkFields(fields, values)).length > 0);
    if (wrong >= 0) {
      isStepFine(wrong);
      setStep(wrong);
      return;
    }
    setBusy(true);
    setRefusal(undefined);
    try {
      const name = text(values, "name").toLowerCase();
      await run({
        throws: true,
        done: `${name} is being created.`,
        changes: ["caches", "events"],
        act: async () =>
          memcached
            ? client.send(new CreateCacheClusterCommand(memcachedRequest(values)))
            : client.send(new CreateReplicationGroupCommand(groupRequest(engine, values))),
      });
      await navigate(`/${engine}/${memcached ? "cluster" : "group"}/${encodeURIComponent(name)}`);
    } catch (error) {
      const told = toApiError(error);
      const at = visible.findIndex((fields) => placeError(told, fields) !== undefined);
      const key = placeError(told, visible[at] ?? []);
      if (key === undefined) {
        setRefusal(told.unreachable ? told.message : `${told.code}: ${told.message}`);
      } else {
        setErrors({ [key]: told.message });
        setStep(at);
      }
    } finally {
      setBusy(false);
    }
  };

  const page = (at: number, header: string, description: string) => ({
    title: header,
    description,
    content: (
      <Container>
        <Fields fields={steps[at] ?? []} values={values} errors={errors} onChange={change} />
      </Container>
    ),
  });
  return (
    <Wizard
      i18nStrings={{
        stepNumberLabel: (number) => `Step ${number}`,
        collapsedStepsLabel: (number, count) => `Step ${number} of ${count}`,
        navigationAriaLabel: "Steps",
        cancelButton: "Cancel",
        previousButton: "Previous",
        nextButton: "Next",
        submitButton: "Create",
        optional: "optional",
      }}
      activeStepIndex={step}
      isLoadingNextStep={busy}
      onCancel={() => void navigate(`/${engine}`)}
      onNavigate={({ detail }) => {
        if (detail.requestedStepIndex < step || isStepFine(step)) {
          setStep(detail.requestedStepIndex);
        }
      }}
      onSubmit={() => void submit()}
      steps={[
        page(0, "Cluster settings", title),
        page(1, "Advanced settings", "Security, backups, maintenance, logs, tags"),
        {
          title: "Review and create",
          content: (
            <SpaceBetween size="l">
              {refusal ? <Alert type="error">{refusal}</Alert> : null}
              {visible.map((fields, at) => (
                <Container
                  key={at}
                  header={
                    <Header variant="h2" actions={<Button onClick={() => setStep(at)}>Edit</Button>}>
                      {at === 0 ? "Cluster settings" : "Advanced settings"}
                    </Header>
                  }
                >
                  <KeyValuePairs
                    columns={3}
                    items={fields.map((field) => ({
                      label: field.label,
                      value: <Box variant="span">{readable(field, values)}</Box>,
                    }))}
                  />
                </Container>
              ))}
              <Container header={<Header variant="h2">The same as a command</Header>}>
                <CodeBlock
                  label="aws-cli command"
                  code={snippet(
                    "aws-cli",
                    memcached ? "CreateCacheCluster" : "CreateReplicationGroup",
                    withoutSecrets(input) as Record<string, unknown>,
                    session,
                  )}
                />
              </Container>
            </SpaceBetween>
          ),
        },
      ]}
    />
  );
}
