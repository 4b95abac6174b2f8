import Alert from "@cloudscape-design/components/alert";
import Button from "@cloudscape-design/components/button";
import { Component, type ReactNode } from "react";

/** A page that breaks says so; the frame and its navigation stay. */
export class PageBoundary extends Component<{ children: ReactNode }, { error?: Error }> {
  override state: { error?: Error } = {};

  static getDerivedStateFromError(error: Error): { error: Error } {
    return { error };
  }

  override render(): ReactNode {
    if (!this.state.error) {
      return this.props.children;
    }
    return (
      <Alert
        type="error"
        header="This page broke"
        action={<Button onClick={() => window.location.reload()}>Reload</Button>}
      >
        {this.state.error.message}
      </Alert>
    );
  }
}
