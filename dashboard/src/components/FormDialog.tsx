/** A form in a dialog. What was typed stays until it has worked; refusals stand at their field. */

import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Form from "@cloudscape-design/components/form";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import { useState, type ReactNode } from "react";

import { placeError, toApiError } from "../api/errors";
import { checkFields, Fields, isVisible, type Field, type Value, type Values } from "./fields";

export interface FormDialogProps {
  title: string;
  intro?: ReactNode;
  fields: readonly Field[] | ((values: Values) => readonly Field[]);
  initial: Values;
  submitLabel: string;
  submit: (values: Values) => Promise<void>;
  onClose: () => void;
  size?: "small" | "medium" | "large";
  /** What the values amount to; shown under the fields. */
  footer?: (values: Values) => ReactNode;
}

export function FormDialog(props: FormDialogProps) {
  const [values, setValues] = useState<Values>(props.initial);
  const [errors, setErrors] = useState<Record<string, string>>({});
  const [general, setGeneral] = useState<string>();
  const [busy, setBusy] = useState(false);
  const fields = typeof props.fields === "function" ? props.fields(values) : props.fields;

  const change = (key: string, value: Value) => {
    setValues((now) => ({ ...now, [key]: value }));
    setErrors(({ [key]: _, ...rest }) => rest);
  };
  const submit = async () => {
    const found = checkFields(fields, values);
    setErrors(found);
    setGeneral(undefined);
    if (busy || Object.keys(found).length > 0) {
      return;
    }
    setBusy(true);
    try {
      await props.submit(values);
      props.onClose();
    } catch (error) {
      const told = toApiError(error);
      const key = placeError(told, fields.filter((field) => isVisible(field, values)));
      if (key) {
        setErrors({ [key]: told.message });
      } else {
        setGeneral(told.unreachable ? told.message : `${told.code}: ${told.message}`);
      }
    } finally {
      setBusy(false);
    }
  };

  return (
    <Modal
      visible
      header={props.title}
      size={props.size ?? "medium"}
      closeAriaLabel="Close dialog"
      onDismiss={props.onClose}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={props.onClose}>
              Cancel
            </Button>
            <Button variant="primary" loading={busy} onClick={submit}>
              {props.submitLabel}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <Form errorText={general}>
          <SpaceBetween size="l">
            {props.intro ? <Box>{props.intro}</Box> : null}
            <Fields fields={fields} values={values} errors={errors} onChange={change} />
            {props.footer?.(values)}
          </SpaceBetween>
        </Form>
      </form>
    </Modal>
  );
}

interface DeleteDialogProps {
  noun: string;
  names: readonly string[];
  /** What else is to be told or asked. */
  fields?: readonly Field[];
  initial?: Values;
  warning?: ReactNode;
  remove: (name: string, values: Values) => Promise<unknown>;
  onClose: () => void;
  onDone: (names: readonly string[]) => void;
}

const CONFIRMATION = "confirmation";

/** Asks to type the name before anything is deleted; many things are deleted by typing *delete*. */
export function DeleteDialog(props: DeleteDialogProps) {
  const word = props.names.length === 1 ? (props.names[0] ?? "") : "delete";
  const what = props.names.length === 1 ? `${props.noun} ${word}` : `${props.names.length} ${props.noun}s`;
  return (
    <FormDialog
      title={`Delete ${what}?`}
      submitLabel="Delete"
      initial={{ ...props.initial, [CONFIRMATION]: "" }}
      intro={
        <Alert type="warning" statusIconAriaLabel="Warning">
          {props.warning ?? "This cannot be undone."}
          {props.names.length > 1 ? ` To be deleted: ${props.names.join(", ")}.` : ""}
        </Alert>
      }
      fields={[
        ...(props.fields ?? []),
        {
          key: CONFIRMATION,
          kind: "text",
          label: `To confirm, type ${word}`,
          placeholder: word,
          check: (typed) => (typed === word ? undefined : `Type ${word} to confirm.`),
        },
      ]}
      submit={async (values) => {
        const done: string[] = [];
        try {
          for (const name of props.names) {
            await props.remove(name, values);
            done.push(name);
          }
        } finally {
          if (done.length > 0) {
            props.onDone(done);
          }
        }
      }}
      onClose={props.onClose}
    />
  );
}
