/** Reads fields of JSON from outside. What is not of the expected kind counts as absent. */

export type Fields = Readonly<Record<string, unknown>>;

/** No page can show more entries than this with sense. */
const ENTRIES_MAX = 2000;

export function fields(value: unknown): Fields | undefined {
  return typeof value === "object" && value !== null ? (value as Fields) : undefined;
}

/** Entries that are no objects, or that `read` makes nothing of, are left out. */
export function list<T>(value: unknown, read: (entry: Fields) => T | undefined): T[] {
  if (!Array.isArray(value)) return [];
  return value.slice(0, ENTRIES_MAX).flatMap((entry: unknown) => {
    const known = fields(entry);
    const made = known && read(known);
    return made === undefined ? [] : [made];
  });
}

export function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

export function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((word): word is string => typeof word === "string") : [];
}

export function number(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** A number that is not below zero. */
export function count(value: unknown): number | undefined {
  const known = number(value);
  return known !== undefined && known >= 0 ? known : undefined;
}

/** The first where it is none of them. */
export function oneOf<const T extends string>(value: unknown, known: readonly [T, ...T[]]): T {
  return known.find((word) => word === value) ?? known[0];
}

/** An address that may become a link of a page: `javascript:` and the like may not. Ends with a slash. */
export function webAddress(value: unknown): string | undefined {
  const address = text(value);
  if (!address || !/^https?:\/\/[^/]/i.test(address)) return undefined;
  return address.endsWith("/") ? address : `${address}/`;
}
