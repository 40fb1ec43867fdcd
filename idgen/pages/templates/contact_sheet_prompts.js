/* Points and boxes, drawn on the masks, as the lines of prompts.yaml. */
const drawn = [...document.querySelectorAll("section[data-name]")].map(section => {
  const given = JSON.parse(section.dataset.prompts || "null") || {};
  const marks = [
    ...(given.points || []).map(at => ({kind: "on", at})),
    ...(given.background_points || []).map(at => ({kind: "off", at})),
    ...(given.box ? [{kind: "box", at: given.box}] : []),
  ];
  return {section, marks, mode: "on", width: +section.dataset.width, height: +section.dataset.height};
});
const listed = points => `[${points.map(at => `[${at.join(", ")}]`).join(", ")}]`;
const lineOf = ({section, marks}) => {
  const of = kind => marks.filter(mark => mark.kind === kind).map(mark => mark.at);
  const boxes = of("box"), parts = [];
  if (of("on").length) parts.push(`points: ${listed(of("on"))}`);
  if (of("off").length) parts.push(`background_points: ${listed(of("off"))}`);
  if (boxes.length) parts.push(`box: [${boxes.at(-1).join(", ")}]`);
  /* A JSON string is one of YAML too. */
  const line = `${JSON.stringify(section.dataset.name)}: {${parts.join(", ")}}`;
  if (!parts.length) return "";
  return of("on").length || boxes.length ? line : `# ${line} needs a point on the subject or a box`;
};
const markOf = ({kind, at}, radius) => kind === "box"
  ? `<rect class="box" x="${at[0]}" y="${at[1]}" width="${at[2] - at[0]}" height="${at[3] - at[1]}"/>`
  : `<circle class="${kind}" cx="${at[0]}" cy="${at[1]}" r="${radius}"/>`;
const show = () => {
  for (const photo of drawn) {
    const radius = Math.max(photo.width, photo.height) / 80;
    const svg = photo.section.querySelector(".mend svg");
    svg.setAttribute("viewBox", `0 0 ${photo.width} ${photo.height}`);
    svg.innerHTML = photo.marks.map(mark => markOf(mark, radius)).join("");
    for (const button of photo.section.querySelectorAll("[data-mode]"))
      button.setAttribute("aria-pressed", button.dataset.mode === photo.mode);
    for (const button of photo.section.querySelectorAll("[data-do]"))
      button.disabled = !photo.marks.length;
  }
  const lines = drawn.map(lineOf).filter(Boolean);
  document.getElementById("lines").textContent = lines.join("\n");
  document.getElementById("prompts").hidden = !lines.length;
};
for (const photo of drawn) {
  const area = photo.section.querySelector(".mend");
  const placed = event => {
    const frame = area.querySelector("img").getBoundingClientRect();
    const part = (value, start, extent) => Math.min(1, Math.max(0, (value - start) / extent));
    return [
      Math.round(part(event.clientX, frame.left, frame.width) * photo.width),
      Math.round(part(event.clientY, frame.top, frame.height) * photo.height),
    ];
  };
  const far = (one, other) => Math.hypot(one[0] - other[0], one[1] - other[1])
    > Math.max(photo.width, photo.height) / 60;
  const boxed = (one, other) => [
    Math.min(one[0], other[0]), Math.min(one[1], other[1]),
    Math.max(one[0], other[0]), Math.max(one[1], other[1]),
  ];
  let start = null, before = null;
  area.addEventListener("contextmenu", event => event.preventDefault());
  area.addEventListener("pointerdown", event => {
    event.preventDefault();
    area.setPointerCapture(event.pointerId);
    [start, before] = [placed(event), photo.marks];
  });
  area.addEventListener("pointermove", event => {
    const end = placed(event);
    if (start === null || !far(start, end)) return;
    const at = boxed(start, end);
    photo.marks = [...before.filter(mark => mark.kind !== "box"), {kind: "box", at}];
    show();
  });
  area.addEventListener("pointerup", event => {
    if (start === null) return;
    const end = placed(event), off = event.button === 2 || event.shiftKey || photo.mode === "off";
    const at = boxed(start, end), flat = at[0] === at[2] || at[1] === at[3];
    if (far(start, end) && !flat)
      photo.marks = [...before.filter(mark => mark.kind !== "box"), {kind: "box", at}];
    else photo.marks = [...before, {kind: off ? "off" : "on", at: start}];
    start = null;
    show();
  });
  area.addEventListener("pointercancel", () => {
    if (start !== null) photo.marks = before;
    start = null;
    show();
  });
  photo.section.addEventListener("click", event => {
    const {mode, do: act} = event.target.dataset;
    if (mode) photo.mode = mode;
    if (act) photo.marks = act === "undo" ? photo.marks.slice(0, -1) : [];
    if (mode || act) show();
  });
}
document.getElementById("copy").addEventListener("click", async () => {
  const lines = document.getElementById("lines"), told = document.getElementById("copied");
  const text = `${lines.textContent}\n`;
  try {
    await navigator.clipboard.writeText(text);
    told.textContent = "Copied: save it as prompts.yaml beside the photos, then prepare again.";
  } catch {
    getSelection().selectAllChildren(lines);
    told.textContent = "Selected: copy it and save it as prompts.yaml beside the photos.";
  }
});
show();
