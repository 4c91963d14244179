/** The few helpers that plain DOM code needs to stay readable. */

type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;
type Child = Node | string | undefined;

/** Creates an element. `true` sets an empty attribute, `false` and `undefined` set none. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child !== undefined) element.append(child);
  return element;
}

/** A button with an icon; the label is read aloud and shown as a tooltip. */
export function iconButton(icon: IconName, label: string, onClick: () => void): HTMLButtonElement {
  const button = h("button", { type: "button", class: "icon-button" });
  button.addEventListener("click", onClick);
  setIcon(button, icon, label);
  return button;
}

export function setIcon(button: HTMLElement, icon: IconName, label: string): void {
  if (button.dataset.icon !== icon) {
    button.dataset.icon = icon;
    button.replaceChildren(svg(ICONS[icon]));
  }
  setAttribute(button, "aria-label", label);
  setAttribute(button, "title", label);
}

/** Writes only what changed, so that a poll each second disturbs neither selection nor screen readers. */
export function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Copies text. The clipboard API exists only on secure pages, and nodes are often reached by plain HTTP. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { class: "offscreen", readonly: true, "aria-hidden": "true" });
    area.value = text;
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
    return copied;
  }
}

/** A button that copies what `text` returns and says so for a moment. */
export function copyButton(label: string, text: () => string): HTMLButtonElement {
  const button = h("button", { type: "button", class: "text-button" }, svg(ICONS.copy), h("span", {}, "Copy"));
  const word = button.lastElementChild as HTMLSpanElement;
  button.setAttribute("aria-label", label);
  button.title = label;
  button.addEventListener("click", () => {
    void copyText(text()).then((copied) => {
      setText(word, copied ? "Copied" : "Not copied");
      window.setTimeout(() => setText(word, "Copy"), 1500);
    });
  });
  return button;
}

/** Paths on a 24 by 24 grid, drawn as lines. */
export const ICONS = {
  play: "M7 4.5v15l12-7.5z",
  close: "M6 6l12 12M18 6L6 18",
  sound: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.500zM15.5 9a4.2 4.2 0 010 6M18 6.500a8 8 0 010 11",
  muted: "M4 9.500v5h3.500L12 18.500v-13L7.5 9.500zM16 9.500l5 5M21 9.500l-5 5",
  expand: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  shrink: "M9 4v5H4M15 4v5h5M9 20v-5H4M15 20v-5h5",
  chart: "M5 20v-7M12 20V5M19 20v-11",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  stop: "M6.500 6.500h11v11h-11z",
  key: "M14 10a4 4 0 10-1.500 3.100L15 15.500h2.500V18H20v-3z",
  plus: "M12 5v14M5 12h14",
} as const;

export type IconName = keyof typeof ICONS;

function svg(path: string): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const image = document.createElementNS(space, "svg");
  image.setAttribute("viewBox", "0 0 24 24");
  image.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(space, "path");
  line.setAttribute("d", path);
  image.append(line);
  return image;
}
