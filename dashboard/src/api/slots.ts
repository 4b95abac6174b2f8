/** Hash slots: which slot a key is in, and who has which. Pure. */

export const SLOT_COUNT = 16_384;

const POLYNOMIAL = 0x1021;
const TABLE = Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) {
    crc = crc & 0x8000 ? (crc << 1) ^ POLYNOMIAL : crc << 1;
  }
  return crc & 0xffff;
});

/** CRC16 (XMODEM), which clusters hash keys with. */
export function crc16(data: Uint8Array): number {
  let crc = 0;
  for (const byte of data) {
    crc = ((crc << 8) ^ (TABLE[((crc >> 8) ^ byte) & 0xff] ?? 0)) & 0xffff;
  }
  return crc;
}

/** The part of a key that decides: what is between the first braces, unless that is nothing. */
export function hashTag(key: string): string {
  const open = key.indexOf("{");
  const close = open < 0 ? -1 : key.indexOf("}", open + 1);
  return close > open + 1 ? key.slice(open + 1, close) : key;
}

export function slotOf(key: string): number {
  return crc16(new TextEncoder().encode(hashTag(key))) % SLOT_COUNT;
}

export interface SlotRange {
  first: number;
  last: number;
  owner: string;
}

/** `0-99,200` as ranges. */
export function parseRanges(text: string, owner: string): SlotRange[] {
  return text
    .split(/[\s,]+/)
    .filter(Boolean)
    .flatMap((part) => {
      const [first, last] = part.split("-").map(Number);
      return first === undefined || Number.isNaN(first) ? [] : [{ first, last: last ?? first, owner }];
    });
}

/** Who has which slots, from what `CLUSTER NODES` answers; an owner is an address with a port. */
export function parseClusterNodes(text: string): SlotRange[] {
  return text
    .split("\n")
    .map((line) => line.trim().split(" "))
    .filter((words) => words[2]?.includes("master"))
    .flatMap((words) => {
      const owner = (words[1] ?? "").split("@")[0] ?? "";
      const ranges = words.slice(8).filter((word) => /^\d+(-\d+)?$/.test(word));
      return ranges.flatMap((range) => parseRanges(range, owner));
    })
    .sort((a, b) => a.first - b.first);
}

export function ownerOf(slot: number, ranges: readonly SlotRange[]): string | undefined {
  return ranges.find((range) => range.first <= slot && slot <= range.last)?.owner;
}

export function countSlots(ranges: readonly SlotRange[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { first, last, owner } of ranges) {
    counts.set(owner, (counts.get(owner) ?? 0) + last - first + 1);
  }
  return counts;
}
