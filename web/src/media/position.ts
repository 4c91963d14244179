/** Where in a stream, as nodes count: the same on every PoP, and ordered over all origins. */

export interface Position {
  /** Unix time in milliseconds at which the group began, as its origin has it. */
  readonly group: bigint;
  /** One broadcast of one encoder; times are comparable within it. */
  readonly timeline: bigint;
  /** Counts the objects of the group. */
  readonly index: number;
}

/** Bytes in front of each frame: group and timeline (u64), index (u32), big-endian. */
const HEAD_BYTES = 20;

/** Takes a message apart; undefined if it is too short to hold a position. */
export function readPosition(
  message: Uint8Array<ArrayBuffer>,
): { readonly at: Position; readonly bytes: Uint8Array<ArrayBuffer> } | undefined {
  if (message.byteLength < HEAD_BYTES) return undefined;
  const head = new DataView(message.buffer, message.byteOffset, HEAD_BYTES);
  const at = { group: head.getBigUint64(0), timeline: head.getBigUint64(8), index: head.getUint32(16) };
  return { at, bytes: message.subarray(HEAD_BYTES) };
}

export function isAfter(a: Position, b: Position): boolean {
  if (a.group !== b.group) return a.group > b.group;
  if (a.timeline !== b.timeline) return a.timeline > b.timeline;
  return a.index > b.index;
}

/** As `?after=` takes it. */
export function formatPosition({ group, timeline, index }: Position): string {
  return `${group}@${timeline}:${index}`;
}
