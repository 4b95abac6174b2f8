/** Server-sent events as text in, events out. No network, no clock. */

export interface ServerEvent {
  id?: string;
  type: string;
  data: string;
}

export const LINE_CHARS_MAX = 1_000_000;

/** Feed it text as it arrives; it gives the events that are complete. */
export class EventReader {
  private unread = "";
  private data: string[] = [];
  private type = "";
  private id: string | undefined;

  feed(text: string): ServerEvent[] {
    this.unread += text;
    const events: ServerEvent[] = [];
    for (;;) {
      const end = this.unread.search(/\r\n|\n|\r(?=.)/s);
      if (end < 0) {
        break;
      }
      const line = this.unread.slice(0, end);
      this.unread = this.unread.slice(this.unread.startsWith("\r\n", end) ? end + 2 : end + 1);
      const event = this.take(line);
      if (event) {
        events.push(event);
      }
    }
    if (this.unread.length > LINE_CHARS_MAX) {
      throw new Error("The event stream sent a line without end.");
    }
    return events;
  }

  private take(line: string): ServerEvent | undefined {
    if (line === "") {
      const event: ServerEvent = { type: this.type || "message", data: this.data.join("\n") };
      if (this.id !== undefined) {
        event.id = this.id;
      }
      const isEvent = this.data.length > 0;
      this.data = [];
      this.type = "";
      return isEvent ? event : undefined;
    }
    const [, name = "", value = ""] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (name === "data") {
      this.data.push(value);
    } else if (name === "event") {
      this.type = value;
    } else if (name === "id") {
      this.id = value;
    }
    return undefined;
  }
}
