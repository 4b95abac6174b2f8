import StatusIndicator, { type StatusIndicatorProps } from "@cloudscape-design/components/status-indicator";

import { toneOf } from "../api/caches";

/** A status of the API in its own words, with the sign that goes with it. */
export function Status({ status }: { status: string | undefined }) {
  if (!status) {
    return <>–</>;
  }
  const type: StatusIndicatorProps.Type = toneOf(status);
  return <StatusIndicator type={type}>{sentence(status)}</StatusIndicator>;
}

export function sentence(word: string): string {
  return word.slice(0, 1).toUpperCase() + word.slice(1);
}

export function OnOff({ on }: { on: boolean | undefined }) {
  return <StatusIndicator type={on ? "success" : "stopped"}>{on ? "Enabled" : "Disabled"}</StatusIndicator>;
}
