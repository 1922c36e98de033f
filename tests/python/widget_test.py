#!/usr/bin/env python3
"""The attention widget: its numbers against the result file, and its view in a browser without a network.

Exit code 77 (skipped, for CTest): no anywidget. Without chromium the view is not looked at, and the rest is.
"""

import base64
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

for needed in ("anywidget", "h5py"):
    if importlib.util.find_spec(needed) is None:
        print(f"skipped: no Python package {needed}; cmake/bootstrap.sh --notebooks installs it")
        sys.exit(77)

import numpy as np  # noqa: E402

import ropescope  # noqa: E402
from ropescope import widget  # noqa: E402
from support import GOLDEN, Case  # noqa: E402

BROWSER = next((found for found in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if found), None)


class Widget(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = Path(cls.folder.name) / "maps.h5"
        vlm = GOLDEN / "vlm"
        ropescope.attention(model=vlm / "internvl", image=vlm / "images/cat.png", prompt="What is this?", template="qwen", queries="text",
                            schemes="vanilla;id-align", threads=1, output=cls.path).close()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def shown(self, **settings):
        return widget.show(self.path, **settings)

    def maps(self, shown):
        return np.frombuffer(shown.maps, "<f4").reshape(2, -1)

    def test_shows_the_files_numbers(self):
        shown, result = self.shown(), ropescope.open(self.path)
        self.assertEqual(shown.schemes, ["id-align", "vanilla"])
        queries = result["/attention/vanilla/query_index"].tolist()
        shown.layer, shown.head, shown.query, shown.left, shown.right = 1, 2, queries[3], "vanilla", "id-align"
        for side, scheme in enumerate(("vanilla", "id-align")):
            np.testing.assert_array_equal(self.maps(shown)[side], result[f"/attention/{scheme}/rows"][1, 2, 3])
        shown.layer = shown.head = -1
        mean = result["/attention/vanilla/rows"][:, :, 3].astype(float).mean((0, 1))
        np.testing.assert_allclose(self.maps(shown)[0], mean, rtol=1e-6)
        np.testing.assert_allclose(self.maps(shown).sum(1), 1, rtol=1e-5)

    def test_each_input_has_rows_and_tokens_of_its_own(self):
        path, vlm = Path(self.folder.name) / "two.h5", GOLDEN / "vlm"
        result = ropescope.attention(model=vlm / "internvl", image=[vlm / "images/cat.png", vlm / "images/rocket.png"], prompt="What is this?",
                                     template="qwen", queries="text", schemes="vanilla;id-align", threads=1, output=path)
        first, second = widget.show(result), widget.show(result, input=1)
        self.assertNotEqual(len(first.words), len(second.words))
        for shown, group in ((first, "/attention/vanilla"), (second, "/attention/vanilla/input-1")):
            self.assertEqual(shown.queries, result[f"{group}/query_index"].tolist())
            shown.layer, shown.head, shown.query, shown.left = 1, 2, shown.queries[3], "vanilla"
            values = np.zeros(len(shown.words), np.float32)
            values[result[f"{group}/key_index"]] = result[f"{group}/rows"][1, 2, 3]
            np.testing.assert_array_equal(self.maps(shown)[0], values)

    def test_parts_are_the_grids_of_the_layout(self):
        parts = {part["name"]: part for part in self.shown().parts}  # text:33,anyres:3x3+6x9:tiles-first,text:11
        self.assertEqual({name: (part["rows"], part["columns"], len(part["token"])) for name, part in parts.items()},
                         {"thumbnail": (3, 3, 9), "high resolution": (6, 9, 54)})

    def test_errors_are_sentences(self):
        shown = self.shown()
        self.sentence(ropescope.InputError, lambda: setattr(shown, "layer", 7), "layer", "7")
        self.sentence(ropescope.InputError, lambda: self.shown(words=["a"]), "words", "found 1")
        self.sentence(ropescope.InputError, lambda: self.shown(input=3), "/attention/inputs/3")

    def test_view(self):
        """A page with a model in place of Jupyter's: what is drawn, hovered and chosen."""
        if BROWSER is None:
            self.skipTest("no chromium")
        shown = self.shown(words=[f"w{i}" for i in range(107)])
        shown.left, shown.right = "vanilla", "id-align"
        first = self.maps(shown)
        names = ("schemes", "layers", "heads", "queries", "words", "modality", "parts", "left", "right", "layer", "head", "query")
        state = {name: getattr(shown, name) for name in names}
        state["maps"] = base64.b64encode(shown.maps).decode()
        state["pictures"] = [{**picture, "rgb": base64.b64encode(picture["rgb"]).decode()} for picture in shown.pictures]
        source = base64.b64encode((Path(widget.__file__).parent / "widget.js").read_bytes()).decode()
        page = PAGE.replace("STATE", json.dumps(state)).replace("SOURCE", source)
        path = Path(self.folder.name) / "page.html"
        path.write_text(page, encoding="utf-8")
        done = subprocess.run([BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=4000",
                               f"--user-data-dir={self.folder.name}/profile", "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120)
        self.assertIn('<pre id="out">', done.stdout, done.stderr[-2000:])
        out = json.loads(done.stdout.split('<pre id="out">')[1].split("</pre>")[0].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
        self.assertNotIn("error", out)
        self.assertEqual(out["requests"], 0)
        self.assertEqual(out["canvases"], 2)
        grid = next(part for part in shown.parts if part["name"] == "high resolution")
        token = grid["token"][[(r, c) for r, c in zip(grid["row"], grid["column"])].index((4, 7))]
        self.assertTrue(out["hovered"].startswith(f"Token {token}, row 4, column 7 of the high resolution: vanilla "), out["hovered"])
        numbers = [float(word) for word in out["hovered"].replace("%", " ").split() if word.replace(".", "").replace("e-", "").isdigit() and "." in word]
        np.testing.assert_allclose(numbers, 100 * first[:, token], rtol=6e-3)
        self.assertTrue(out["overText"].startswith('Token 100, "w100": vanilla '), out["overText"])
        # The strongest cell is the most coloured: red beyond grey.
        strongest = grid["token"][int(np.argmax(first[0][grid["token"]]))]
        self.assertEqual(out["reddest"], strongest)
        # What Python sets is shown, whether or not numbers change with it.
        self.assertEqual(out["set"], {"layer": "0", "head": "-1", "query": str(shown.queries[2]), "left": "vanilla", "right": "vanilla"})
        self.assertEqual(out["pixelsRead"], sum(3 * one["width"] * one["height"] for one in shown.pictures), "the picture is read once, however often it is drawn")
        self.assertEqual(out["chosen"], {"layer": 1, "head": 2, "query": shown.queries[0], "left": "id-align", "clicked": 98})


PAGE = """<!doctype html><meta charset="utf-8"><body><div id="el"></div><script type="module">
const out = { pixelsRead: 0 };
const heard = [];
try {
  const bytes = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const state = STATE;
  state.maps = bytes(state.maps);
  for (const picture of state.pictures) {
    const rgb = bytes(picture.rgb);
    picture.rgb = { getUint8: (i) => { ++out.pixelsRead; return rgb.getUint8(i); } };
  }
  const model = { get: (name) => state[name], set: (name, value) => { state[name] = value; }, save_changes: () => {},
    on: (event, call) => { heard.push([event, call]); }, off: () => {} };
  const tell = (name, value) => { state[name] = value; heard.filter(([event]) => event === `change:${name}`).forEach(([, call]) => call()); };
  const code = URL.createObjectURL(new Blob([new TextDecoder().decode(bytes("SOURCE"))], { type: "text/javascript" }));
  const module = await import(code);
  const el = document.getElementById("el");
  module.default.render({ model, el });
  const canvas = el.querySelector("canvas.left"), said = () => el.querySelector(".said").textContent;
  out.canvases = el.querySelectorAll("canvas").length;
  // Which cell of the left map is most coloured.
  const grid = state.parts.find((part) => part.name === "high resolution"), pen = canvas.getContext("2d");
  const redness = grid.token.map((_, i) => {
    const [r, g, b] = pen.getImageData((grid.column[i] + 0.5) * canvas.width / grid.columns, (grid.row[i] + 0.5) * canvas.height / grid.rows, 1, 1).data;
    return (r - b) / 213;
  });
  out.reddest = grid.token[redness.indexOf(Math.max(...redness))];
  const box = canvas.getBoundingClientRect();
  const at = (row, column) => ({ clientX: box.left + (column + 0.5) * box.width / 9, clientY: box.top + (row + 0.5) * box.height / 6, bubbles: true });
  canvas.dispatchEvent(new MouseEvent("mousemove", at(4, 7)));
  out.hovered = said();
  canvas.dispatchEvent(new MouseEvent("mouseleave"));
  const span = [...el.querySelectorAll(".text span")].find((one) => one.textContent === "w100");
  span.dispatchEvent(new MouseEvent("mouseenter"));
  out.overText = said();
  const choose = (name, value) => { const select = el.querySelector(`select[name=${name}]`); select.value = String(value); select.dispatchEvent(new Event("change")); };
  choose("layer", 1);
  choose("head", 2);
  choose("left", "id-align");
  [...el.querySelectorAll(".text span")].find((one) => one.textContent === "w98").click();
  const clicked = state.query;
  choose("token", state.queries[0]);
  out.chosen = { layer: state.layer, head: state.head, query: state.query, left: state.left, clicked };
  const wanted = { layer: 0, head: -1, query: state.queries[2], left: "vanilla", right: "vanilla" };
  for (const [name, value] of Object.entries(wanted)) tell(name, value);
  const select = { layer: "layer", head: "head", query: "token", left: "left", right: "right" };
  out.set = Object.fromEntries(Object.entries(select).map(([name, of]) => [name, el.querySelector(`select[name=${of}]`).value]));
  out.requests = performance.getEntriesByType("resource").filter((one) => one.name.startsWith("http")).length;
} catch (error) {
  out.error = String(error.stack || error);
}
document.body.append(Object.assign(document.createElement("pre"), { id: "out", textContent: JSON.stringify(out) }));
</script>"""


if __name__ == "__main__":
    unittest.main()
