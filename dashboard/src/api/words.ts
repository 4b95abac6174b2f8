/** A command line as words, with the quoting that the engines' own shells have. Pure. */

export class UnbalancedQuotes extends Error {
  constructor() {
    super("A quote is not closed.");
  }
}

const ESCAPES: Record<string, string> = { n: "\n", r: "\r", t: "\t", b: "\b", a: "\u0007" };

/** @throws UnbalancedQuotes */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let at = 0; at < line.length; at++) {
    const char = line[at] ?? "";
    if (quote) {
      if (char === "\\" && quote === '"' && at + 1 < line.length) {
        at += 1;
        const escaped = line[at] ?? "";
        word = (word ?? "") + (ESCAPES[escaped] ?? escaped);
      } else if (char === "\\" && line[at + 1] === "'") {
        at += 1;
        word = `${word ?? ""}'`;
      } else if (char === quote) {
        quote = "";
      } else {
        word = (word ?? "") + char;
      }
    } else if (char === '"' || char === "'") {
      quote = char;
      word ??= "";
    } else if (/\s/.test(char)) {
      if (word !== undefined) {
        words.push(word);
        word = undefined;
      }
    } else {
      word = (word ?? "") + char;
    }
  }
  if (quote) {
    throw new UnbalancedQuotes();
  }
  return word === undefined ? words : [...words, word];
}

/** A reply as the engines' own shells show it. */
export function shownReply(reply: unknown, indent = ""): string {
  if (reply === null || reply === undefined) {
    return "(nil)";
  }
  if (typeof reply === "number") {
    return `(integer) ${reply}`;
  }
  if (typeof reply === "string") {
    return reply.includes("\n") ? reply.replaceAll("\r\n", "\n") : JSON.stringify(reply);
  }
  if (Array.isArray(reply)) {
    if (reply.length === 0) {
      return "(empty list)";
    }
    const width = String(reply.length).length;
    return reply
      .map((item, at) => {
        const number = `${String(at + 1).padStart(width)}) `;
        return `${at === 0 ? "" : indent}${number}${shownReply(item, indent + " ".repeat(number.length))}`;
      })
      .join("\n");
  }
  const error = (reply as Record<string, unknown>)["Error"];
  return typeof error === "string" ? `(error) ${error}` : JSON.stringify(reply);
}

const ITEM_CHARS_MAX = 4_096;

/** The value in memcached's answer to `get`: the line of its length and the END are left out. */
export function shownItem(reply: unknown): string {
  if (typeof reply !== "string" || !reply.startsWith("VALUE ")) {
    return reply === "END" ? "The item is gone." : shownReply(reply);
  }
  const value = reply.slice(reply.indexOf("\n") + 1).replace(/\nEND$/, "");
  return value.length > ITEM_CHARS_MAX ? `${value.slice(0, ITEM_CHARS_MAX)}…` : value;
}

/** The command that shows a value without asking for all of a large one. */
export function viewCommand(type: string, key: string): string[] {
  switch (type) {
    case "string":
      return ["GETRANGE", key, "0", "4095"];
    case "list":
      return ["LRANGE", key, "0", "99"];
    case "set":
      return ["SSCAN", key, "0", "COUNT", "100"];
    case "zset":
      return ["ZRANGE", key, "0", "99", "WITHSCORES"];
    case "hash":
      return ["HSCAN", key, "0", "COUNT", "100"];
    case "item":
      return ["get", key];
    case "stream":
      return ["XRANGE", key, "-", "+", "COUNT", "100"];
    default:
      return ["TYPE", key];
  }
}
