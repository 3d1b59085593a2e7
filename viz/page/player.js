// PAGE comes before this: what the graph is; and ROWS, where its leaves can be edited: of each operation the rule and
// the local derivatives. A number that is not there yet is null, and so is the gradient of what needs none.
const $ = (id) => document.getElementById(id);
const PAUSE = 1500, PLAY = $("play").querySelector("path").getAttribute("d");

/** A number as Python's "%.6g" writes it, whose halves go to the even neighbour. */
function written(x) {
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x < 0 ? "-inf" : "inf";
  const sign = x < 0 || Object.is(x, -0) ? "-" : "";
  const long = Math.abs(x).toExponential(40).replace(".", "");
  const half = /^.{6}50*e/.test(long) && "02468".includes(long[5]);
  const [mantissa, e] = (half ? `${long[0]}.${long.slice(1, 6)}e${long.split("e")[1]}` : Math.abs(x).toExponential(5)).split("e");
  const digits = mantissa.replace(".", ""), n = Number(e);
  const cut = (text) => text.replace(/(\.\d*?)0*$/, "$1").replace(/\.$/, "");
  if (n < -4 || n > 5) return `${sign}${cut(mantissa)}e${n < 0 ? "-" : "+"}${String(Math.abs(n)).padStart(2, "0")}`;
  return sign + cut(n < 0 ? `0.${"0".repeat(-n - 1)}${digits}` : `${digits.slice(0, n + 1)}.${digits.slice(n + 1)}`);
}

