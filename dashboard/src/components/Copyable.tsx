import CopyToClipboard from "@cloudscape-design/components/copy-to-clipboard";

import { useState } from "react";

import "./code.css";

/** Text with a copy button; selectable, since browsers refuse the clipboard to plain HTTP names. */
export function Copyable({ text, label }: { text: string | undefined; label: string }) {
  if (!text || text === "–") {
    return <>–</>;
  }
  return (
    <span className="breakable">
      <CopyToClipboard
        variant="inline"
        textToCopy={text}
        textToDisplay={text}
        copyButtonAriaLabel={`Copy ${label}`}
        copySuccessText="Copied"
        copyErrorText="The browser refused; select the text instead"
      />
    </span>
  );
}

const COPIED_MS = 2_000;

/** The same for tables with many rows: a plain button, whose message is not built until it is pressed. */
export function CopyCell({ text, label }: { text: string; label: string }) {
  const [told, setTold] = useState("");
  if (text === "" || text === "–") {
    return <>–</>;
  }
  const say = (word: string) => {
    setTold(word);
    setTimeout(() => setTold(""), COPIED_MS);
  };
  const copy = () => {
    // Browsers have no clipboard for plain HTTP names.
    (navigator.clipboard?.writeText(text) ?? Promise.reject(new Error())).then(
      () => say("Copied"),
      () => say("Select the text instead"),
    );
  };
  return (
    <span className="copy-cell">
      <button type="button" aria-label={`Copy ${label}`} title="Copy" onClick={copy}>
        <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">
          <path d="M2 5h9v9H2zM5 5V2h9v9h-3" />
        </svg>
      </button>
      {text}
      {told ? <span role="status" className="copy-told">{told}</span> : null}
    </span>
  );
}

export function CodeBlock({ code, label }: { code: string; label: string }) {
  return (
    <div className="code-block">
      <div className="code-copy">
        <CopyToClipboard
          variant="icon"
          textToCopy={code}
          copyButtonAriaLabel={`Copy ${label}`}
          copySuccessText="Copied"
          copyErrorText="The browser refused; select the text instead"
        />
      </div>
      {/* What scrolls has to be reachable by keyboard. */}
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <section tabIndex={0} aria-label={label}>
        <pre>{code}</pre>
      </section>
    </div>
  );
}
