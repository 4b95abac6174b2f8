import CopyToClipboard from "@cloudscape-design/components/copy-to-clipboard";

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