/** The number that a text is, as people and Python write it; undefined if it is none. */
function read(text) {
  const found = /^\s*([-+]?)(nan|inf(?:inity)?|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*$/i.exec(text);
  if (!found) return undefined;
  const size = /^i/i.test(found[2]) ? Infinity : /^n/i.test(found[2]) ? NaN : Number(found[2]);
  return found[1] === "-" ? -size : size;
}

const said = (x) => typeof x === "number" ? written(x) : x;
const enclosed = (x, where) => where && /^-/.test(said(x)) ? `(${said(x)})` : said(x);

/** Both passes from the numbers of the leaves: the data of all nodes, and upstream, local, contribution and total of all edges. */
function computed(given) {
  const data = [];
  const operands = (node) => node.of.map((x) => typeof x === "number" ? data[x] : read(x));
  PAGE.nodes.forEach((node, i) => {
    data.push(node.row === null ? given[i] : guarded(() => ROWS[node.row].rule(...operands(node)), `${node.name} = ${node.formula}: `));
  });
  const totals = new Map([[data.length - 1, 1]]);
  const edges = PAGE.edges.map((edge) => {
    const node = PAGE.nodes[edge.node], partial = ROWS[node.row].partials[edge.slot];
    const upstream = totals.get(edge.node);
    const local = typeof partial === "number" ? partial
      : guarded(() => partial(data[edge.node], ...operands(node)), `the derivative of ${node.name} = ${node.formula}: `);
    // a constant 0 lets nothing through, not even a nan
    const contribution = partial === 0 ? 0 : partial === 1 ? upstream : upstream * local;
    const total = totals.has(edge.input) ? totals.get(edge.input) + contribution : contribution;
    totals.set(edge.input, total);
    return [upstream, local, contribution, total];
  });
  return { data, edges };
}

function guarded(rule, where) {
  try {
    return rule();
  } catch (error) {
    throw error instanceof RangeError ? new RangeError(where + error.message) : error;
  }
}

/** The lines of a step, from the numbers as they are now. */
function lines(step, now) {
  if (step.kind === "forward") {
    const { of, parts: written } = PAGE.nodes[step.node];
    const parts = written.map((part) => typeof part === "string" ? part : enclosed(now.data[of[part[0]]], part[1]));
    return [parts.join("") + said(now.data[step.node])];
  }
  return step.edges.map((k) => {
    const [upstream, local, contribution, total] = now.edges[k], { head, tail } = PAGE.edges[k];
    return `${head} = ${said(upstream)} · ${enclosed(local, true)} = ${said(contribution)}${tail && tail + said(total)}`;
  });
}

const steps = PAGE.steps;
let now = { data: PAGE.nodes.map((node) => node.data), edges: PAGE.edges.map((edge) => edge.numbers) };
let at = 0, timer = null;

/** Show the picture as it is after step `at`, and say what happens in it. */
function show() {
  const step = steps[at], seen = new Set(), grads = new Map(), passed = new Set();
  for (const one of steps.slice(0, at + 1)) {
    if (one.kind === "forward") seen.add(one.node);
    if (one.kind === "seed") grads.set(one.node, PAGE.seed);
    for (const k of one.kind === "backward" ? one.edges : []) {
      passed.add(k);
      grads.set(PAGE.edges[k].input, now.edges[k][3]);
    }
  }
  const fill = (group, name, x) => {
    const texts = group.querySelectorAll(`.${name}`), lines = x === null ? ["–"] : Array.isArray(x) ? x : [said(x)];
    const rows = texts.length > 1 ? [name, ...lines] : [`${name} ${lines[0]}`];
    texts.forEach((text, i) => { text.textContent = rows[i] ?? ""; });
  };
  document.querySelectorAll("[data-node]").forEach((group) => {
    const i = Number(group.dataset.node), back = step.kind !== "forward";
    fill(group, "data", seen.has(i) ? now.data[i] : null);
    fill(group, "grad", grads.has(i) ? grads.get(i) : null);
    const inputs = back ? [] : PAGE.nodes[step.node].of;
    group.classList.toggle("lit", i === step.node || inputs.includes(i)
      || (step.kind === "backward" && step.edges.some((k) => PAGE.edges[k].input === i)));
  });
  document.querySelectorAll("[data-op]").forEach((group) => {
    group.classList.toggle("lit", Number(group.dataset.op) === step.node && step.kind !== "seed");
  });
  document.querySelectorAll("[data-edge]").forEach((group) => {
    const [node, slot] = group.dataset.edge.split(".").map(Number);
    const k = PAGE.edges.findIndex((edge) => edge.node === node && edge.slot === slot);
    const backward = step.kind === "backward" && (slot < 0 ? node === step.node : step.edges.includes(k));
    group.classList.toggle("backward", backward);
    group.classList.toggle("lit", backward || (step.kind === "forward" && node === step.node));
    group.querySelectorAll("text").forEach((part) => part.classList.toggle("hidden", !passed.has(k)));
    if (!passed.has(k) || typeof now.edges[k][1] !== "number") return;
    group.querySelectorAll(".local").forEach((text) => { text.textContent = `× ${said(now.edges[k][1])}`; });
    group.querySelectorAll(".contribution").forEach((text) => { text.textContent = `= ${said(now.edges[k][2])}`; });
  });
  const title = document.createElement("b");
  title.textContent = step.kind === "forward" ? "forward" : "backward";
  $("said").replaceChildren(title, step.lines.join("\n"));
  $("at").value = at;
  $("at").setAttribute("aria-valuetext", step.lines.join("; "));
  $("where").textContent = `${at + 1} of ${steps.length}`;
  [...$("steps").children].forEach((item, i) => {
    if (i === at) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  });
  for (const id of ["first", "back"]) $(id).ariaDisabled = at === 0; // which keeps the focus where it is
  for (const id of ["next", "last"]) $(id).ariaDisabled = at === steps.length - 1;
  into($("steps"), [$("steps").children[at]]);
  const lit = [...document.querySelectorAll("[data-node].lit")], away = (box) => Number(box.dataset.node) !== step.node;
  const reached = step.kind === "backward" ? lit.filter(away) : lit.filter((box) => !away(box));
  into($("picture"), lit, reached, reached.slice(0, 1));
}

/** Scroll a box, and nothing around it, so far that some things in it are seen: the first of these that fit. */
function into(box, ...choices) {
  const outer = box.getBoundingClientRect();
  for (const [low, high, size, scroll] of [["top", "bottom", "height", "scrollTop"], ["left", "right", "width", "scrollLeft"]]) {
    const reach = (some) => {
      const boxes = some.map((one) => one.getBoundingClientRect());
      return [Math.min(...boxes.map((one) => one[low])), Math.max(...boxes.map((one) => one[high]))];
    };
    const reaches = choices.map(reach), [from, to] = reaches.find(([from, to]) => to - from <= outer[size]) ?? reaches.at(-1);
    if (from < outer[low] || to > outer[high]) box[scroll] += (from + to - outer[low] - outer[high]) / 2;
  }
}

function go(to) {
  at = Math.min(Math.max(to, 0), steps.length - 1);
  if (at === steps.length - 1) pause();
  show();
}

/** What the play button does now, and its sign. */
function sign(does, path) {
  $("play").title = does;
  $("play").setAttribute("aria-label", does);
  $("play").querySelector("path").setAttribute("d", path);
}

function pause() {
  clearInterval(timer);
  timer = null;
  sign("play (space)", PLAY);
}

function toggle() {
  if (timer !== null) return pause();
  if (at === steps.length - 1) go(0);
  timer = setInterval(() => go(at + 1), PAUSE);
  sign("pause (space)", "M6 4v12M14 4v12");
}

/** Compute both passes anew with what stands in the fields; where that cannot be, the numbers stay as they were. */
function edited() {
  const given = [], fields = [...document.querySelectorAll("#leaves input")];
  let problem = "";
  for (const field of fields) {
    const leaf = Number(field.dataset.leaf); // whose number has more digits than its field
    const x = field.value === field.defaultValue ? PAGE.nodes[leaf].data : read(field.value);
    field.ariaInvalid = x === undefined;
    if (x === undefined) problem = `${field.name} has to be a number, such as -0.5 or 1e-3`;
    given[leaf] = x;
  }
  if (!problem) {
    try {
      now = computed(given);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      problem = error.message;
    }
  }
  $("problem").textContent = problem && `${problem}. The numbers are still those from before.`;
  if (problem) return;
  steps.forEach((step, i) => {
    if (step.kind !== "seed") step.lines = lines(step, now);
    $("steps").children[i].textContent = step.lines.join("\n");
  });
  show();
}

function start() {
  document.body.classList.add("plays");
  $("first").onclick = () => { pause(); go(0); };
  $("back").onclick = () => { pause(); go(at - 1); };
  $("next").onclick = () => { pause(); go(at + 1); };
  $("last").onclick = () => { pause(); go(steps.length - 1); };
  $("play").onclick = toggle;
  $("at").oninput = () => { pause(); go(Number($("at").value)); };
  $("steps").onclick = (event) => {
    const item = event.target.closest("li");
    if (item) { pause(); go([...$("steps").children].indexOf(item)); }
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("#leaves input")) return;
    if (event.key === " " && event.target.matches("button")) return; // the button's own
    if (event.key.startsWith("Arrow") && event.target.matches("#picture")) return; // it is scrolled
    const keys = { ArrowLeft: () => go(at - 1), ArrowRight: () => go(at + 1), Home: () => go(0), End: () => go(steps.length - 1) };
    if (event.key !== " " && !keys[event.key]) return;
    event.preventDefault();
    if (event.key === " ") return toggle();
    pause();
    keys[event.key]();
  });
  if ($("leaves")) {
    $("leaves").oninput = edited;
    $("leaves").onsubmit = (event) => event.preventDefault();
    $("leaves").onreset = () => setTimeout(edited);
  }
  show();
}

start();
