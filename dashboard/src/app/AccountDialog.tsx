import { isAccountId } from "../api/session";
import { FormDialog } from "../components/FormDialog";
import { text } from "../components/fields";

interface AccountDialogProps {
  account: string;
  onUse: (account: string) => void;
  onClose: () => void;
}

/** Where nobody checks signatures, whoever asks says whose resources are meant. */
export default function AccountDialog({ account, onUse, onClose }: AccountDialogProps) {
  return (
    <FormDialog
      title="Use another account"
      submitLabel="Use"
      initial={{ account }}
      intro="Authentication is off: every account id of twelve digits is an account of its own."
      fields={[
        {
          key: "account",
          kind: "text",
          label: "Account ID",
          check: (typed) => (isAccountId(typed) ? undefined : "An account ID is twelve digits."),
        },
      ]}
      submit={async (values) => onUse(text(values, "account"))}
      onClose={onClose}
    />
  );
}
