// The attention widget: what Python chose (maps) over the picture and the text, for two schemes. No library, no network.
const SIZE = 360; // pixels of a canvas, across

function element(parent, name, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  parent.append(made);
  return made;
}

function choice(parent, name, values, words, chosen, choose) {
  const label = element(parent, "label", { textContent: name });
  const select = element(label, "select", { name });
  values.forEach((value, i) => element(select, "option", { value: String(value), textContent: words[i] }));
  select.value = String(chosen);
  select.addEventListener("change", () => choose(select.value));
  return select;
}

function percent(value) {
  return `${(100 * value).toPrecision(3)} %`;
}

function attention(model) {
  const bytes = model.get("maps"); // a DataView
  const tokens = model.get("words").length;
  const values = (first) => Float32Array.from({ length: tokens }, (_, i) => bytes.getFloat32(4 * (first + i), true));
  return bytes.byteLength === 8 * tokens ? [values(0), values(tokens)] : [new Float32Array(tokens), new Float32Array(tokens)];
}

function greyPicture(model, block) {
  const picture = model.get("pictures").find((one) => one.block === block);
  if (!picture) return null;
  const { width, height, rgb } = picture;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; ++i) {
    const grey = 0.3 * rgb.getUint8(3 * i) + 0.59 * rgb.getUint8(3 * i + 1) + 0.11 * rgb.getUint8(3 * i + 2);
    image.data.set([grey, grey, grey, 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function render({ model, el }) {
  const root = element(el, "div", { className: "ropescope" });
  const choices = element(root, "div", { className: "choices" });
  const sides = element(root, "div", { className: "sides" });
  const said = element(root, "div", { className: "said" });
  const text = element(root, "div", { className: "text" });
  const parts = model.get("parts"), words = model.get("words"), queries = model.get("queries");
  let part = parts.findIndex((one) => one.name.startsWith("high")), held = -1;
  part = Math.max(part, 0);
  let maps = attention(model);
  const greys = new Map(); // of blocks
  const selects = new Map(); // by what they set
  const pictureOf = (block) => {
    if (!greys.has(block)) greys.set(block, greyPicture(model, block));
    return greys.get(block);
  };

  const set = (name) => (value) => {
    model.set(name, ["left", "right"].includes(name) ? value : Number(value));
    model.save_changes();
  };
  const numbers = (list) => [[-1, ...list], ["mean", ...list.map(String)]];
  selects.set("layer", choice(choices, "layer", ...numbers(model.get("layers")), model.get("layer"), set("layer")));
  selects.set("head", choice(choices, "head", ...numbers(model.get("heads")), model.get("head"), set("head")));
  selects.set("query", choice(choices, "token", queries, queries.map((q) => `${q}: ${words[q]}`), model.get("query"), set("query")));
  if (parts.length > 1) {
    choice(choices, "of", parts.map((_, i) => i), parts.map((one) => one.name), part, (value) => { part = Number(value); draw(); });
  }

  const views = ["left", "right"].map((name) => {
    const side = element(sides, "div", { className: "side" });
    selects.set(name, choice(side, "", model.get("schemes"), model.get("schemes"), model.get(name), set(name)));
    selects.get(name).name = name;
    const canvas = element(side, "canvas", { className: name });
    const token = (event) => {
      const box = canvas.getBoundingClientRect(), grid = parts[part];
      const column = Math.floor(((event.clientX - box.left) / box.width) * grid.columns);
      const row = Math.floor(((event.clientY - box.top) / box.height) * grid.rows);
      const at = grid.token.findIndex((_, i) => grid.row[i] === row && grid.column[i] === column);
      return at < 0 ? -1 : grid.token[at];
    };
    canvas.addEventListener("mousemove", (event) => hold(token(event)));
    canvas.addEventListener("mouseleave", () => hold(-1));
    canvas.addEventListener("click", (event) => ask(token(event)));
    return canvas;
  });

  // The text, with a mark where a picture stands.
  const spans = new Map();
  const modality = model.get("modality");
  words.forEach((word, i) => {
    if (modality[i] !== 0) {
      if (i === 0 || modality[i - 1] === 0) element(text, "span", { textContent: "▦ ", title: "a picture's tokens" });
      return;
    }
    const span = element(text, "span", { textContent: word, className: queries.includes(i) ? "asks" : "", title: `token ${i}` });
    span.addEventListener("mouseenter", () => hold(i));
    span.addEventListener("mouseleave", () => hold(-1));
    span.addEventListener("click", () => ask(i));
    spans.set(i, span);
    text.append(" ");
  });

  function ask(token) {
    if (queries.includes(token)) set("query")(token);
  }

  function hold(token) {
    if (token === held) return;
    held = token;
    draw();
  }

  function draw() {
    const grid = parts[part];
    const names = [model.get("left"), model.get("right")];
    // One scale for both sides, so that colours may be compared.
    const most = grid ? Math.max(1e-12, ...maps.flatMap((values) => grid.token.map((token) => values[token]))) : 1;
    views.forEach((canvas, side) => {
      if (!grid) return;
      const picture = pictureOf(grid.block);
      const shape = picture ? picture.height / picture.width : grid.rows / grid.columns;
      canvas.width = SIZE;
      canvas.height = Math.max(1, Math.round(SIZE * shape));
      const pen = canvas.getContext("2d");
      if (picture) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
      const width = canvas.width / grid.columns, height = canvas.height / grid.rows;
      grid.token.forEach((token, i) => {
        pen.fillStyle = `rgba(213, 94, 0, ${0.85 * (maps[side][token] / most)})`;
        pen.fillRect(grid.column[i] * width, grid.row[i] * height, width, height);
        if (token === held) {
          pen.lineWidth = 2;
          pen.strokeStyle = "#0072b2";
          pen.strokeRect(grid.column[i] * width, grid.row[i] * height, width, height);
        }
      });
    });
    const textMost = Math.max(1e-12, ...[...spans.keys()].map((token) => maps[0][token]));
    for (const [token, span] of spans) {
      span.style.background = `rgba(213, 94, 0, ${0.6 * (maps[0][token] / textMost)})`;
      span.classList.toggle("chosen", token === model.get("query"));
      span.classList.toggle("held", token === held);
    }
    for (const [name, select] of selects) select.value = String(model.get(name));
    const shares = maps.map((values) => modality.reduce((sum, kind, i) => sum + (kind === 0 ? 0 : values[i]), 0));
    const cell = held < 0 || !grid ? -1 : grid.token.indexOf(held);
    const place = cell < 0 ? `"${words[held]}"` : `row ${grid.row[cell]}, column ${grid.column[cell]} of the ${grid.name}`;
    said.textContent = held < 0
      ? `On pictures: ${names.map((name, i) => `${name} ${percent(shares[i])}`).join(", ")}. Colours go to ${percent(most)}.`
      : `Token ${held}, ${place}: ${names.map((name, i) => `${name} ${percent(maps[i][held])}`).join(", ")}`;
  }

  function renew() {
    maps = attention(model);
    draw();
  }

  const changes = ["maps", ...selects.keys()].map((name) => `change:${name}`);
  changes.forEach((change) => model.on(change, renew));
  draw();
  return () => changes.forEach((change) => model.off(change, renew));
}

export default { render };
