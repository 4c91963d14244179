/** What a map shows: plain data in, clicks out. Nothing here knows a lab or a node's API. */

export interface Point {
  readonly x: number;
  readonly y: number;
}

export type Role = "origin" | "relay" | "pop" | "leaf";
export type Condition = "running" | "stalled" | "dead";

export interface MapNode {
  readonly name: string;
  readonly role: Role;
  readonly condition: Condition;
  /** It has the stream whose tree is drawn. */
  readonly carries: boolean;
  /** It wants that stream, and nobody can give it. */
  readonly waiting: boolean;
  /** Viewers here. */
  readonly viewers: number;
  /** The node whose page this is. */
  readonly here?: boolean | undefined;
  /** Where it is drawn, in units of its own; without it, the map finds a place. */
  readonly at?: Point | undefined;
}

export interface MapDirection {
  readonly cut: boolean;
  /** How bad it is: 0 as it should be, 1 hardly usable. */
  readonly severity: number;
}

export interface MapLink {
  readonly a: string;
  readonly b: string;
  /** Of the plan; others were made for repair. */
  readonly planned: boolean;
  readonly there: MapDirection;
  readonly back: MapDirection;
  readonly label: string;
}

/** An edge of the tree that is drawn, in the direction of the media. */
export interface MapFlow {
  readonly from: string;
  readonly to: string;
  /** It would feed if the parent failed. */
  readonly backup: boolean;
}

export type Target = { readonly node: string } | { readonly link: readonly [string, string] };

export function isSame(one: Target | undefined, other: Target | undefined): boolean {
  return targetKey(one) === targetKey(other);
}

export function targetKey(target: Target | undefined): string {
  if (!target) return "";
  return "node" in target ? `node ${target.node}` : `link ${[...target.link].sort().join(" ")}`;
}
