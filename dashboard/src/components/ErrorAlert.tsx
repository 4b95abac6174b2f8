import Alert from "@cloudscape-design/components/alert";
import Button from "@cloudscape-design/components/button";

import { toApiError } from "../api/errors";

interface ErrorAlertProps {
  error: unknown;
  onRetry?: (() => void) | undefined;
  /** What could not be done. */
  title?: string;
}

/** What the server said, in its own words; where something is not built, that is what it says. */
export function ErrorAlert({ error, onRetry, title }: ErrorAlertProps) {
  const told = toApiError(error);
  const header = told.unreachable
    ? "The server cannot be reached"
    : told.notImplemented
      ? "This is not implemented by this server"
      : (title ?? told.code);
  return (
    <Alert
      type={told.notImplemented ? "info" : "error"}
      header={header}
      action={onRetry && !told.notImplemented ? <Button onClick={onRetry}>Retry</Button> : undefined}
    >
      {told.message}
      {title && !told.unreachable && !told.notImplemented ? ` (${told.code})` : ""}
    </Alert>
  );
}
