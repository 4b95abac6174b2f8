import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Form from "@cloudscape-design/components/form";
import Header from "@cloudscape-design/components/header";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { DescribeEventsCommand } from "@aws-sdk/client-elasticache";
import { useState } from "react";

import { makeClient } from "../api/client";
import { toApiError } from "../api/errors";
import type { ServerConfig, Session } from "../api/session";
import { checkFields, Fields, text, type Field, type Values } from "../components/fields";

const FIELDS: Field[] = [
  { key: "id", kind: "text", label: "Access key ID" },
  { key: "secret", kind: "password", label: "Secret access key" },
  { key: "token", kind: "password", label: "Session token", optional: true },
  { key: "region", kind: "text", label: "Region" },
];

interface SignInProps {
  config: ServerConfig;
  onSignIn: (session: Session) => void;
}

/** Asks for an access key. It is checked by a call, and kept in this page's memory only. */
export function SignIn({ config, onSignIn }: SignInProps) {
  const [values, setValues] = useState<Values>({ id: "", secret: "", token: "", region: config.region });
  const [errors, setErrors] = useState<Record<string, string>>({});
  const [refusal, setRefusal] = useState<string>();
  const [busy, setBusy] = useState(false);
  const submit = async () => {
    const found = checkFields(FIELDS, values);
    setErrors(found);
    if (Object.keys(found).length > 0) {
      return;
    }
    const session: Session = {
      endpoint: window.location.origin,
      region: text(values, "region"),
      accessKeyId: text(values, "id"),
      secretAccessKey: text(values, "secret"),
      ...(text(values, "token") ? { sessionToken: text(values, "token") } : {}),
    };
    setBusy(true);
    try {
      await makeClient(session).send(new DescribeEventsCommand({ Duration: 1, MaxRecords: 20 }));
      onSignIn(session);
    } catch (error) {
      const told = toApiError(error);
      // Somebody who may not read events is known all the same.
      if (/AccessDenied|NotAuthorized/.test(told.code)) {
        onSignIn(session);
      } else {
        setRefusal(told.message);
      }
    } finally {
      setBusy(false);
    }
  };
  return (
    <main className="sign-in">
      <Box padding="xxl">
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void submit();
          }}
        >
          <Form
            actions={
              <Button variant="primary" loading={busy} formAction="submit">
                Sign in
              </Button>
            }
          >
            <Container header={<Header variant="h1">Sign in to cachefleet</Header>}>
              <SpaceBetween size="l">
                <Box variant="p">
                  This server checks signatures. Use an access key that it knows. The key stays in the memory
                  of this page and is gone when you close or reload it.
                </Box>
                {refusal ? <Alert type="error">{refusal}</Alert> : null}
                <Fields
                  fields={FIELDS}
                  values={values}
                  errors={errors}
                  onChange={(key, value) => setValues((now) => ({ ...now, [key]: value }))}
                />
              </SpaceBetween>
            </Container>
          </Form>
        </form>
      </Box>
    </main>
  );
}
